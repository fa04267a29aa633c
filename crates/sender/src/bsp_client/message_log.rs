//! Queries to the BSP's message log, several messages per request, within the rate that all channels and replicas of an
//! account share. Which question goes first is decided in [`log_queue`](super::log_queue).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bsp::sending::LookupError;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::account::{Account, AccountName};
use crate::bsp_client::call;
use crate::bsp_client::log_question::{
    AnswerTo, LogContent, LookupResult, ReportLookup, StatusQuery, ids_of,
};
use crate::bsp_client::log_queue::{LogQueue, Question, Urgency};
use crate::metrics::SenderMetrics;

/// Timeout of one request to the message log.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// The same of a request for reports: a question about an outcome that comes meanwhile waits for it.
const REPORTS_CALL_LIMIT: Duration = Duration::from_secs(3);
/// Pause after the message log limited the rate without saying for how long.
const LIMITED_PAUSE: Duration = Duration::from_secs(10);
/// Time without a query after which a task ends.
const IDLE: Duration = Duration::from_secs(60);
/// Share of the rate that requests for reports may use: one of this many requests.
const REPORTS_SHARE: u32 = 4;

/// Why a request shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum QueryError {
    /// There was no response, or the account has no key.
    NoResponse,
    /// The log limits the rate of requests.
    Limited,
    /// The response cannot be read.
    Unreadable,
}

impl From<LookupError> for QueryError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Limited => Self::Limited,
            LookupError::Unreadable => Self::Unreadable,
        }
    }
}

/// Result of one request.
struct BatchResult {
    answer: Result<LogContent, QueryError>,
    /// `Retry-After` of the log, if there is one.
    wait: Option<Duration>,
}

impl BatchResult {
    const NO_RESPONSE: Self = Self { answer: Err(QueryError::NoResponse), wait: None };
}

/// Returns the number of replicas that work lanes of an account, to divide its rate by.
pub(crate) type ReplicaCount = Arc<dyn Fn(&AccountName) -> u32 + Send + Sync>;

/// Client for message logs.
#[derive(Clone)]
pub(crate) struct MessageLog {
    client: reqwest::Client,
    metrics: Arc<SenderMetrics>,
    replicas_of: ReplicaCount,
    accounts: Arc<Mutex<HashMap<AccountName, mpsc::UnboundedSender<StatusQuery>>>>,
}

impl std::fmt::Debug for MessageLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MessageLog")
    }
}

impl MessageLog {
    pub(crate) fn new(
        client: reqwest::Client,
        metrics: Arc<SenderMetrics>,
        replicas_of: ReplicaCount,
    ) -> Self {
        Self { client, metrics, replicas_of, accounts: Arc::default() }
    }

    /// Queries one message, together with others that are waiting. The number of commands that a lane holds limits its
    /// queries.
    pub(crate) async fn query(&self, account: &Arc<Account>, message_id: &str) -> LookupResult {
        let (answer, answered) = oneshot::channel();
        self.ask(account, message_id, AnswerTo::Outcome(answer));
        answered.await.unwrap_or(LookupResult::Failed)
    }

    /// Asks what became of an accepted message. Questions of [`MessageLog::query`] go first.
    pub(crate) async fn query_report(&self, account: &Arc<Account>, message_id: &str) -> ReportLookup {
        let (answer, answered) = oneshot::channel();
        self.ask(account, message_id, AnswerTo::Report(answer));
        answered.await.unwrap_or(ReportLookup::Failed)
    }

    fn ask(&self, account: &Arc<Account>, message_id: &str, answer: AnswerTo) {
        let question =
            StatusQuery { message_id: message_id.to_owned(), account: Arc::clone(account), answer };
        self.send(account.name(), question);
    }

    fn send(&self, name: AccountName, question: StatusQuery) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let question = match accounts.get(&name) {
            Some(queue) => match queue.send(question) {
                Ok(()) => return,
                Err(unsent) => unsent.0,
            },
            None => question,
        };
        let (queue, questions) = mpsc::unbounded_channel();
        let _ = queue.send(question);
        accounts.insert(name.clone(), queue);
        tokio::spawn(self.clone().work(name, questions));
    }

    /// Sends the queries of one account at its rate, until none was made for a while.
    async fn work(self, name: AccountName, mut questions: mpsc::UnboundedReceiver<StatusQuery>) {
        let mut waiting = LogQueue::new(Instant::now());
        loop {
            let now = Instant::now();
            let until = waiting.next_at(now).unwrap_or(now + IDLE);
            match tokio::time::timeout_at(until, questions.recv()).await {
                Ok(Some(question)) => waiting.push(question),
                Err(_) if waiting.first().is_some() => {}
                Ok(None) | Err(_) => break,
            }
            while let Ok(question) = questions.try_recv() {
                waiting.push(question);
            }
            waiting.remove_abandoned();
            let is_due = waiting.next_at(Instant::now()).is_some_and(|at| at <= Instant::now());
            let Some(first) = waiting.first().filter(|_| is_due) else { continue };
            let (account, urgency) = (Arc::clone(&first.account), first.urgency());
            let batch = waiting.take(account.sending.lookup_ids_max());
            let wait = self.send_batch(&account, batch).await.unwrap_or_default();
            let interval = account.sending.lookup_interval() * (self.replicas_of)(&name).max(1);
            let pause = match urgency {
                Urgency::Outcome => wait.max(interval),
                // Only questions about reports wait for as long as the log asked for.
                Urgency::Report => {
                    waiting.rest_reports(Instant::now() + wait.max(interval * REPORTS_SHARE));
                    interval
                }
            };
            tokio::time::sleep(pause).await;
        }
        // Closed first: a query that comes later finds no queue and creates another.
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        questions.close();
        if accounts.get(&name).is_some_and(mpsc::UnboundedSender::is_closed) {
            accounts.remove(&name);
        }
        while let Ok(question) = questions.try_recv() {
            question.answer(None);
        }
    }

    /// Sends one request. Returns the `Retry-After` of the log, if there is one.
    async fn send_batch(&self, account: &Arc<Account>, batch: Vec<StatusQuery>) -> Option<Duration> {
        let ids = ids_of(&batch);
        let BatchResult { answer, wait } = self.answer(account, &batch).await;
        let outcome = match &answer {
            Ok(_) => "answered",
            Err(QueryError::Limited) => "limited",
            Err(QueryError::Unreadable) => "unreadable",
            Err(QueryError::NoResponse) => "no_answer",
        };
        self.metrics.lookup(account, outcome);
        tracing::info!(
            function = "sendMessage",
            channel = account.channel.as_str(),
            "queried the message log for {}: {outcome}: {}",
            service::words::pluralize(ids.len(), "message"),
            ids.join(" ")
        );
        let content = answer.ok();
        for question in batch {
            question.answer(content.as_ref());
        }
        wait
    }

    async fn answer(&self, account: &Arc<Account>, batch: &[StatusQuery]) -> BatchResult {
        let ids = ids_of(batch);
        let Ok(authorization) = account.authorization().await else { return BatchResult::NO_RESPONSE };
        let url = format!("{}{}", account.details.base_url, account.sending.lookup_path(&ids));
        let is_urgent = batch.iter().any(|question| question.urgency() == Urgency::Outcome);
        let deadline = Instant::now() + if is_urgent { CALL_LIMIT } else { REPORTS_CALL_LIMIT };
        let Ok(log) = call::query_log(&self.client, url, authorization, deadline).await else {
            return BatchResult::NO_RESPONSE;
        };
        let answered_at = Timestamp::now();
        let outcomes = account.sending.lookup_answer(log.status, &log.body).map_err(QueryError::from);
        let answer = outcomes.map(|outcomes| {
            let mut content = LogContent::new(outcomes);
            content.read_reports(batch, &log.body, answered_at);
            content
        });
        let wait = match &answer {
            Ok(_) => None,
            Err(QueryError::Limited) => Some(log.retry_after.unwrap_or(LIMITED_PAUSE)),
            Err(_) => log.retry_after,
        };
        BatchResult { answer, wait }
    }
}
