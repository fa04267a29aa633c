//! What must follow after a row, as data: each rule has a name, a row that begins it, rows that meet it, and a time. Pure.
//!
//! A rule is judged twice: by expectations that the store keeps, for lists and metrics, and over the rows of one message
//! ([`crate::life`]) for its page. Both use the same table ([`table`]).

mod steps;
pub mod table;
mod follow;
mod lane_times;

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::progress::Progress;
use crate::row::{LookupKey, Row, StreamNumber};
pub(crate) use crate::rules::follow::later;
pub use crate::rules::follow::{Followed, Lane, RuleSettings, RuleTimes, delivered_after, follow, lane};
pub use crate::rules::lane_times::LaneTimes;
pub use crate::rules::table::Rule;

/// The name of a rule. The number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RuleName {
    /// A message was accepted and no report about it came.
    NoReport = 1,
    /// A message with a file was accepted and no client fetched the file.
    NotFetched = 2,
    /// A command was stored and has no result. Those of campaigns have [`Self::NoBulkResult`].
    NoResult = 3,
    /// A webhook waits for the normalizer.
    WebhookWaiting = 4,
    /// An event waits for the back end.
    EventWaiting = 5,
    /// A command's message was not delivered yet: never a problem, but the beginning of agents' view of the time to delivery.
    Delivery = 6,
    /// A command in the queue of campaigns was stored and has no result: the same with the usual time of that queue.
    NoBulkResult = 7,
}

impl RuleName {
    /// Every rule.
    pub const ALL: [Self; 7] = [
        Self::NoReport,
        Self::NotFetched,
        Self::NoResult,
        Self::WebhookWaiting,
        Self::EventWaiting,
        Self::Delivery,
        Self::NoBulkResult,
    ];

    /// The rule of a stored number; `None` for a rule of a later version.
    pub fn of_stored(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| i64::from(*rule as u8) == number)
    }

    /// Its name in answers and labels, such as `no_report`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoReport => "no_report",
            Self::NotFetched => "not_fetched",
            Self::NoResult => "no_result",
            Self::WebhookWaiting => "webhook_waiting",
            Self::EventWaiting => "event_waiting",
            Self::Delivery => "delivery",
            Self::NoBulkResult => "no_bulk_result",
        }
    }

    /// Whether it is about a command without a result.
    pub const fn is_about_result(self) -> bool {
        matches!(self, Self::NoResult | Self::NoBulkResult)
    }
}

/// Something that must follow after a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// Which rule it comes from.
    pub rule: RuleName,
    /// The id by which the row that meets it is recognized: of the message or the command.
    pub key: LookupKey,
    /// The file that it is about: what was expected of a file is met for every message that names it.
    pub file: Option<LookupKey>,
    /// The channel's id.
    pub channel: String,
    /// When it began: when the row that began it was stored.
    pub since: Timestamp,
    /// When it would be overdue if nothing were set ([`After::standard`](table::After::standard)).
    pub due: Timestamp,
}

impl Expectation {
    /// Its place in lists: the longest overdue first.
    pub fn order(&self) -> DueOrder {
        DueOrder { due: self.due, key: self.key, rule: self.rule, channel: self.channel.clone() }
    }
}

/// A place in the order of expectations. No two have the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueOrder {
    /// When it is overdue.
    pub due: Timestamp,
    /// The id.
    pub key: LookupKey,
    /// The rule.
    pub rule: RuleName,
    /// The channel's id.
    pub channel: String,
}

/// Something that is no longer expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The rule.
    pub rule: RuleName,
    /// The id in the row that meets it.
    pub key: LookupKey,
    /// What the id is of.
    pub of: Settled,
    /// The channel's id: only the expectation of that channel is met, because two channels may have commands with one id.
    pub channel: String,
}

/// Which expectations a settlement ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Settled {
    /// That of an id.
    Id,
    /// Those of every message that names a file, also of messages that come later.
    File,
}

/// Which expectations of a rule are overdue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The rule.
    pub rule: RuleName,
    /// What is [due](Expectation::due) up to this time is overdue.
    pub until: Timestamp,
    /// The same in channels that set another time, or whose lane usually takes longer.
    pub channels: HashMap<String, Timestamp>,
}

impl Judged {
    /// A rule that is judged up to the same time in every channel.
    pub fn everywhere(rule: RuleName, until: Timestamp) -> Self {
        Self { rule, until, channels: HashMap::new() }
    }

    /// What is due in a channel up to this time is overdue.
    pub fn until_in(&self, channel: &str) -> Timestamp {
        self.channels.get(channel).copied().unwrap_or(self.until)
    }
}

/// Whether a row ends what a rule expects: it is what was expected, or says that it will not come. The caller has compared the
/// key and the channel.
pub fn is_met_by(rule: RuleName, row: &Row) -> bool {
    Rule::of(rule).ends(row)
}

/// The streams that must be read up to the time at which an expectation is due, before anyone may say that it is overdue.
pub fn streams(rule: RuleName) -> &'static [StreamNumber] {
    Rule::of(rule).streams
}

/// What each rule of the store's expectations finds overdue. A rule is left out while one of its streams was not read,
/// and so are the rules that are never overdue or are judged by the readers' floors. `reports_until` is the time up to which the
/// normalizer has processed every webhook: a report may be in a later one.
pub fn judged(
    progress: &Progress,
    reports_until: Option<Timestamp>,
    settings: &RuleSettings,
    now: Timestamp,
) -> Vec<Judged> {
    let until = |rule: &Rule| {
        let until = judged_until(rule, progress, reports_until)?.min(now);
        Some(settings.judged(rule, until))
    };
    table::RULES.iter().filter(|rule| rule.is_listed).filter_map(until).collect()
}

/// Up to which time a rule can be judged; `None` while that is not known.
pub(crate) fn judged_until(
    rule: &Rule,
    progress: &Progress,
    reports_until: Option<Timestamp>,
) -> Option<Timestamp> {
    let until = progress.read_until(rule.streams)?;
    if rule.name == RuleName::NoReport { Some(until.min(reports_until?)) } else { Some(until) }
}

/// Default of the time after which an accepted message without a report is a problem.
pub const REPORT_AFTER: Duration = Duration::from_secs(15 * 60);
/// Default of the time after which a named file that no client fetched is a problem.
pub const FETCH_AFTER: Duration = Duration::from_secs(10 * 60);
/// Default of the time after which a command without a result is a problem.
pub const RESULT_AFTER: Duration = Duration::from_secs(60);
/// Time after which a webhook that the normalizer has not processed is a problem.
pub const WEBHOOK_AFTER: Duration = Duration::from_secs(60);
/// Time after which an event that the back end has not acknowledged is a problem.
pub const EVENT_AFTER: Duration = Duration::from_secs(60);
/// Longest time that a lane is given for a result, however slow it usually is.
pub const RESULT_AFTER_MAX: Duration = Duration::from_secs(60 * 60);
/// The same in the queue of campaigns: COMMANDS keeps a command for a day.
pub const BULK_RESULT_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Time after which the delivery of a message would be due. It is never judged, because a phone may be off for days.
pub const DELIVERY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
pub(crate) mod tests;
