//! Pending commands by lane, as the owners of the lanes report them in their leases every few seconds. A lane without an owner
//! is not here: `lanes list` and `doctor` ask the stream itself.

use std::time::Duration;

use bus::inspect::LeaseInfo;
use jiff::Timestamp;
use lane_state::LaneState;
use serde_json::{Value, json};

/// A lane that a sender works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) channel: String,
    pub(crate) waiting: u64,
    pub(crate) oldest: Option<Timestamp>,
    pub(crate) in_progress: usize,
    /// Why nothing is sent; empty while the lane sends.
    pub(crate) halted: String,
}

/// All lanes that a sender works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LaneTotals {
    pub(crate) lanes: usize,
    /// Of these, lanes that are paused or halted.
    pub(crate) halted: usize,
    /// Pending commands.
    pub(crate) waiting: u64,
    /// Commands with a call in flight, or whose outcome is being looked up.
    pub(crate) in_progress: usize,
    /// When the oldest pending command was stored.
    pub(crate) oldest: Option<Timestamp>,
}

impl LaneTotals {
    pub(super) fn of(lanes: &[Lane]) -> Self {
        Self {
            lanes: lanes.len(),
            halted: lanes.iter().filter(|lane| lane.is_halted()).count(),
            waiting: lanes.iter().map(|lane| lane.waiting).sum(),
            in_progress: lanes.iter().map(|lane| lane.in_progress).sum(),
            oldest: lanes.iter().filter(|lane| lane.waiting > 0).filter_map(|lane| lane.oldest).min(),
        }
    }

    pub(super) fn to_json(self) -> Value {
        json!({
            "lanes": self.lanes, "halted": self.halted, "waiting": self.waiting, "in_progress": self.in_progress,
        })
    }
}

/// Every lane that has an owner.
pub(super) fn all(leases: &[LeaseInfo]) -> Vec<Lane> {
    let lane = |lease: &LeaseInfo| {
        let channel = lane_state::lane_of_lease(&lease.name)?.to_owned();
        let state = LaneState::from_bytes(&lease.value)?;
        let oldest = state.waits.oldest_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let (halted, in_progress) = (state.why(), state.in_progress);
        Some(Lane { channel, waiting: state.waits.commands, oldest, in_progress, halted })
    };
    leases.iter().filter_map(lane).collect()
}

/// The lanes to show: those with pending commands, first the paused and halted ones, then by age, the oldest first; after them
/// the other paused and halted ones.
pub(super) fn to_show(lanes: &[Lane]) -> Vec<Lane> {
    let is_shown = |lane: &&Lane| lane.waiting > 0 || lane.is_halted();
    let mut lanes: Vec<Lane> = lanes.iter().filter(is_shown).cloned().collect();
    lanes.sort_by_key(|lane| (lane.waiting == 0, !lane.is_halted(), lane.oldest, lane.channel.clone()));
    lanes
}

impl Lane {
    pub(super) fn is_halted(&self) -> bool {
        !self.halted.is_empty()
    }

    /// Age of the oldest pending command.
    pub(super) fn age(&self, now: Timestamp) -> Option<Duration> {
        self.oldest.filter(|_| self.waiting > 0).map(|oldest| age(oldest, now))
    }

    pub(super) fn to_json(&self, now: Timestamp) -> Value {
        json!({
            "channel": self.channel, "waiting": self.waiting, "in_progress": self.in_progress,
            "oldest_age_s": self.age(now).map(|age| age.as_secs()), "halted": self.halted,
        })
    }
}

/// How long ago it was; zero if the server's clock is ahead.
pub(super) fn age(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use lane_state::{HaltReason, LaneBacklog};

    use super::*;

    fn lease(channel: &str, halted: Option<HaltReason>, commands: u64, oldest_s: i64) -> LeaseInfo {
        let oldest_ms = Some(oldest_s * 1000);
        let waits = LaneBacklog { commands, oldest_ms };
        let state = LaneState { halted, waits, ..LaneState::default() };
        let value = serde_json::to_vec(&state).unwrap().into();
        LeaseInfo { name: lane_state::lane_lease(channel), value, renewed_at: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn halted_lanes_come_first_and_idle_ones_not_at_all() {
        let paused = Some(HaltReason::Paused);
        let fails = Some(HaltReason::AccountFails { error: "401".to_owned() });
        let leases = [
            lease("busy", None, 4, 0),
            lease("idle", None, 0, 0),
            lease("paused", paused.clone(), 0, 0),
            lease("younger", paused, 1, 60),
            lease("older", fails, 30, 0),
        ];
        let lanes = all(&leases);
        let shown = to_show(&lanes);
        let names: Vec<_> = shown.iter().map(|lane| lane.channel.as_str()).collect();
        assert_eq!(names, ["older", "younger", "busy", "paused"]);
        let now = Timestamp::from_second(9_000).unwrap();
        assert_eq!(shown[0].age(now), Some(Duration::from_secs(9_000)));
        assert_eq!(shown[3].age(now), None, "nothing waits there");
        let totals = LaneTotals::of(&lanes);
        assert_eq!((totals.lanes, totals.halted, totals.waiting), (5, 3, 35));
        assert_eq!(totals.oldest, Some(Timestamp::UNIX_EPOCH));
    }
}
