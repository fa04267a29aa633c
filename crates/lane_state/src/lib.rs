//! What the owner of a lane tells others: its state in its lease, for other replicas and for people who use the command line, and
//! its answers when a customer is erased.

pub mod erasure;
mod halt_reason;
mod stored;

use serde::{Deserialize, Serialize};

pub use crate::halt_reason::HaltReason;
use crate::stored::StoredLaneState;

/// State of a lane that its owner writes into the lease, for other replicas and for people.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "StoredLaneState", into = "StoredLaneState")]
pub struct LaneState {
    /// Name of the replica.
    pub owner: String,
    /// Name of the account, so that replicas know with whom they share its limits.
    pub account: String,
    /// Why nothing is sent; `None` while the lane sends.
    pub halted: Option<HaltReason>,
    /// Seconds until the next call, if that is known.
    pub next_try_s: Option<u64>,
    /// Commands with a call in flight, or whose outcome is being looked up.
    pub in_progress: usize,
    /// Of these, commands of the bulk queue.
    pub campaigns_in_progress: usize,
    /// Pending commands.
    pub waits: LaneBacklog,
    /// Commands that wait behind earlier ones to the same recipients.
    pub crowded: CrowdedRecipient,
}

/// Pending commands of a lane, in the stream or held by the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LaneBacklog {
    /// Number of commands.
    pub commands: u64,
    /// When the oldest of them was stored, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
}

/// Commands of a lane that wait behind earlier ones to the same recipients. No recipient is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CrowdedRecipient {
    /// Number of commands.
    pub behind: usize,
    /// Number of their recipients.
    pub recipients: usize,
    /// Recipients that have reached the limit of pending commands. Further ones are rejected.
    pub full_recipients: usize,
    /// Whether the lane has reached its limit of pending commands and fetches no more.
    pub is_lane_full: bool,
}

impl LaneState {
    /// Why nothing is sent and when the next call is, as text for people; empty while the lane sends.
    pub fn why(&self) -> String {
        match (&self.halted, self.next_try_s) {
            (Some(reason), Some(left_s)) => format!("{reason}; next try in {left_s} s"),
            (Some(reason), None) => reason.to_string(),
            (None, _) => String::new(),
        }
    }

    /// Parses the value of a lease; `None` if it has another form.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bsp::json::from_slice(bytes).ok()
    }
}

/// Name of a lane's lease.
pub fn lane_lease(channel: &str) -> String {
    format!("lane.{channel}")
}

/// The channel of a lane's lease; `None` for another lease.
pub fn lane_of_lease(name: &str) -> Option<&str> {
    name.strip_prefix("lane.")
}
