//! What is shown unmasked, and the log of who saw it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What to show: `POST /v1/unmask`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnmaskRequest {
    /// Any id of a message.
    pub id: String,
    /// Why, for the audit log.
    pub reason: String,
}

impl std::fmt::Debug for UnmaskRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UnmaskRequest(***)")
    }
}

/// The messages behind the rows of an id, with numbers and texts.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct UnmaskAnswer {
    /// The id that was asked for, as it may be shown.
    pub id: String,
    /// The number of the entry in the audit log.
    pub audit: u64,
    /// The messages, the oldest first.
    pub messages: Vec<UnmaskedAnswer>,
    /// Whether there are more.
    pub cut: bool,
}

/// A message with numbers and texts.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct UnmaskedAnswer {
    /// Where it is stored: `EVENTS/5`.
    pub pointer: String,
    /// What happened, such as `report`.
    pub kind: String,
    /// When the stream stored it.
    pub at: Timestamp,
    /// Where the content comes from: `stream`, or `row` when the stream no longer holds it. Absent without content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The message: a command or an event as JSON, a webhook as the BSP sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Value>,
    /// Why there is no content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

// What they hold is personal.
impl std::fmt::Debug for UnmaskAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnmaskAnswer").field("audit", &self.audit).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for UnmaskedAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnmaskedAnswer").field("pointer", &self.pointer).finish_non_exhaustive()
    }
}

/// Who saw or changed what is personal, and who published messages again, the newest first: `GET /v1/audit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditAnswer {
    /// The entries.
    pub entries: Vec<AuditEntryAnswer>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntryAnswer {
    /// Its number. A hole may be an entry that was removed.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Who: the name of the token, or the user that the proxy named. Of a replay the name that the operator gave, or `unknown`.
    pub user: String,
    /// The role that allowed it; `unknown` of a replay.
    pub role: String,
    /// The address from which it was asked for; `unknown` of a replay.
    pub address: String,
    /// `unmask`, `erasure` or `replay`, or `other` for what only another version does.
    pub action: String,
    /// The id, as it may be shown. Of a replay its number, such as `replay 1796000000`.
    pub target: String,
    /// Why.
    pub reason: String,
    /// The places of the messages, or counts. Of a replay the first message.
    pub details: String,
    /// What a replay has published again; absent for other actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<ReplayedAnswer>,
}

/// What the timeline has read of a replay up to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayedAnswer {
    /// Messages of EVENTS.
    pub events: u64,
    /// Messages of COMMANDS.
    pub commands: u64,
    /// When the last one was stored.
    pub last_at: Timestamp,
}
