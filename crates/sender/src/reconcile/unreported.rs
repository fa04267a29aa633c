//! The accepted messages of one channel without a report, and when the BSP's message log is asked about each. Pure.
//!
//! A message is asked about `report_after` after its acceptance, and then at twice its age each time: 15, 30, 60 minutes and so on, until
//! it is almost [`AGE_MAX`] old. Which messages the ledger knows, and what the log answers, is left to others.

use std::collections::HashMap;

use bsp::CommandId;
use jiff::{SignedDuration, Timestamp};
use proto::v1::{ReportEvent, ReportStatus, SendOutcome, SendResult};

/// Age after which a message is not asked about any more. The ledger keeps an entry for two hours longer.
pub(crate) const AGE_MAX: SignedDuration = SignedDuration::from_hours(24);
/// Age of the last question: early enough that one that fails can be asked again.
const LAST_AGE: SignedDuration = SignedDuration::from_mins(23 * 60 + 30);
/// Most messages without a report that are kept for a channel. Further ones are not asked about.
const OPEN_MAX: usize = 50_000;
/// Most messages that are kept because their report came, in case their result comes after it.
const REPORTED_MAX: usize = 100_000;
/// Time for which they are kept: a result is stored a few seconds after its call, and a report may be faster.
const REPORTED_KEPT: SignedDuration = SignedDuration::from_mins(2);

/// Messages without a report, by their id at the BSP.
#[derive(Debug)]
pub(super) struct Unreported {
    ask_after: SignedDuration,
    open: HashMap<String, Open>,
    /// Messages with a report, and when it was stored.
    reported: HashMap<String, Timestamp>,
    /// When the newest event was stored that was read. What is read of the past is older than the clock by up to a day.
    newest: Timestamp,
    /// That time, when `reported` was looked through last.
    forgotten_at: Timestamp,
    /// Messages that were not kept since the last call of [`Unreported::take_left_out`].
    left_out: u64,
}

#[derive(Debug)]
struct Open {
    command: CommandId,
    accepted_at: Timestamp,
    ask_at: Timestamp,
    /// The event of the log's last words about it; empty if there is no such event.
    known_event: String,
}

/// A message to ask about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) message_id: String,
    pub(super) command: CommandId,
}

impl Unreported {
    pub(super) fn new(ask_after: SignedDuration) -> Self {
        Self {
            ask_after,
            open: HashMap::new(),
            reported: HashMap::new(),
            newest: Timestamp::MIN,
            forgotten_at: Timestamp::MIN,
            left_out: 0,
        }
    }

    /// Prepares for a stream that was created again and is read from its beginning. Which reports the one before had does not count: this
    /// one may lack them, and who reads it does not have them. Messages without a report stay.
    pub(super) fn begin_again(&mut self) {
        self.reported.clear();
        (self.newest, self.forgotten_at) = (Timestamp::MIN, Timestamp::MIN);
    }

    /// Adds the message of a result, if it was accepted and no report about it came.
    pub(super) fn accepted(&mut self, result: &SendResult, stored_at: Timestamp) {
        self.advance(stored_at);
        if result.outcome() != SendOutcome::Accepted || self.reported.contains_key(&result.message_id) {
            return;
        }
        let Some(command) = CommandId::parse(&result.command_id) else { return };
        if self.open.len() >= OPEN_MAX {
            self.left_out += 1;
            return;
        }
        let decided_at = result.decided_at.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
        let accepted_at = decided_at.unwrap_or(stored_at);
        let ask_at = later(accepted_at, self.ask_after);
        let open = Open { command, accepted_at, ask_at, known_event: String::new() };
        self.open.entry(result.message_id.clone()).or_insert(open);
    }

    /// Removes the message of a report. What was read from the log before removes it only if it is final.
    pub(super) fn reported(&mut self, report: &ReportEvent, stored_at: Timestamp) {
        self.advance(stored_at);
        let is_reconciled = report.source.is_some_and(|source| source.reconciled);
        if is_reconciled && !is_final(report.status()) {
            self.published(report);
            return;
        }
        self.open.remove(&report.message_id);
        if self.reported.len() < REPORTED_MAX && !report.command_id.is_empty() {
            self.reported.insert(report.message_id.clone(), stored_at);
        }
    }

    /// Returns the messages that are due, the longest overdue first.
    pub(super) fn due(&self, now: Timestamp, count_max: usize) -> Vec<Question> {
        let mut due: Vec<_> = self.open.iter().filter(|(_, open)| open.ask_at <= now).collect();
        due.sort_unstable_by_key(|(_, open)| open.ask_at);
        due.truncate(count_max);
        let question =
            |(id, open): (&String, &Open)| Question { message_id: id.clone(), command: open.command.clone() };
        due.into_iter().map(question).collect()
    }

    /// Schedules the next question about a message that the log has answered.
    pub(super) fn answered(&mut self, message_id: &str, now: Timestamp) {
        let Some(open) = self.open.get_mut(message_id) else { return };
        let age = now.duration_since(open.accepted_at).max(self.ask_after);
        if age >= LAST_AGE {
            self.open.remove(message_id);
            return;
        }
        open.ask_at = later(open.accepted_at, (age + age).min(LAST_AGE));
    }

    /// Asks about a message again after a pause, because the question failed.
    pub(super) fn postpone(&mut self, message_id: &str, until: Timestamp) {
        if let Some(open) = self.open.get_mut(message_id) {
            open.ask_at = until;
        }
    }

    /// Whether the log says something about a message that no event says.
    pub(super) fn is_news(&self, report: &ReportEvent) -> bool {
        self.open.get(&report.message_id).is_some_and(|open| open.known_event != report.event_id)
    }

    /// Records that an event has the log's words. After final ones there is no other question.
    pub(super) fn published(&mut self, report: &ReportEvent) {
        if is_final(report.status()) {
            self.open.remove(&report.message_id);
        } else if let Some(open) = self.open.get_mut(&report.message_id) {
            report.event_id.clone_into(&mut open.known_event);
        }
    }

    /// Removes a message about which nothing is asked any more.
    pub(super) fn remove(&mut self, message_id: &str) {
        self.open.remove(message_id);
    }

    /// Removes what is too old.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.open.retain(|_, open| now.duration_since(open.accepted_at) <= AGE_MAX);
    }

    /// Notes that an event was read, and forgets the reports whose results cannot come after it.
    fn advance(&mut self, stored_at: Timestamp) {
        self.newest = self.newest.max(stored_at);
        let newest = self.newest;
        if newest.duration_since(self.forgotten_at) > REPORTED_KEPT {
            self.forgotten_at = newest;
            self.reported.retain(|_, stored_at| newest.duration_since(*stored_at) <= REPORTED_KEPT);
        }
    }

    /// Returns how many messages were not kept since the last call, because there were too many.
    pub(super) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}

/// Whether nothing else is expected of the log after this status.
fn is_final(status: ReportStatus) -> bool {
    match status {
        ReportStatus::Failed | ReportStatus::Delivered | ReportStatus::Read | ReportStatus::Deleted => true,
        ReportStatus::Unspecified
        | ReportStatus::Unrecognized
        | ReportStatus::Pending
        | ReportStatus::Sent => false,
    }
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proto::v1::EventSource;

    use super::*;

    const AFTER: SignedDuration = SignedDuration::from_mins(15);

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minutes * 60).unwrap()
    }

    fn result(id: &str, minutes: i64) -> SendResult {
        SendResult {
            command_id: id.to_owned(),
            message_id: format!("imc-{id}"),
            outcome: SendOutcome::Accepted.into(),
            decided_at: Some(bsp::time::to_proto(at(minutes))),
            ..SendResult::default()
        }
    }

    fn report(id: &str, status: ReportStatus, reconciled: bool) -> ReportEvent {
        ReportEvent {
            event_id: format!("{id}-{status:?}"),
            message_id: format!("imc-{id}"),
            command_id: id.to_owned(),
            status: status.into(),
            source: Some(EventSource { reconciled, ..EventSource::default() }),
            ..ReportEvent::default()
        }
    }

    fn due(unreported: &Unreported, minutes: i64) -> Vec<String> {
        unreported.due(at(minutes), 100).into_iter().map(|question| question.message_id).collect()
    }

    #[test]
    fn a_message_is_asked_about_at_growing_intervals_for_24_hours() {
        let mut unreported = Unreported::new(AFTER);
        unreported.accepted(&result("a", 0), at(0));
        let mut asked = Vec::new();
        for minute in 0..3 * 24 * 60 {
            if !due(&unreported, minute).is_empty() {
                asked.push(minute);
                unreported.answered("imc-a", at(minute));
            }
        }
        assert_eq!(asked, [15, 30, 60, 120, 240, 480, 960, 1410]);
        // A message that is older than a day when it is read, after a restart.
        unreported.accepted(&result("old", 0), at(0));
        unreported.expire(at(24 * 60 + 1));
        assert_eq!(due(&unreported, 24 * 60 + 1), Vec::<String>::new());
    }

    #[test]
    fn a_report_ends_the_questions_in_either_order() {
        let mut unreported = Unreported::new(AFTER);
        unreported.accepted(&result("a", 0), at(0));
        unreported.reported(&report("a", ReportStatus::Pending, false), at(1));
        unreported.reported(&report("b", ReportStatus::Delivered, false), at(1));
        unreported.accepted(&result("b", 1), at(1));
        unreported.accepted(&result("c", 1), at(1));
        unreported.accepted(&SendResult { outcome: SendOutcome::Unknown.into(), ..result("d", 1) }, at(1));
        assert_eq!(due(&unreported, 60), ["imc-c"]);
    }

    #[test]
    fn a_report_before_its_result_ends_the_questions_also_when_the_past_is_read() {
        let mut unreported = Unreported::new(AFTER);
        unreported.reported(&report("a", ReportStatus::Delivered, false), at(0));
        // Hours later by the clock, between two events that were stored at the same time.
        unreported.expire(at(600));
        unreported.accepted(&result("a", 0), at(0));
        assert!(due(&unreported, 600).is_empty());
        unreported.accepted(&result("b", 5), at(5));
        assert!(unreported.reported.is_empty(), "it is not kept for long");
    }

    #[test]
    fn a_stream_that_was_created_again_decides_which_messages_have_reports() {
        let mut unreported = Unreported::new(AFTER);
        unreported.accepted(&result("a", 0), at(0));
        unreported.accepted(&result("b", 0), at(0));
        unreported.reported(&report("a", ReportStatus::Delivered, false), at(1));
        unreported.begin_again();
        // Older than what was read of the stream before.
        unreported.reported(&report("c", ReportStatus::Delivered, false), at(0));
        for id in ["a", "c"] {
            unreported.accepted(&result(id, 0), at(0));
        }
        let mut due = due(&unreported, 60);
        due.sort();
        assert_eq!(due, ["imc-a", "imc-b"]);
    }

    #[test]
    fn the_same_words_of_the_log_are_news_once_also_after_a_restart() {
        let pending = report("a", ReportStatus::Pending, true);
        let mut unreported = Unreported::new(AFTER);
        unreported.accepted(&result("a", 0), at(0));
        assert!(unreported.is_news(&pending));
        // As the event is read back after a restart.
        unreported.reported(&pending, at(16));
        assert!(!unreported.is_news(&pending));
        assert_eq!(due(&unreported, 60), ["imc-a"], "a pending message may still be delivered");
        let rejected = report("a", ReportStatus::Failed, true);
        assert!(unreported.is_news(&rejected));
        unreported.published(&rejected);
        assert!(due(&unreported, 60).is_empty());
        assert!(!unreported.is_news(&rejected));
    }

    #[test]
    fn a_failed_question_is_asked_again_and_too_many_messages_are_counted() {
        let mut unreported = Unreported::new(AFTER);
        for number in 0..=OPEN_MAX {
            unreported.accepted(&result(&number.to_string(), 0), at(0));
        }
        assert_eq!((unreported.take_left_out(), unreported.take_left_out()), (1, 0));
        let first = unreported.due(at(20), 1).remove(0);
        unreported.postpone(&first.message_id, at(21));
        assert_eq!(unreported.due(at(20), OPEN_MAX).len(), OPEN_MAX - 1);
        assert_eq!(unreported.due(at(21), OPEN_MAX).len(), OPEN_MAX);
    }
}
