//! What follows from a row: expectations that begin with it, and those that it ends. Pure.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::row::{IdKind, Row, RowKind};
use crate::rules::steps::is_delivered;
use crate::rules::table::{After, RULES};
use crate::rules::{
    BULK_RESULT_AFTER_MAX, Expectation, FETCH_AFTER, Judged, REPORT_AFTER, RESULT_AFTER, RESULT_AFTER_MAX,
    Rule, RuleName, Settled, Settlement,
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
    /// Time after which a result is overdue, of the lanes that usually take longer than [`RESULT_AFTER`].
    pub result_after: HashMap<Lane, Duration>,
}

/// One of the two queues of a channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The channel's id.
    pub channel: String,
    /// Whether it is the queue of campaigns.
    pub is_bulk: bool,
}

impl Lane {
    /// The lane of a command.
    pub fn of(command: &Row) -> Self {
        Self { channel: command.channel.clone(), is_bulk: command.is_bulk }
    }

    /// Longest time that it is given for a result.
    pub fn result_after_max(&self) -> Duration {
        if self.is_bulk { BULK_RESULT_AFTER_MAX } else { RESULT_AFTER_MAX }
    }
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
pub fn follow(row: &Row) -> Followed {
    let mut followed = Followed::default();
    let file = row.key(IdKind::Media);
    for rule in &RULES {
        let settled = |key, of| Settlement { rule: rule.name, key, of, channel: row.channel.clone() };
        if rule.ends_for_file(row) {
            followed.settled.extend(file.map(|file| settled(file, Settled::File)));
        }
        let Some(key) = row.key(rule.key) else { continue };
        if rule.begins(row) {
            followed.expected.push(Expectation {
                rule: rule.name,
                key,
                file: file.filter(|_| !rule.ends_for_file.is_empty()),
                channel: row.channel.clone(),
                since: row.stored_at,
                due: later(row.stored_at, rule.after.standard()),
            });
        }
        if rule.ends(row) {
            followed.settled.push(settled(key, Settled::Id));
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
    /// Time after which a rule is overdue in a channel, as it is now.
    pub fn after(&self, rule: &Rule, channel: &str) -> Duration {
        let first = self.first_after(rule, channel);
        match rule.after {
            After::Lane => {
                let is_bulk = rule.name == RuleName::NoBulkResult;
                let lane = Lane { channel: channel.to_owned(), is_bulk };
                let usual = self.result_after.get(&lane).copied().unwrap_or_default();
                usual.min(lane.result_after_max()).max(first)
            }
            _ => first,
        }
    }

    /// The same without the usual time of the lane.
    fn first_after(&self, rule: &Rule, channel: &str) -> Duration {
        match rule.after {
            After::Report => self.report_after.get(channel).copied().unwrap_or(self.times.report_after),
            _ => self.everywhere_after(rule),
        }
    }

    /// The same in the channels for which nothing else is set or was learned.
    fn everywhere_after(&self, rule: &Rule) -> Duration {
        match rule.after {
            After::Time(time) => time,
            After::Report => self.times.report_after,
            After::Fetch => self.times.fetch_after,
            After::Lane => self.times.result_after,
        }
    }

    /// What a rule finds overdue at a time, as the store is asked for it.
    pub(crate) fn judged(&self, rule: &Rule, now: Timestamp) -> Judged {
        let until = |after: Duration| match after.checked_sub(rule.after.standard()) {
            Some(more) => earlier(now, more),
            None => later(now, rule.after.standard() - after),
        };
        let is_bulk = rule.name == RuleName::NoBulkResult;
        let others: Vec<&String> = match rule.after {
            After::Report => self.report_after.keys().collect(),
            After::Lane => {
                let lanes = self.result_after.keys().filter(|lane| lane.is_bulk == is_bulk);
                lanes.map(|lane| &lane.channel).collect()
            }
            After::Time(_) | After::Fetch => Vec::new(),
        };
        let in_channel = |channel: &String| (channel.clone(), until(self.after(rule, channel)));
        Judged {
            rule: rule.name,
            until: until(self.everywhere_after(rule)),
            channels: others.into_iter().map(in_channel).collect(),
        }
    }
}

/// The time that is earlier by a duration; the first possible time if there is no such time.
pub(crate) fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}
