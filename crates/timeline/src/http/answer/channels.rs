//! Answers about channels. Nothing in them is personal or secret: a password is a number in the channels file.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::http::answer::ReadUntil;

/// How every channel is: `GET /v1/channels`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelsAnswer {
    /// The channels of the registry, by id.
    pub channels: Vec<ChannelAnswer>,
    /// Refused webhooks whose URL names no known channel; absent while no ingress was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_without_channel: Option<Vec<RefusedAnswer>>,
    /// What the answer is made from.
    #[serde(flatten)]
    pub sources: SourcesAnswer,
}

/// How one channel is: `GET /v1/channels/{channel}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelHealthAnswer {
    /// The channel.
    #[serde(flatten)]
    pub channel: ChannelAnswer,
    /// What the answer is made from.
    #[serde(flatten)]
    pub sources: SourcesAnswer,
}

/// What an answer about channels is made from, and what of it could not be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourcesAnswer {
    /// Whether something could not be read: `not_read` or a port in `admin_ports` says what.
    pub partial: bool,
    /// Sources that were not read, and why, for people.
    pub not_read: Vec<NotReadAnswer>,
    /// Every admin port.
    pub admin_ports: Vec<AdminPortAnswer>,
    /// Since when `recent` counts: at most an hour ago; absent while no admin port was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_since: Option<Timestamp>,
    /// How far each stream was read.
    pub read_until: Vec<ReadUntil>,
}

/// A source that was not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotReadAnswer {
    /// `registry`, `lanes`, `streams` or `admin_ports`.
    pub source: String,
    /// Why, and what is missing without it, for people.
    pub text: String,
}

/// An admin port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminPortAnswer {
    /// The URL of the setting.
    pub url: String,
    /// The address that is asked; absent while the name has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The program; empty if the port was never read.
    pub program: String,
    /// Its version; empty if the port was never read.
    pub version: String,
    /// When it was last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
    /// Since when it cannot be read; absent if it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_since: Option<Timestamp>,
    /// Why it cannot be read; empty if it can.
    pub error: String,
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelAnswer {
    /// Its id.
    pub channel: String,
    /// The BSP's name.
    pub bsp: String,
    /// Its tenant.
    pub tenant: String,
    /// Whether an operator has paused sending.
    pub paused: bool,
    /// Whether messages can be sent through its BSP.
    pub sends: bool,
    /// Its lane; absent if it has no owner: nothing is sent then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<LaneAnswer>,
    /// The last webhook in WEBHOOKS; absent if the stream holds none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_webhook: Option<LastAnswer>,
    /// The last result of a send in EVENTS; absent if the stream holds none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_send: Option<LastAnswer>,
    /// Refused webhooks by cause; absent while no ingress was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Vec<RefusedAnswer>>,
    /// The passwords of its webhooks, in the order of the channels file; absent while no ingress was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passwords: Option<Vec<PasswordAnswer>>,
    /// Results of sends by outcome; absent while no sender was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Vec<ResultAnswer>>,
    /// What is overdue, by rule.
    pub problems: Vec<ProblemCountAnswer>,
}

/// A lane with an owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneAnswer {
    /// Name of the sender that owns it.
    pub owner: String,
    /// Why it sends nothing; absent while it sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<HaltedAnswer>,
    /// Commands that wait.
    pub waiting: u64,
    /// When the oldest of them was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_waiting_at: Option<Timestamp>,
    /// Commands with a call in flight, or whose outcome is being looked up.
    pub in_progress: u64,
}

/// Why a lane sends nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaltedAnswer {
    /// The reason, such as `paused` or `no_key`; a later version may have more.
    pub reason: String,
    /// The same for people.
    pub text: String,
}

/// The last message of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAnswer {
    /// When its stream stored it.
    pub at: Timestamp,
    /// Where it is stored: `EVENTS/5`, by which its timeline is found.
    pub pointer: String,
    /// The outcome of a send, such as `ACCEPTED`; empty for a webhook.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub outcome: String,
}

/// Refused webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedAnswer {
    /// The BSP that the URL names; `none` if it names none.
    pub bsp: String,
    /// The cause, such as `wrong_credential`.
    pub cause: String,
    /// How many since `counted_since`.
    pub recent: u64,
    /// How many since the processes started that run now.
    pub total: u64,
    /// When the number was last seen to rise; absent if that was before the timeline counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Timestamp>,
}

/// Use of a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordAnswer {
    /// Its number in the channels file, from 1.
    pub number: usize,
    /// Webhooks that had it since `counted_since`.
    pub recent: u64,
    /// Webhooks that had it since the processes started that run now.
    pub total: u64,
    /// When it was last seen in use; absent if that was before the timeline counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Timestamp>,
}

/// Results of sends with an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultAnswer {
    /// The outcome, such as `ACCEPTED`.
    pub outcome: String,
    /// How many since `counted_since`.
    pub recent: u64,
    /// How many since the processes started that run now.
    pub total: u64,
}

/// What is overdue in a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemCountAnswer {
    /// The rule.
    pub rule: String,
    /// How many.
    pub count: u64,
}
