//! What follows from a row: expectations that begin with it, and those that it ends. Pure.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::row::{Row, RowKind};
use crate::rules::steps::is_delivered;
use crate::rules::table::{After, RULES};
use crate::rules::{
    Expectation, FETCH_AFTER, REPORT_AFTER, RESULT_AFTER, RESULT_AFTER_MAX, Rule, RuleName, Settlement,
};

/// Times of the rules of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleTimes {
    /// Time after which an accepted message without a report is a problem, in channels that set no other.
    pub report_after: Duration,
    /// Time after which a named file that no client fetched is a problem.
    pub fetch_after: Duration,
    /// Time after which a command without a result is a problem, in lanes that are not usually slower.
    pub result_after: Duration,
}

impl Default for RuleTimes {
    fn default() -> Self {
        Self { report_after: REPORT_AFTER, fetch_after: FETCH_AFTER, result_after: RESULT_AFTER }
    }
}

/// Times of the rules, and what differs between channels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSettings {
    /// Those of the installation.
    pub times: RuleTimes,
    /// `report_after` of the channels that set it; the others have that of [`RuleTimes`].
    pub report_after: HashMap<String, Duration>,
    /// Time from command to result of the lanes ([`lane`]) that usually take longer than [`RESULT_AFTER`].
    pub result_after: HashMap<String, Duration>,
}

/// What follows from a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Followed {
    /// What is expected from now on.
    pub expected: Vec<Expectation>,
    /// What is no longer expected.
    pub settled: Vec<Settlement>,
}

/// Channel and queue of a command: `sales`, or `bulk-sales` for the queue of campaigns.
pub fn lane(command: &Row) -> String {
    if command.is_bulk { format!("bulk-{}", command.channel) } else { command.channel.clone() }
}

/// What follows from a row. A replayed row ends expectations but begins nothing: nothing is sent or reported again because of it.
pub fn follow(row: &Row, settings: &RuleSettings) -> Followed {
    let mut followed = Followed::default();
    for rule in &RULES {
        let Some(key) = row.key(rule.key) else { continue };
        if rule.begins(row) {
            followed.expected.push(Expectation {
                rule: rule.name,
                key,
                channel: row.channel.clone(),
                since: row.stored_at,
                due: later(row.stored_at, settings.after(rule, row)),
            });
        }
        if rule.ends(row) {
            followed.settled.push(Settlement { rule: rule.name, key, channel: row.channel.clone() });
        }
    }
    followed
}

/// Time from a command to the delivery of its message, if the row says that it was delivered and is the one that an expectation of
/// [`RuleName::Delivery`] waited for. A failed message ends that expectation too, and has no such time.
pub fn delivered_after(expectation: &Expectation, row: &Row) -> Option<Duration> {
    let key = row.key(Rule::of(RuleName::Delivery).key)?;
    let is_its = expectation.rule == RuleName::Delivery && key == expectation.key;
    if !is_its || row.channel != expectation.channel || row.kind != RowKind::Report || !is_delivered(row) {
        return None;
    }
    let time = row.stored_at.duration_since(expectation.since);
    Some(Duration::try_from(time).unwrap_or_default())
}

/// The time that is later by a duration; the last possible time if there is no such time.
pub(crate) fn later(time: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

impl RuleSettings {
    /// Time after which a rule that begins with a row is overdue.
    pub fn after(&self, rule: &Rule, row: &Row) -> Duration {
        match rule.after {
            After::Time(time) => time,
            After::Report => self.report_after.get(&row.channel).copied().unwrap_or(self.times.report_after),
            After::Fetch => self.times.fetch_after,
            After::Lane => {
                let usual = self.result_after.get(&lane(row)).copied().unwrap_or_default();
                usual.min(RESULT_AFTER_MAX).max(self.times.result_after)
            }
        }
    }
}
