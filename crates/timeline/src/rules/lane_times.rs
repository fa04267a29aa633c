//! How long the commands of each lane usually wait for their results, learned from what results met: in a lane that sends slowly,
//! because its rate or a campaign makes it, a waiting command is no problem. Pure.

use std::collections::HashMap;
use std::time::Duration;

use proto::v1::SendOutcome;

use crate::row::{IdKind, Row, RowKind, Status};
use crate::rules::follow::Lane;
use crate::rules::{Expectation, RESULT_AFTER, RuleName};

/// A result is overdue after this many times the time within which 95 % of the lane's commands have theirs.
const USUAL_TIMES: u32 = 4;
/// In the queue of campaigns a result is overdue at the earliest after this many times the time of the last result: while a long
/// campaign is sent, every command waits longer than the one before it.
const LAST_TIMES: u32 = 2;
/// Results of a lane before its usual time is used.
const RESULTS_MIN: u32 = 20;
/// When a lane has this many results, the counts are halved, so that new results weigh more than old ones.
const RESULTS_MAX: u32 = 512;
/// Upper limit of the first range of times, in milliseconds. Each further range ends at twice the limit of the one before.
const FIRST_RANGE_MS: u64 = 128;
/// Number of ranges; the last one ends above a day.
const RANGES: usize = 21;
/// Most lanes whose times are kept; those of further lanes are not.
const LANES_MAX: usize = 10_000;

/// Times from command to result, by lane.
#[derive(Debug, Clone, Default)]
pub struct LaneTimes {
    lanes: HashMap<Lane, Times>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Times {
    ranges: Ranges,
    /// That of the last result.
    last: Duration,
}

/// Number of results whose time is in each range.
#[derive(Debug, Clone, Copy, Default)]
struct Ranges([u32; RANGES]);

impl LaneTimes {
    /// Takes a result into account that met what was expected after its command.
    pub fn observe(&mut self, met: &Expectation, result: &Row) {
        let is_its = result.key(IdKind::Command) == Some(met.key) && result.channel == met.channel;
        if !met.rule.is_about_result() || !is_its {
            return;
        }
        let lane = Lane { channel: met.channel.clone(), is_bulk: met.rule == RuleName::NoBulkResult };
        let time = result.stored_at.duration_since(met.since);
        self.add(lane, result, Duration::try_from(time).unwrap_or_default());
    }

    /// Takes a command and its result into account.
    pub fn observe_pair(&mut self, command: &Row, result: &Row) {
        let time = result.stored_at.duration_since(command.stored_at);
        self.add(Lane::of(command), result, Duration::try_from(time).unwrap_or_default());
    }

    /// Expired commands say nothing about how fast the lane sends.
    fn add(&mut self, lane: Lane, result: &Row, time: Duration) {
        let is_expired = result.status == Some(Status::Outcome(SendOutcome::Expired));
        let has_room = self.lanes.len() < LANES_MAX || self.lanes.contains_key(&lane);
        if result.kind != RowKind::Result || is_expired || !has_room {
            return;
        }
        let times = self.lanes.entry(lane).or_default();
        times.ranges.add(time);
        times.last = time;
    }

    /// Time after which a result is overdue, of the lanes that usually take longer than [`RESULT_AFTER`] allows.
    pub fn result_after(&self) -> HashMap<Lane, Duration> {
        let slow = |(lane, times): (&Lane, &Times)| {
            let usual = times.ranges.p95().unwrap_or_default().saturating_mul(USUAL_TIMES);
            let last = if lane.is_bulk { times.last.saturating_mul(LAST_TIMES) } else { Duration::ZERO };
            let after = usual.max(last);
            (after > RESULT_AFTER).then(|| (lane.clone(), after.min(lane.result_after_max())))
        };
        self.lanes.iter().filter_map(slow).collect()
    }
}

impl Ranges {
    fn add(&mut self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let range = (0..RANGES).find(|range| ms <= Self::limit_ms(*range)).unwrap_or(RANGES - 1);
        self.0[range] += 1;
        if self.total() >= RESULTS_MAX {
            for count in &mut self.0 {
                *count /= 2;
            }
        }
    }

    fn total(&self) -> u32 {
        self.0.iter().sum()
    }

    const fn limit_ms(range: usize) -> u64 {
        FIRST_RANGE_MS << range
    }

    /// The upper limit of the range that contains the time within which 95 % of the results came; `None` while there are too few.
    fn p95(&self) -> Option<Duration> {
        let total = self.total();
        if total < RESULTS_MIN {
            return None;
        }
        let wanted = (total * 95).div_ceil(100);
        let mut counted = 0;
        let range = self.0.iter().position(|count| {
            counted += count;
            counted >= wanted
        })?;
        Some(Duration::from_millis(Self::limit_ms(range)))
    }
}
