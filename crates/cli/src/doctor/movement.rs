//! Whether the readers of whole streams get on: two looks at their durables, a few seconds apart.

use std::time::Duration;

use bus::inspect::DurableSeen;
use bus::streams::{AICC, NORMALIZER};
use jiff::Timestamp;

use super::finding::{Check, Finding, span};
use super::gather::{Look, Moves};

const NORMALIZER_CHECK: Check = Check("durables.normalizer");
const AICC_CHECK: Check = Check("durables.aicc");

/// Age of the oldest waiting message from which it is a warning.
const AGE_WARNING: Duration = Duration::from_secs(5 * 60);
/// Age of the oldest waiting webhook from which it is an error.
const NORMALIZER_AGE_WRONG: Duration = Duration::from_secs(3600);
/// Age of the oldest waiting event from which it is an error: half of the time for which EVENTS keeps an event. What is
/// not read by then may be lost.
const AICC_AGE_WRONG: Duration = Duration::from_secs(36 * 3600);

/// What a reader did between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Motion {
    /// It took or acknowledged something.
    Moves,
    /// Nothing waited.
    Idle,
    /// Something waited, and nothing happened.
    Stands,
    /// Something waited or not, and nobody asked for it.
    Alone,
}

pub(super) fn motion(before: &DurableSeen, after: &DurableSeen) -> Motion {
    if after.delivered > before.delivered || after.acknowledged > before.acknowledged {
        return Motion::Moves;
    }
    if before.requests == 0 && after.requests == 0 && (after.held == 0 || after.pending > 0) {
        return Motion::Alone;
    }
    if before.pending > 0 && after.pending > 0 { Motion::Stands } else { Motion::Idle }
}

pub(super) fn judge(moves: &Look<Vec<Moves>>, watched: Duration, now: Timestamp) -> Vec<Finding> {
    let moves = match moves {
        Ok(moves) => moves,
        Err(error) => return vec![NORMALIZER_CHECK.unseen(error), AICC_CHECK.unseen(error)],
    };
    let find = |name: &str| moves.iter().find(|moves| moves.after.name == name);
    let mut findings = Vec::new();
    // One that is missing is a difference, told by another check.
    findings.extend(find(NORMALIZER.name).map(|moves| judge_normalizer(moves, watched, now)));
    findings.push(find(AICC.name).map_or_else(no_aicc, |moves| judge_aicc(moves, watched, now)));
    findings
}

fn judge_normalizer(moves: &Moves, watched: Duration, now: Timestamp) -> Finding {
    let (check, why) = (NORMALIZER_CHECK, "Webhooks are stored, and no event comes of them.");
    let waits = waits(&moves.after, "webhook");
    match motion(&moves.before, &moves.after) {
        Motion::Alone => check.error(
            format!("no normalizer asks for webhooks; {waits}"),
            why,
            "Start imchannel-normalizer, or see why its /ready says 503, or whether imchannel_worker_paused says that EVENTS or DEADLETTERS is full.",
        ),
        Motion::Stands => check.error(
            format!("nothing was taken or acknowledged within {}; {waits}", span(watched)),
            why,
            "Read the normalizers' log and imchannel_worker_paused: a full EVENTS or DEADLETTERS stops them.",
        ),
        Motion::Moves | Motion::Idle => judge_age(check, &moves.after, NORMALIZER_AGE_WRONG, now, "webhook").unwrap_or_else(
            |(is_wrong, what)| {
                let remedy = "Start more normalizers, and look at `imchannel top` and their log for what is tried again and again.";
                let why = "Events are as late as the oldest webhook is old.";
                if is_wrong { check.error(what, why, remedy) } else { check.warning(what, why, remedy) }
            },
        ),
    }
}

fn judge_aicc(moves: &Moves, watched: Duration, now: Timestamp) -> Finding {
    let (check, why) = (
        AICC_CHECK,
        "Reports, messages and results do not reach the AICC back end; events are kept for 72 hours, or until EVENTS is full.",
    );
    let waits = waits(&moves.after, "event");
    let remedy = "Start the AICC back end's reader of durable aicc, or see why it does not acknowledge.";
    match motion(&moves.before, &moves.after) {
        // One look may fall between two requests of a reader that fetches now and then.
        Motion::Alone => check.warning(format!("nobody asks for events; {waits}"), why, remedy),
        Motion::Stands => check.warning(
            format!("nothing was taken or acknowledged within {}; {waits}", span(watched)),
            why,
            remedy,
        ),
        Motion::Moves | Motion::Idle => judge_age(check, &moves.after, AICC_AGE_WRONG, now, "event")
            .unwrap_or_else(|(is_wrong, what)| {
                let why = "An event that is not read within 72 hours is gone.";
                if is_wrong { check.error(what, why, remedy) } else { check.warning(what, why, remedy) }
            }),
    }
}

fn no_aicc() -> Finding {
    AICC_CHECK.warning(
        "there is no durable aicc",
        "Without a durable the gateway cannot know what was read: the oldest events are purged when EVENTS fills up.",
        "Run `imchannel streams apply`, unless the back end reads EVENTS in another way on purpose.",
    )
}

fn waits(durable: &DurableSeen, what: &str) -> String {
    format!("{} {what}s wait and {} are held", durable.pending, durable.held)
}

/// All well, or whether it is wrong and what.
fn judge_age(
    check: Check,
    durable: &DurableSeen,
    wrong_from: Duration,
    now: Timestamp,
    what: &str,
) -> Result<Finding, (bool, String)> {
    let waits = waits(durable, what);
    let age = durable.oldest.map(|oldest| Duration::try_from(now.duration_since(oldest)).unwrap_or_default());
    match age {
        Some(age) if age > AGE_WARNING => {
            Err((age > wrong_from, format!("the oldest {what} waits for {}; {waits}", span(age))))
        }
        Some(age) => Ok(check.ok(format!("gets on; {waits}, the oldest for {}", span(age)))),
        None if durable.pending + durable.held == 0 => Ok(check.ok("gets on; nothing waits")),
        None => Ok(check.ok(format!("gets on; {waits}"))),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    pub(in crate::doctor) fn durable(
        name: &str,
        delivered: u64,
        pending: u64,
        requests: usize,
    ) -> DurableSeen {
        DurableSeen {
            stream: "WEBHOOKS",
            name: name.to_owned(),
            channel: None,
            queue: None,
            delivered,
            acknowledged: delivered,
            pending,
            held: 0,
            requests,
            oldest: None,
        }
    }

    fn levels(before: (u64, u64, usize), after: (u64, u64, usize), age_s: i64) -> (Level, Level) {
        let now = Timestamp::UNIX_EPOCH;
        let of = |name: &str| {
            let make = |(delivered, pending, requests)| durable(name, delivered, pending, requests);
            let oldest = (age_s > 0).then(|| now - jiff::SignedDuration::from_secs(age_s));
            Moves { before: make(before), after: DurableSeen { oldest, ..make(after) } }
        };
        let all = Ok(vec![of("normalizer"), of("aicc")]);
        let findings = judge(&all, Duration::from_secs(3), now);
        (findings[0].level, findings[1].level)
    }

    #[test]
    fn a_reader_that_stands_is_found() {
        let (ok, warning, wrong) = (Level::Ok, Level::Warning, Level::Error);
        assert_eq!(levels((5, 0, 1), (5, 0, 1), 0), (ok, ok));
        assert_eq!(levels((5, 9, 0), (7, 9, 0), 1), (ok, ok));
        // It waits, and nobody asks.
        assert_eq!(levels((5, 9, 0), (5, 9, 0), 1), (wrong, warning));
        // Nothing waits, and nobody would ask.
        assert_eq!(levels((5, 0, 0), (5, 0, 0), 0), (wrong, warning));
        // Somebody asks, and gets nothing.
        assert_eq!(levels((5, 9, 1), (5, 9, 1), 1), (wrong, warning));
        // It gets on, and is late.
        assert_eq!(levels((5, 9, 1), (6, 9, 1), 600), (warning, warning));
        assert_eq!(levels((5, 9, 1), (6, 9, 1), 7200), (wrong, warning));
        assert_eq!(levels((5, 9, 1), (6, 9, 1), 40 * 3600), (wrong, wrong));
    }

    #[test]
    fn a_missing_aicc_is_a_warning() {
        let findings = judge(&Ok(Vec::new()), Duration::from_secs(3), Timestamp::UNIX_EPOCH);
        assert_eq!((findings.len(), findings[0].level), (1, Level::Warning));
    }
}
