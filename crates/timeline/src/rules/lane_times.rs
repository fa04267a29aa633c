//! How long the commands of each lane usually wait for their results, learned from rows: in a lane that sends slowly, because its rate
//! or a campaign makes it, a waiting command is no problem. Pure.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use proto::v1::SendOutcome;

use crate::row::{IdKind, LookupKey, Row, RowKind, Status};
use crate::rules::follow::lane;
use crate::rules::{RESULT_AFTER, RESULT_AFTER_MAX};

/// A result is overdue after this many times the time within which 95 % of the lane's commands have theirs.
const USUAL_TIMES: u32 = 4;
/// Results of a lane before its usual time is used.
const RESULTS_MIN: u32 = 20;
/// When a lane has this many results, the counts are halved, so that new results weigh more than old ones.
const RESULTS_MAX: u32 = 512;
/// Upper limit of the first range of times, in milliseconds. Each further range ends at twice the limit of the one before.
const FIRST_RANGE_MS: u64 = 128;
/// Number of ranges; the last one ends above an hour.
const RANGES: usize = 16;
/// Most commands without a result that are held; the oldest are dropped and are not counted.
const OPEN_MAX: usize = 100_000;

/// Times from command to result, by lane.
#[derive(Debug, Clone, Default)]
pub struct LaneTimes {
    open: HashMap<OpenKey, Open>,
    order: VecDeque<OpenKey>,
    lanes: HashMap<String, Ranges>,
}

type OpenKey = (String, LookupKey);

#[derive(Debug, Clone)]
struct Open {
    lane: String,
    since: Timestamp,
}

/// Number of results whose time is in each range.
#[derive(Debug, Clone, Copy, Default)]
struct Ranges([u32; RANGES]);

impl LaneTimes {
    /// Takes a row into account. Replayed rows and expired commands say nothing about how fast the lane sends.
    pub fn observe(&mut self, row: &Row) {
        let Some(command) = row.key(IdKind::Command) else { return };
        let key = (row.channel.clone(), command);
        match row.kind {
            RowKind::Command if !row.is_replayed => {
                self.open.insert(key.clone(), Open { lane: lane(row), since: row.stored_at });
                self.order.push_back(key);
                if self.order.len() > OPEN_MAX
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.open.remove(&oldest);
                }
            }
            RowKind::Result => {
                let Some(open) = self.open.remove(&key) else { return };
                if row.status == Some(Status::Outcome(SendOutcome::Expired)) {
                    return;
                }
                let time = Duration::try_from(row.stored_at.duration_since(open.since)).unwrap_or_default();
                self.lanes.entry(open.lane).or_default().add(time);
            }
            _ => {}
        }
    }

    /// Time after which a result is overdue, of the lanes that usually take longer than [`RESULT_AFTER`] allows.
    pub fn result_after(&self) -> HashMap<String, Duration> {
        let slow = |(lane, ranges): (&String, &Ranges)| {
            let after = ranges.p95()?.saturating_mul(USUAL_TIMES);
            (after > RESULT_AFTER).then(|| (lane.clone(), after.min(RESULT_AFTER_MAX)))
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
