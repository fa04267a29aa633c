//! Asks the ledger and then the BSP's message log about messages without a report.

use bus::ledger::LedgerKey;
use futures_util::future::join_all;
use proto::v1::{ReportEvent, SendOutcome, SendResult};

use crate::bsp_client::log_question::ReportLookup;
use crate::context::LaneContext;
use crate::ledger::record::{Decision, Record, State};
use crate::reconcile::unreported::Question;

/// What is known about a message.
pub(super) enum Answer {
    /// The ledger does not say that it was accepted: nothing is asked.
    NotAccepted,
    /// The log has it.
    Found(Box<ReportEvent>),
    /// The log does not have it.
    NotFound,
    /// Ledger or log did not answer.
    Failed,
}

/// The answer about one message.
pub(super) struct Answered {
    pub(super) question: Question,
    pub(super) answer: Answer,
}

/// Asks about all of these messages. The questions wait for each other in the queue of the message log, so that one request has all.
pub(super) async fn ask(lane: LaneContext, questions: Vec<Question>) -> Vec<Answered> {
    let mut answered = Vec::new();
    let mut accepted = Vec::new();
    for question in questions {
        match ledger_says_accepted(&lane, &question).await {
            Some(true) => accepted.push(question),
            Some(false) => answered.push(Answered { question, answer: Answer::NotAccepted }),
            None => answered.push(Answered { question, answer: Answer::Failed }),
        }
    }
    let log = &lane.shared.message_log;
    let asked = accepted.into_iter().map(async |question: Question| {
        let answer = match log.query_report(&lane.account, &question.message_id).await {
            ReportLookup::Found(report) => Answer::Found(report),
            ReportLookup::NotFound => Answer::NotFound,
            ReportLookup::Failed => Answer::Failed,
        };
        Answered { question, answer }
    });
    answered.extend(join_all(asked).await);
    answered
}

/// Whether the ledger says that the message was accepted; `None` if the ledger did not answer.
pub(super) async fn ledger_says_accepted(lane: &LaneContext, question: &Question) -> Option<bool> {
    let key = LedgerKey::new(&lane.account.channel, &question.command);
    let entry = lane.shared.bus.ledger_read(&key).await.ok()?;
    Some(entry.and_then(|entry| Record::from_bytes(&entry.value)).is_some_and(|record| is_accepted(&record)))
}

fn is_accepted(record: &Record) -> bool {
    let outcome = |result: &SendResult| result.outcome() == SendOutcome::Accepted;
    match &record.state {
        State::Done(Decision::Owed(result)) => outcome(result),
        State::Done(Decision::OwedCompact(result)) => result.outcome() == SendOutcome::Accepted,
        State::Done(Decision::Answered) | State::Intent { .. } | State::NotSent => false,
    }
}
