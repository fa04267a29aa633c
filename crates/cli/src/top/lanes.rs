//! What waits to be sent, by lane, as the lanes' owners tell it in their leases every few seconds. A lane that no sender works
//! is not here: `lanes list` and `doctor` ask the stream itself.

use std::time::Duration;

use bus::inspect::LeaseSeen;
use jiff::Timestamp;
use sender::LaneState;
use serde_json::{Value, json};
use service::terminal::escape;

use crate::words;

/// A lane in which commands wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) channel: String,
    pub(crate) waiting: u64,
    pub(crate) oldest: Option<Timestamp>,
    pub(crate) in_progress: usize,
    /// Why nothing is sent; empty while the lane sends.
    pub(crate) halted: String,
}

/// The lanes in which commands wait: first those that are paused or halted, then by age, the oldest first.
pub(super) fn of(leases: &[LeaseSeen]) -> Vec<Lane> {
    let lane = |lease: &LeaseSeen| {
        let channel = sender::lane_of_lease(&lease.name)?.to_owned();
        let state = LaneState::from_bytes(&lease.value)?;
        let oldest = state.waits.oldest_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let (halted, in_progress) = (state.why(), state.in_progress);
        Some(Lane { channel, waiting: state.waits.commands, oldest, in_progress, halted })
    };
    let mut lanes: Vec<Lane> = leases.iter().filter_map(lane).filter(|lane| lane.waiting > 0).collect();
    lanes.sort_by_key(|lane| (lane.halted.is_empty(), lane.oldest, lane.channel.clone()));
    lanes
}

impl Lane {
    pub(super) fn is_halted(&self) -> bool {
        !self.halted.is_empty()
    }

    fn age(&self, now: Timestamp) -> Option<Duration> {
        self.oldest.map(|oldest| Duration::try_from(now.duration_since(oldest)).unwrap_or_default())
    }

    /// `channel-0: 30 commands wait, the oldest for 2.5 h: paused by an operator`
    pub(super) fn line(&self, now: Timestamp) -> String {
        let waits = words::waiting(self.waiting, "command", self.age(now));
        let why = if self.is_halted() { format!(": {}", escape(&self.halted)) } else { String::new() };
        format!("{}: {waits}{why}", escape(&self.channel))
    }

    pub(super) fn to_json(&self, now: Timestamp) -> Value {
        json!({
            "channel": self.channel, "waiting": self.waiting, "in_progress": self.in_progress,
            "oldest_age_s": self.age(now).map(|age| age.as_secs()), "halted": self.halted,
        })
    }
}

#[cfg(test)]
mod tests {
    use sender::Waits;

    use super::*;

    fn lease(channel: &str, halted: &str, commands: u64, oldest_s: i64) -> LeaseSeen {
        let oldest_ms = Some(oldest_s * 1000);
        let waits = Waits { commands, oldest_ms };
        let state = LaneState { halted: halted.to_owned(), waits, ..LaneState::default() };
        let value = serde_json::to_vec(&state).unwrap().into();
        LeaseSeen { name: sender::lane_lease(channel), value, renewed_at: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn halted_lanes_come_first_and_idle_ones_not_at_all() {
        let leases = [
            lease("busy", "", 4, 0),
            lease("idle", "paused by an operator", 0, 0),
            lease("younger", "paused by an operator", 1, 60),
            lease("older", "the account fails (401)", 30, 0),
        ];
        let now = Timestamp::from_second(9_000).unwrap();
        let lines: Vec<_> = of(&leases).iter().map(|lane| lane.line(now)).collect();
        assert_eq!(
            lines,
            [
                "older: 30 commands wait, the oldest for 2.5 h: the account fails (401)",
                "younger: 1 command waits, for 2.5 h: paused by an operator",
                "busy: 4 commands wait, the oldest for 2.5 h",
            ]
        );
    }
}
