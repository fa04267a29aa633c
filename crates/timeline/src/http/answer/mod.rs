//! The answers as JSON. The service writes them and the command line reads them, so that both have the same types.
//!
//! A field is only ever added: a reader skips what it does not know. Nothing in an answer but that of `POST /v1/unmask` is personal:
//! ids and recipients are those that rows show.

mod advice;
mod audit;
mod channels;
mod from;
mod problem;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::http::answer::audit::{
    AuditAnswer, AuditEntryAnswer, ReplayedAnswer, UnmaskAnswer, UnmaskRequest, UnmaskedAnswer,
};
pub use crate::http::answer::channels::{
    AdminPortAnswer, ChannelAnswer, ChannelHealthAnswer, ChannelsAnswer, HaltedAnswer, LaneAnswer,
    LastAnswer, NotReadAnswer, PasswordAnswer, ProblemCountAnswer, RefusedAnswer, ResultAnswer,
    SourcesAnswer,
};
pub(in crate::http) use crate::http::answer::from::{
    Missed, headline, life, live, missed, missing, outcomes, pointer, read_until, statuses, unreadable,
};
pub use crate::http::answer::problem::{Fault, Problem};

/// Everything about an id: `GET /v1/timeline/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineAnswer {
    /// The id that was asked for, as it may be shown.
    pub id: String,
    /// The messages that have the id, the oldest first.
    pub lives: Vec<LifeAnswer>,
    /// How far each stream was read.
    pub read_until: Vec<ReadUntil>,
    /// Messages of the streams that were not read, because they were gone before: first those that may belong to these lives.
    pub missed: Vec<GapAnswer>,
    /// Number of further ranges that `missed` leaves out.
    #[serde(default)]
    pub missed_left_out: u64,
    /// What is stored and cannot be read.
    #[serde(default)]
    pub unreadable: Vec<UnreadableAnswer>,
    /// Whether there is more than the answer holds.
    pub cut: bool,
}

/// What is said of a message in one line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Headline {
    /// The channel's id; empty if it is not known.
    pub channel: String,
    /// The BSP's name; empty if it is not known.
    pub bsp: String,
    /// The channel's tenant; empty if it is not known.
    pub tenant: String,
    /// `out` (to a customer), `in` (of a customer) or `none` (neither).
    pub direction: String,
    /// Its status: `DELIVERED` of the highest report, else `REJECTED` of the result, else `WAITING`, `RECEIVED` or `DEAD_LETTER`.
    pub status: String,
    /// The outcome of the send, such as `ACCEPTED`; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The command's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_id: Option<String>,
    /// The BSP's id of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The customer: `…78`, the last two digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// What it is in a few words: `text`, `template order_update`; empty if only reports of it are stored.
    pub summary: String,
    /// When its first row was stored.
    pub began: Timestamp,
    /// When its last row was stored.
    pub ended: Timestamp,
}

/// The life of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LifeAnswer {
    /// Its line.
    #[serde(flatten)]
    pub headline: Headline,
    /// What happened, in order.
    pub rows: Vec<RowAnswer>,
    /// What is missing.
    pub missing: Vec<MissingAnswer>,
    /// What else is to say about rows, such as that a webhook has nothing for the back end.
    pub notes: Vec<NoteAnswer>,
}

/// Something to say about a row that is no problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteAnswer {
    /// Index of the row in `rows`.
    pub row: usize,
    /// The text, for people.
    pub text: String,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowAnswer {
    /// When the stream stored it; for an attempt, when the BSP was called.
    pub at: Timestamp,
    /// When it happened by the clock of the BSP or of the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub happened_at: Option<Timestamp>,
    /// Milliseconds since the row before; absent in the first, 0 in a row that was moved behind its cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<i64>,
    /// What happened, such as `report`.
    pub kind: String,
    /// Whether an operator published it again.
    pub replayed: bool,
    /// The status that it gives its message, such as `DELIVERED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorAnswer>,
    /// What it is in a few words.
    pub summary: String,
    /// Where the message is stored: `EVENTS/5`.
    pub pointer: String,
    /// Which row of that message it is: 0, and the attempts of a result from 1.
    pub part: u32,
    /// Its ids.
    pub ids: Vec<IdAnswer>,
    /// The message with personal data masked; absent if it is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// `happened_at` − `at` in milliseconds, where it is 2 s or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_difference_ms: Option<i64>,
}

/// An id of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdAnswer {
    /// `command`, `message`, `provider_message`, `event`, `media` or `stored`.
    pub kind: String,
    /// The id as it may be shown.
    pub id: String,
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// Its code.
    pub code: String,
    /// Its name; empty if it has none.
    pub name: String,
    /// Its text for people.
    pub text: String,
}

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingAnswer {
    /// The rule, such as `no_report`.
    pub rule: String,
    /// Since when it is expected.
    pub since: Timestamp,
    /// Since when it is overdue.
    pub due: Timestamp,
    /// What is missing, for people.
    pub text: String,
    /// What to do, for people.
    pub advice: String,
}

/// How far a stream was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadUntil {
    /// The stream's name.
    pub stream: String,
    /// Everything that it stored before this time is read; absent if that is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The last sequence that was read; 0 for nothing.
    pub sequence: u64,
    /// Messages that are not read yet.
    pub behind: u64,
}

/// Messages that a stream no longer held when they were to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapAnswer {
    /// The stream's name.
    pub stream: String,
    /// The first missed sequence.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// When the message before them was stored; absent if none was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Timestamp>,
    /// When the message after them was stored.
    pub before: Timestamp,
}

/// A day or another part of the store that cannot be read, so that answers lack it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableAnswer {
    /// The day, such as `2026-11-27`, or `expectations`.
    pub part: String,
    /// What is wrong, for people.
    pub text: String,
}

/// An id to look up: `POST /v1/timeline`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimelineRequest {
    /// The id.
    pub id: String,
}

// WhatsApp's own ids contain the customer's number.
impl std::fmt::Debug for TimelineRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimelineRequest").finish_non_exhaustive()
    }
}

/// Messages, the newest first: `GET /v1/messages` and `GET /v1/searches/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessagesAnswer {
    /// The messages that the filters let through.
    pub messages: Vec<MessageAnswer>,
    /// Where the next page begins; absent on the last one. A page may be empty and have a next one, when few messages pass
    /// the filters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Messages that were read for this page.
    pub scanned: usize,
    /// How far each stream was read.
    pub read_until: Vec<ReadUntil>,
    /// What is stored and cannot be read.
    #[serde(default)]
    pub unreadable: Vec<UnreadableAnswer>,
    /// Whether a message of the page has more rows than were read.
    pub cut: bool,
}

/// A message of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageAnswer {
    /// Its line.
    #[serde(flatten)]
    pub headline: Headline,
    /// Where its first row is stored: `COMMANDS/5`, by which its timeline is found.
    pub pointer: String,
    /// What is missing; empty if the message is cut.
    pub missing: Vec<MissingAnswer>,
    /// Whether the message has more rows than were read: its status may be an older one, and what is missing in it is not known.
    #[serde(default)]
    pub cut: bool,
}

/// A search that was kept: `POST /v1/searches`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchAnswer {
    /// Its id, which says nothing of the number.
    pub id: String,
    /// The recipient: `…78`.
    pub recipient: String,
    /// Until when it is kept.
    pub expires_at: Timestamp,
}

/// A search to keep.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// The customer's number, or another id of the customer.
    pub number: String,
    /// Only messages that began at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Only messages that began before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl std::fmt::Debug for SearchRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SearchRequest").field("since", &self.since).finish_non_exhaustive()
    }
}

/// What is overdue, the longest overdue first: `GET /v1/problems`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProblemsAnswer {
    /// The overdue expectations.
    pub problems: Vec<ProblemAnswer>,
    /// What readers have not acknowledged.
    pub waiting: Vec<WaitingAnswer>,
    /// How much is overdue, by channel and rule, without regard to the filters. At most 10,000 are counted of each.
    pub counts: Vec<CountAnswer>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How far each stream was read.
    pub read_until: Vec<ReadUntil>,
    /// What is stored and cannot be read.
    #[serde(default)]
    pub unreadable: Vec<UnreadableAnswer>,
}

/// Something overdue and its message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProblemAnswer {
    /// The channel's id.
    pub channel: String,
    /// What is missing.
    #[serde(flatten)]
    pub missing: MissingAnswer,
    /// Where the message's first row is stored; absent if it is no longer stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The message; absent if it is no longer stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Headline>,
}

/// Messages of a stream that wait for their reader for too long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingAnswer {
    /// The rule: `webhook_waiting` or `event_waiting`.
    pub rule: String,
    /// The oldest one: `WEBHOOKS/5`.
    pub pointer: String,
    /// The channel of the oldest one; empty if it is not known.
    pub channel: String,
    /// When the oldest one was stored.
    pub since: Timestamp,
    /// Sequences from the oldest one to the last that was read: at most this many messages wait.
    pub count: u64,
}

/// Number of overdue expectations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountAnswer {
    /// The channel's id.
    pub channel: String,
    /// The rule.
    pub rule: String,
    /// How many.
    pub count: u64,
}

/// A new row: an event of `GET /v1/live`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveAnswer {
    /// The channel's id; empty if it is not known.
    pub channel: String,
    /// The BSP's name; empty if it is not known.
    pub bsp: String,
    /// The customer: `…78`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// The row.
    #[serde(flatten)]
    pub row: RowAnswer,
}

/// Rows that a client lost because it read too slowly: the event `missed` of `GET /v1/live`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedAnswer {
    /// How many, of every channel.
    pub rows: u64,
}
