//! What is missing in the rows of one message. Pure.
//!
//! The rules of [`crate::rules`] are followed over the rows. What waits for a reader (a webhook for the normalizer, an event for
//! the back end) is judged by the reader's floor. Nothing is said about a time that was not read yet.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use proto::v1::SendOutcome;

use crate::life::source::is_made_from;
use crate::life::words::span;
use crate::life::{Missing, View};
use crate::row::{FROM_LOG, LookupKey, Row, RowKind, Status, StreamNumber};
use crate::rules::{Expectation, Rule, RuleName, Settled, follow, judged_until, later};

/// Age after which a row of WEBHOOKS or EVENTS is no longer compared with a floor: the streams keep messages for 72 h. In a stream
/// that was created again the same sequence is another message.
pub const FLOOR_AGE_MAX: SignedDuration = SignedDuration::from_hours(72);

/// What is missing in the rows of one life, the longest overdue first.
pub fn missing(rows: &[Row], view: &View) -> Vec<Missing> {
    let mut missing: Vec<Missing> =
        expected(rows, view).into_iter().filter_map(|expected| overdue(&expected, rows, view)).collect();
    missing.extend(webhook_waiting(rows, view));
    missing.extend(event_waiting(rows, view));
    missing.sort_by_key(|missing| (missing.due, missing.rule));
    missing
}

/// What the rows begin and do not end, each once: a command that was published twice is expected to be answered once.
fn expected(rows: &[Row], view: &View) -> Vec<Expectation> {
    let followed: Vec<_> = rows.iter().map(follow).collect();
    let settled: HashSet<(RuleName, Settled, LookupKey, &str)> = followed
        .iter()
        .flat_map(|followed| &followed.settled)
        .map(|settled| (settled.rule, settled.of, settled.key, settled.channel.as_str()))
        .collect();
    let is_open = |one: &Expectation| {
        let is_settled = |of, key| settled.contains(&(one.rule, of, key, one.channel.as_str()));
        let is_fetched =
            |file| is_settled(Settled::File, file) || view.fetched.contains_key(&(file, one.channel.clone()));
        !is_settled(Settled::Id, one.key) && !one.file.is_some_and(is_fetched)
    };
    let mut seen: HashSet<(RuleName, LookupKey, &str)> = HashSet::new();
    let all = followed.iter().flat_map(|followed| &followed.expected);
    let open = all.filter(|one| is_open(one) && seen.insert((one.rule, one.key, one.channel.as_str())));
    open.cloned().collect()
}

fn overdue(expected: &Expectation, rows: &[Row], view: &View) -> Option<Missing> {
    let rule = Rule::of(expected.rule);
    if !rule.is_listed {
        return None;
    }
    let since = match rule.name {
        // Until it is accepted, the BSP has no reason to fetch the file.
        RuleName::NotFetched => accepted_at(expected, rows)?,
        _ => expected.since,
    };
    let due = later(since, view.rules.after(rule, &expected.channel));
    let until = judged_until(rule, &view.progress, view.floors.reports_until())?.min(view.now);
    if due > until {
        return None;
    }
    let command = rows.iter().find(|row| row.kind == RowKind::Command);
    let reason = match rule.name {
        RuleName::NoReport => rows.iter().rfind(|row| row.is_from_log()).map(asked),
        name if name.is_about_result() => {
            let reason = command.and_then(|command| view.halted(command));
            reason.map(|reason| format!(": the lane is halted: {reason}"))
        }
        _ => None,
    };
    let reason = reason.unwrap_or_default();
    let text = format!("{} for {}{reason}", rule.missing, span(since, view.now));
    Some(Missing { rule: rule.name, since, due, text, advice: advice(rule, &expected.channel) })
}

/// What the BSP's message log said, such as `; infobip's log was asked at 10:02 UTC: PENDING_ENROUTE`.
pub(super) fn asked(row: &Row) -> String {
    let at = row.stored_at.strftime("%H:%M");
    let words = row.summary.strip_prefix(FROM_LOG).unwrap_or_default();
    format!("; {}'s log was asked at {at} UTC: {words}", row.bsp)
}

fn accepted_at(expected: &Expectation, rows: &[Row]) -> Option<Timestamp> {
    let accepted = |row: &&Row| {
        row.kind == RowKind::Result
            && row.status == Some(Status::Outcome(SendOutcome::Accepted))
            && row.key(Rule::of(expected.rule).key) == Some(expected.key)
    };
    rows.iter().find(accepted).map(|row| row.stored_at)
}

fn advice(rule: &Rule, channel: &str) -> String {
    rule.advice.replace("{channel}", channel)
}

/// The oldest webhook above the normalizer's floor of which nothing was made yet.
fn webhook_waiting(rows: &[Row], view: &View) -> Option<Missing> {
    let waits = |row: &&Row| {
        row.kind == RowKind::Webhook
            && is_above(row, view.floors.normalizer, view)
            && !rows.iter().any(|made| is_made_from(made, row))
    };
    let row = rows.iter().filter(waits).min_by_key(|row| row.stored_at)?;
    let rule = Rule::of(RuleName::WebhookWaiting);
    let due = due(rule, row, view)?;
    let text = format!("{} for {}", rule.missing, span(row.stored_at, view.now));
    Some(Missing { rule: rule.name, since: row.stored_at, due, text, advice: advice(rule, &row.channel) })
}

/// The events above the back end's floor, in one line for all of them.
fn event_waiting(rows: &[Row], view: &View) -> Option<Missing> {
    let waits = |row: &&Row| {
        row.pointer.stream == StreamNumber::Events
            && row.pointer.part == 0
            && is_above(row, view.floors.aicc, view)
    };
    let rule = Rule::of(RuleName::EventWaiting);
    let oldest = rows.iter().filter(waits).min_by_key(|row| row.stored_at)?;
    let due = due(rule, oldest, view)?;
    let time = span(oldest.stored_at, view.now);
    let text = match rows.iter().filter(waits).count() {
        1 => format!("{} the {} yet, for {time}", rule.missing, event_name(oldest)),
        count => format!("{} {count} events yet, the oldest for {time}", rule.missing),
    };
    Some(Missing {
        rule: rule.name,
        since: oldest.stored_at,
        due,
        text,
        advice: advice(rule, &oldest.channel),
    })
}

/// Whether a message may be above a floor. It is not known without a floor.
pub(super) fn is_above(row: &Row, floor: Option<u64>, view: &View) -> bool {
    let is_of_this_stream = row.pointer.sequence <= view.progress.of(row.pointer.stream).sequence
        && view.now.duration_since(row.stored_at) <= FLOOR_AGE_MAX;
    is_of_this_stream && floor.is_some_and(|floor| row.pointer.sequence > floor)
}

/// When a row that waits for a reader is overdue; `None` if that time has not passed.
fn due(rule: &Rule, row: &Row, view: &View) -> Option<Timestamp> {
    let due = later(row.stored_at, view.rules.after(rule, &row.channel));
    (due <= view.now).then_some(due)
}

fn event_name(row: &Row) -> String {
    match row.status {
        Some(status) => format!("{} {}", row.kind.name(), status.name()),
        None => match row.kind {
            RowKind::Account | RowKind::Customer => format!("{} event", row.kind.name()),
            kind => kind.name().to_owned(),
        },
    }
}
