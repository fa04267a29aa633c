//! A question to a message log, and how it is answered from a response that answers many.

use std::collections::HashMap;
use std::sync::Arc;

use bsp::ChannelId;
use bsp::sending::{Found, LogAnswer, SendResponse};
use jiff::Timestamp;
use proto::v1::ReportEvent;
use tokio::sync::oneshot;

use crate::account::Account;
use crate::bsp_client::log_queue::{Question, Urgency};

/// Response of the message log about one message.
#[derive(Debug, Clone, PartialEq)]
pub enum LookupResult {
    /// The log has the message.
    Found(Box<SendResponse>),
    /// The log does not have it, or not yet.
    NotFound,
    /// The request failed, which shows nothing.
    Failed,
}

/// What the message log says became of an accepted message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ReportLookup {
    /// The log has the message.
    Found(Box<ReportEvent>),
    /// The log does not have it, or says nothing about its status.
    NotFound,
    /// The request failed, which shows nothing.
    Failed,
}

/// A question about one message.
pub(super) struct StatusQuery {
    pub(super) message_id: String,
    pub(super) account: Arc<Account>,
    pub(super) answer: AnswerTo,
}

/// Where the answer to a question goes.
pub(super) enum AnswerTo {
    Outcome(oneshot::Sender<LookupResult>),
    Report(oneshot::Sender<ReportLookup>),
}

impl Question for StatusQuery {
    fn urgency(&self) -> Urgency {
        match self.answer {
            AnswerTo::Outcome(_) => Urgency::Outcome,
            AnswerTo::Report(_) => Urgency::Report,
        }
    }

    fn is_abandoned(&self) -> bool {
        match &self.answer {
            AnswerTo::Outcome(answer) => answer.is_closed(),
            AnswerTo::Report(answer) => answer.is_closed(),
        }
    }
}

impl StatusQuery {
    /// Answers the question; `None` for a request that failed.
    pub(super) fn answer(self, log: Option<&LogContent>) {
        let report = log.map(|log| log.report(&self).cloned());
        match self.answer {
            AnswerTo::Outcome(answer) => {
                let found = log.map(|log| log.outcomes.get(&self.message_id));
                let _ = answer.send(match found {
                    Some(Some(found)) => LookupResult::Found(found.clone().into()),
                    Some(None) => LookupResult::NotFound,
                    None => LookupResult::Failed,
                });
            }
            AnswerTo::Report(answer) => {
                let _ = answer.send(match report {
                    Some(Some(report)) => ReportLookup::Found(report.into()),
                    Some(None) => ReportLookup::NotFound,
                    None => ReportLookup::Failed,
                });
            }
        }
    }
}

/// What a response of the log says, by message id.
pub(super) struct LogContent {
    outcomes: HashMap<String, SendResponse>,
    /// Of the channels that asked for reports: an account may have several.
    reports: HashMap<ChannelId, HashMap<String, ReportEvent>>,
}

impl LogContent {
    pub(super) fn new(outcomes: Vec<Found>) -> Self {
        let outcomes = outcomes.into_iter().map(|found| (found.message_id, found.answer)).collect();
        Self { outcomes, reports: HashMap::new() }
    }

    /// Reads the response as reports for the channels of these questions that ask for reports.
    pub(super) fn read_reports(&mut self, batch: &[StatusQuery], body: &[u8], answered_at: Timestamp) {
        for question in batch.iter().filter(|question| question.urgency() == Urgency::Report) {
            let account = &question.account;
            if self.reports.contains_key(&account.channel) {
                continue;
            }
            let log = LogAnswer { channel: &account.channel, body, answered_at };
            let reports = account.sending.log_reports(&log);
            let reports = reports.into_iter().map(|report| (report.message_id.clone(), report));
            self.reports.insert(account.channel.clone(), reports.collect());
        }
    }

    fn report(&self, question: &StatusQuery) -> Option<&ReportEvent> {
        self.reports.get(&question.account.channel)?.get(&question.message_id)
    }
}

/// The message ids of these questions.
pub(super) fn ids_of(batch: &[StatusQuery]) -> Vec<&str> {
    batch.iter().map(|question| question.message_id.as_str()).collect()
}
