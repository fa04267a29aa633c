//! Checks whether the readers of whole streams make progress, by reading their consumers twice, a few seconds apart.

use std::time::Duration;

use bus::inspect::ConsumerInfo;
use bus::streams::{AICC, NORMALIZER};
use jiff::Timestamp;

use super::finding::{Check, Finding, span};
use super::probe::{Moves, Probe};

const NORMALIZER_CHECK: Check = Check("durables.normalizer");
const AICC_CHECK: Check = Check("durables.aicc");

/// Age of the oldest waiting message from which it is a warning.
const AGE_WARNING: Duration = Duration::from_secs(5 * 60);
/// Age of the oldest waiting webhook from which it is an error.
const NORMALIZER_AGE_WRONG: Duration = Duration::from_secs(3600);
/// Age of the oldest waiting event from which it is an error: half of the time for which EVENTS keeps an event. What is
/// not read by then may be lost.
const AICC_AGE_WRONG: Duration = Duration::from_secs(36 * 3600);

/// What a reader did between the two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Motion {
    /// It received or acknowledged a message.
    Moves,
    /// No message was pending.
    Idle,
    /// Messages were pending, and none was delivered or acknowledged.
    Stands,
    /// It had no open pull request.
    Alone,
}

pub(super) fn motion(before: &ConsumerInfo, after: &ConsumerInfo) -> Motion {
    if after.delivered > before.delivered || after.acknowledged > before.acknowledged {
        return Motion::Moves;
    }
    if before.requests == 0 && after.requests == 0 && (after.held == 0 || after.pending > 0) {
        return Motion::Alone;
    }
    if before.pending > 0 && after.pending > 0 { Motion::Stands } else { Motion::Idle }
}

pub(super) fn evaluate(moves: &Probe<Vec<Moves>>, watched: Duration, now: Timestamp) -> Vec<Finding> {
    let moves = match moves {
        Ok(moves) => moves,
        Err(error) => return vec![NORMALIZER_CHECK.unseen(error), AICC_CHECK.unseen(error)],
    };
    let find = |name: &str| moves.iter().find(|moves| moves.after.name == name);
    let mut findings = Vec::new();
    // Another check reports a missing consumer.
    findings.extend(find(NORMALIZER.name).map(|moves| evaluate_normalizer(moves, watched, now)));
    findings.push(find(AICC.name).map_or_else(no_aicc, |moves| evaluate_aicc(moves, watched, now)));
    findings
}

fn evaluate_normalizer(moves: &Moves, watched: Duration, now: Timestamp) -> Finding {
    let (check, why) = (NORMALIZER_CHECK, "Webhooks are stored, and no events are published.");
    let waits = waits(&moves.after, "webhook");
    match motion(&moves.before, &moves.after) {
        Motion::Alone => check.error(
            format!("no normalizer requests webhooks; {waits}"),
            why,
            "Start imchannel-normalizer, or check why its /ready answers 503, or whether imchannel_worker_paused shows that EVENTS or DEADLETTERS is full.",
        ),
        Motion::Stands => check.error(
            format!("no message was delivered or acknowledged within {}; {waits}", span(watched)),
            why,
            "Check the normalizers' log and imchannel_worker_paused: a full EVENTS or DEADLETTERS pauses them.",
        ),
        Motion::Moves | Motion::Idle => evaluate_age(check, &moves.after, NORMALIZER_AGE_WRONG, now, "webhook").unwrap_or_else(
            |(is_wrong, what)| {
                let remedy = "Start more normalizers, and check `imchannel top` and their log for webhooks that are retried repeatedly.";
                let why = "Events are delayed by the age of the oldest webhook.";
                if is_wrong { check.error(what, why, remedy) } else { check.warning(what, why, remedy) }
            },
        ),
    }
}

fn evaluate_aicc(moves: &Moves, watched: Duration, now: Timestamp) -> Finding {
    let (check, why) = (
        AICC_CHECK,
        "Reports, messages and results do not reach the AICC back end; events are kept for 72 hours, or until EVENTS is full.",
    );
    let waits = waits(&moves.after, "event");
    let remedy = "Start the AICC back end's reader of durable aicc, or check why it does not acknowledge.";
    match motion(&moves.before, &moves.after) {
        // The readings may fall between two requests of a reader that fetches at intervals.
        Motion::Alone => check.warning(format!("no reader requests events; {waits}"), why, remedy),
        Motion::Stands => check.warning(
            format!("no message was delivered or acknowledged within {}; {waits}", span(watched)),
            why,
            remedy,
        ),
        Motion::Moves | Motion::Idle => evaluate_age(check, &moves.after, AICC_AGE_WRONG, now, "event")
            .unwrap_or_else(|(is_wrong, what)| {
                let why = "An event that is not read within 72 hours is deleted.";
                if is_wrong { check.error(what, why, remedy) } else { check.warning(what, why, remedy) }
            }),
    }
}

fn no_aicc() -> Finding {
    AICC_CHECK.warning(
        "durable aicc does not exist",
        "Without a consumer the gateway cannot determine which events were read: the oldest events are purged when EVENTS fills up.",
        "Run `imchannel streams apply`, unless the back end intentionally reads EVENTS in another way.",
    )
}

fn waits(durable: &ConsumerInfo, what: &str) -> String {
    format!("{} {what}s are pending and {} are in flight", durable.pending, durable.held)
}

/// Returns the finding without a problem, or whether it is an error and its text.
fn evaluate_age(
    check: Check,
    durable: &ConsumerInfo,
    wrong_from: Duration,
    now: Timestamp,
    what: &str,
) -> Result<Finding, (bool, String)> {
    let waits = waits(durable, what);
    let age = durable.oldest.map(|oldest| Duration::try_from(now.duration_since(oldest)).unwrap_or_default());
    match age {
        Some(age) if age > AGE_WARNING => {
            Err((age > wrong_from, format!("the oldest {what} has waited for {}; {waits}", span(age))))
        }
        Some(age) => Ok(check.ok(format!("makes progress; {waits}, the oldest for {}", span(age)))),
        None if durable.pending + durable.held == 0 => Ok(check.ok("makes progress; no message is pending")),
        None => Ok(check.ok(format!("makes progress; {waits}"))),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bus::StreamId;

    use super::*;
    use crate::doctor::finding::Level;

    pub(in crate::doctor) fn durable(
        name: &str,
        delivered: u64,
        pending: u64,
        requests: usize,
    ) -> ConsumerInfo {
        ConsumerInfo {
            delivered,
            acknowledged: delivered,
            pending,
            requests,
            ..ConsumerInfo::new(StreamId::Webhooks, name.to_owned())
        }
    }

    /// `[delivered, pending, requests]` before and after.
    fn levels(before: [u64; 3], after: [u64; 3], age_s: i64) -> (Level, Level) {
        let now = Timestamp::UNIX_EPOCH;
        let of = |name: &str| {
            let make = |[delivered, pending, requests]: [u64; 3]| {
                durable(name, delivered, pending, requests as usize)
            };
            let oldest = (age_s > 0).then(|| now - jiff::SignedDuration::from_secs(age_s));
            Moves { before: make(before), after: ConsumerInfo { oldest, ..make(after) } }
        };
        let all = Ok(vec![of("normalizer"), of("aicc")]);
        let findings = evaluate(&all, Duration::from_secs(3), now);
        (findings[0].level, findings[1].level)
    }

    #[test]
    fn a_reader_without_progress_is_found() {
        let (ok, warning, wrong) = (Level::Ok, Level::Warning, Level::Error);
        assert_eq!(levels([5, 0, 1], [5, 0, 1], 0), (ok, ok));
        assert_eq!(levels([5, 9, 0], [7, 9, 0], 1), (ok, ok));
        // Messages are pending without a request.
        assert_eq!(levels([5, 9, 0], [5, 9, 0], 1), (wrong, warning));
        // No message is pending and there is no request.
        assert_eq!(levels([5, 0, 0], [5, 0, 0], 0), (wrong, warning));
        // There is a request and no message is delivered.
        assert_eq!(levels([5, 9, 1], [5, 9, 1], 1), (wrong, warning));
        // It makes progress, and is late.
        assert_eq!(levels([5, 9, 1], [6, 9, 1], 600), (warning, warning));
        assert_eq!(levels([5, 9, 1], [6, 9, 1], 7200), (wrong, warning));
        assert_eq!(levels([5, 9, 1], [6, 9, 1], 40 * 3600), (wrong, wrong));
    }

    #[test]
    fn a_missing_aicc_is_a_warning() {
        let findings = evaluate(&Ok(Vec::new()), Duration::from_secs(3), Timestamp::UNIX_EPOCH);
        assert_eq!((findings.len(), findings[0].level), (1, Level::Warning));
    }
}
