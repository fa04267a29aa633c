//! Infobip's send API: `POST /omni/1/advanced` and `GET /omni/1/logs` of the OMNI failover API, with strict validation,
//! customers that receive the messages, and reports that are posted to the gateway.
//!
//! Sources: Infobip's OpenAPI of the OMNI failover API (3.210.0, read 2026-11) for requests, responses and both forms
//! of errors; its page on rate limits for the log's 120 calls a minute. The faults ([`Faults`]) are made up, to cover
//! everything that HTTP allows.

mod schema;
mod server;
mod deliver;
mod intermediary;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use self::intermediary::{Intermediary, IntermediaryBody, RetryAfter};
use crate::delivery::Caller;
use crate::plan::{Mix, Plan, RunTag, TwilioRetries};
use crate::stats::Stats;
use crate::target::Target;

/// One minute.
const MINUTE: Duration = Duration::from_secs(60);

/// Faults of the simulated account. Shares are from 0 to 1 and are drawn for every call.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Delay of every response.
    pub latency: Duration,
    /// What responds in place of the account; of several, the first that the message is for.
    pub fronts: Vec<Intermediary>,
    /// Share of calls that get 429, with [`Faults::retry_after`].
    pub limited: f64,
    /// `Retry-After` of the 429 of sending calls.
    pub retry_after: Option<RetryAfter>,
    /// `Retry-After` of the 429 of the message log.
    pub log_retry_after: Option<RetryAfter>,
    /// Share of calls that get 500, without effect.
    pub error_before: f64,
    /// Share of calls that get 500 after the message was accepted.
    pub error_after: f64,
    /// Share of calls that are accepted and get their response after [`Faults::stall_for`].
    pub stalled: f64,
    /// Delay of a stalled response.
    pub stall_for: Duration,
    /// Share of calls that are accepted and whose connection is closed without a response.
    pub cut: f64,
    /// Share of calls that are rejected inside a 200.
    pub rejected: f64,
    /// Whether the account posts no reports.
    pub without_reports: bool,
    /// Whether a message id that was used before is rejected.
    pub unique_ids: bool,
    /// Longest time until an accepted message appears in the message log.
    pub log_lag: Duration,
    /// Requests to the message log that are answered in a minute. Further ones get 429.
    pub lookups_per_minute: usize,
    /// The faults above (except the limit of the message log) apply only to messages to this customer; `None` for all.
    pub only_recipient: Option<String>,
}

impl Faults {
    /// The faults for messages to a customer.
    fn of(&self, recipient: &str) -> Self {
        match &self.only_recipient {
            Some(only) if only != recipient => Self {
                unique_ids: self.unique_ids,
                lookups_per_minute: self.lookups_per_minute,
                ..Self::default()
            },
            _ => self.clone(),
        }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            fronts: Vec::new(),
            limited: 0.0,
            retry_after: Some(RetryAfter::Seconds(1)),
            log_retry_after: None,
            error_before: 0.0,
            error_after: 0.0,
            stalled: 0.0,
            stall_for: Duration::from_secs(15),
            cut: 0.0,
            rejected: 0.0,
            without_reports: false,
            unique_ids: true,
            log_lag: Duration::ZERO,
            lookups_per_minute: 120,
            only_recipient: None,
        }
    }
}

/// A sender number: its scenario, and where its reports are posted.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// `scenarioKey` of its requests.
    pub key: String,
    /// The channel of the gateway; `None` for no reports.
    pub target: Option<Target>,
}

/// Memory limits of the account. The oldest entries are dropped first.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Messages that customers have received, and entries of the message log.
    pub messages: usize,
    /// Bytes of the requests of these messages.
    pub bytes: usize,
    /// Messages that are being delivered: their file is being fetched, or their reports are pending. Further ones get
    /// no reports.
    pub delivering: usize,
}

impl Default for Memory {
    /// Enough for a process whose received messages are read at the end.
    fn default() -> Self {
        Self { messages: 1_000_000, bytes: 1024 * 1024 * 1024, delivering: 100_000 }
    }
}

/// A message that a customer has received.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its id.
    pub message_id: String,
    /// The customer.
    pub recipient: String,
    /// Its scenario.
    pub scenario: String,
    /// Its content: the object `whatsApp` of the request.
    pub content: Value,
    /// `callbackData` of the request.
    pub callback_data: String,
    /// When it was accepted.
    pub at: Instant,
    /// Its file, once it is fetched.
    pub file: Option<Fetched>,
    /// Why its file could not be fetched.
    pub fault: Option<String>,
    /// Whether a message with this id was accepted before, among the kept ones.
    pub is_repeat: bool,
    /// Bytes of the request that it came in.
    bytes: usize,
}

/// A file that was fetched, with HEAD and then with GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its type, the same in both responses.
    pub content_type: String,
    /// Its size in bytes, which HEAD announced and GET returned.
    pub bytes: u64,
    /// SHA-256 of what GET returned, in hexadecimal digits.
    pub sha256: String,
}

/// Counts of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Sending calls.
    pub sends: u64,
    /// Of these, calls with a fault of [`Faults`] or a [`Intermediary`].
    pub faulty: u64,
    /// Rejected because the request did not match the schema.
    pub malformed: u64,
    /// Rejected because the id was used before.
    pub duplicates: u64,
    /// Requests to the message log.
    pub lookups: u64,
    /// Of these, requests over the limit.
    pub lookups_refused: u64,
    /// Messages without reports, because too many were being delivered.
    pub unreported: u64,
    /// Messages that were dropped to make room for newer ones.
    pub forgotten: u64,
}

/// An entry of the log.
#[derive(Debug, Clone)]
struct Logged {
    recipient: String,
    status: Status,
    visible_at: Instant,
    sent_at: Timestamp,
    /// When it came to its last status, if that is final.
    done_at: Option<Timestamp>,
    /// Number of answers that had it.
    asked: u64,
}

/// What became of a message, as the message log says it. Without it, the log says that the message is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The customer's device has it.
    Delivered,
    /// It was rejected after it had been accepted.
    Rejected,
}

#[derive(Debug, Clone, Copy)]
struct Status {
    group: (u32, &'static str),
    id: u32,
    name: &'static str,
    description: &'static str,
}

const PENDING: Status = Status {
    group: (1, "PENDING"),
    id: 7,
    name: "PENDING_ENROUTE",
    description: "Message sent to next instance",
};
const DELIVERED: Status = Status {
    group: (3, "DELIVERED"),
    id: 5,
    name: "DELIVERED_TO_HANDSET",
    description: "Message delivered to handset",
};
const REJECTED: Status = Status {
    group: (5, "REJECTED"),
    id: 12,
    name: "REJECTED_NOT_ENOUGH_CREDITS",
    description: "Not enough credits",
};
const DUPLICATE: Status = Status {
    group: (5, "REJECTED"),
    id: 23,
    name: "REJECTED_DUPLICATE_MESSAGE_ID",
    description: "Rejected due to a duplicate message ID specified in the submit request",
};

#[derive(Debug, Default)]
struct State {
    faults: Faults,
    memory: Memory,
    received: VecDeque<Received>,
    /// Bytes of all messages in `received`.
    received_bytes: usize,
    ids: HashSet<String>,
    log: HashMap<String, Vec<Logged>>,
    /// Ids of the log's entries, oldest first.
    logged: VecDeque<String>,
    calls: Calls,
    /// Times of the log queries in the last minute.
    asked: VecDeque<Instant>,
}

/// A simulated Infobip account. Clones share it.
#[derive(Debug, Clone)]
pub struct InfobipApi {
    api_key: String,
    scenarios: Arc<HashMap<String, Option<Target>>>,
    state: Arc<Mutex<State>>,
    caller: Caller,
    /// Plan of the reports that it posts.
    plan: Arc<Plan>,
    tally: Arc<Stats>,
    /// Permits for messages that are being delivered.
    delivering: Arc<Semaphore>,
}

impl InfobipApi {
    /// Creates an account with these senders, whose calls must present `api_key`.
    ///
    /// # Errors
    /// If the HTTP client cannot be created.
    pub fn new(api_key: &str, scenarios: Vec<Scenario>, faults: Faults) -> reqwest::Result<Self> {
        let client =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
        let plan = Plan {
            rate_per_s: 1.0,
            count: None,
            seed: 1,
            run: RunTag(0),
            speed: 60.0,
            mix: Mix::default(),
            twilio_retries: TwilioRetries::All,
        };
        let scenarios = scenarios.into_iter().map(|scenario| (scenario.key, scenario.target)).collect();
        let state = State { faults, ..State::default() };
        Ok(Self {
            api_key: api_key.to_owned(),
            scenarios: Arc::new(scenarios),
            state: Arc::new(Mutex::new(state)),
            caller: Caller::new(client),
            plan: Arc::new(plan),
            tally: Arc::new(Stats::new(1)),
            delivering: Arc::new(Semaphore::new(Memory::default().delivering)),
        })
    }

    /// Returns the same account with other memory limits.
    #[must_use]
    pub fn remembering(mut self, memory: Memory) -> Self {
        self.delivering = Arc::new(Semaphore::new(memory.delivering));
        self.state().memory = memory;
        self
    }

    /// Replaces the faults.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Kept messages that customers have received, in the order of their acceptance. A message that was accepted twice
    /// is in the list twice.
    pub fn received(&self) -> Vec<Received> {
        self.state().received.iter().cloned().collect()
    }

    /// Messages that customers have received after the first `count`, if they are kept.
    pub fn received_after(&self, count: usize) -> Vec<Received> {
        let state = self.state();
        let known = state.received_count() - state.received.len();
        state.received.iter().skip(count.saturating_sub(known)).cloned().collect()
    }

    /// Number of messages that customers have received.
    pub fn received_count(&self) -> usize {
        self.state().received_count()
    }

    /// Lets the message log say what became of an accepted message. No report is posted.
    pub fn set_fate(&self, message_id: &str, fate: Fate) {
        let status = match fate {
            Fate::Delivered => DELIVERED,
            Fate::Rejected => REJECTED,
        };
        for logged in self.state().log.get_mut(message_id).into_iter().flatten() {
            (logged.status, logged.done_at) = (status, Some(Timestamp::now()));
        }
    }

    /// Number of answers of the message log that had the message.
    pub fn asked(&self, message_id: &str) -> u64 {
        self.state().log.get(message_id).into_iter().flatten().map(|logged| logged.asked).max().unwrap_or(0)
    }

    /// Counts of the calls so far.
    pub fn calls(&self) -> Calls {
        self.state().calls
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether another query of the log is allowed.
    fn may_ask(&mut self, now: Instant) -> bool {
        while self.asked.front().is_some_and(|asked| now - *asked >= MINUTE) {
            self.asked.pop_front();
        }
        if self.asked.len() >= self.faults.lookups_per_minute {
            return false;
        }
        self.asked.push_back(now);
        true
    }

    /// Number of messages that customers have received, including dropped ones.
    fn received_count(&self) -> usize {
        self.received.len() + usize::try_from(self.calls.forgotten).unwrap_or(usize::MAX)
    }

    /// The message with this number of accepted messages before it, unless it was dropped.
    fn taken_after(&mut self, count: usize) -> Option<&mut Received> {
        let forgotten = self.received_count() - self.received.len();
        self.received.get_mut(count.checked_sub(forgotten)?)
    }

    /// Adds a message, and drops the oldest ones if there is no room. Returns the number of messages accepted before
    /// it.
    fn record(&mut self, message: Received) -> usize {
        let count = self.received_count();
        self.received_bytes += message.bytes;
        self.received.push_back(message);
        let Memory { messages, bytes, .. } = self.memory;
        while self.received.len() > messages.max(1)
            || (self.received_bytes > bytes && self.received.len() > 1)
        {
            let Some(oldest) = self.received.pop_front() else { break };
            self.received_bytes -= oldest.bytes;
            self.calls.forgotten += 1;
        }
        count
    }

    fn log(&mut self, message_id: &str, recipient: &str, status: Status) {
        let lag = self.faults.of(recipient).log_lag.mul_f64(fastrand::f64());
        let logged = Logged {
            recipient: recipient.to_owned(),
            status,
            visible_at: Instant::now() + lag,
            sent_at: Timestamp::now(),
            done_at: None,
            asked: 0,
        };
        self.log.entry(message_id.to_owned()).or_default().push(logged);
        self.logged.push_back(message_id.to_owned());
        while self.logged.len() > self.memory.messages {
            let Some(oldest) = self.logged.pop_front() else { break };
            self.ids.remove(&oldest);
            self.log.remove(&oldest);
        }
    }
}

/// The scenario in a channel's settings; `None` for a channel that does not send through Infobip.
pub fn scenario_key(settings: &Value) -> Option<String> {
    settings["scenario_key"].as_str().map(str::to_owned)
}

/// Changes a channel's settings to use a simulated account. Settings of other BSPs stay as they are.
pub fn point_at(settings: &mut Value, base_url: &str, key_reference: &str) {
    if scenario_key(settings).is_some() {
        settings["base_url"] = base_url.into();
        settings["api_key"] = key_reference.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: usize, bytes: usize) -> Received {
        Received {
            message_id: number.to_string(),
            recipient: String::new(),
            scenario: String::new(),
            content: Value::Null,
            callback_data: String::new(),
            at: Instant::now(),
            file: None,
            fault: None,
            is_repeat: false,
            bytes,
        }
    }

    #[test]
    fn the_oldest_messages_are_forgotten_and_counted() {
        let memory = Memory { messages: 3, bytes: 100, delivering: 1 };
        let mut state = State { memory, ..State::default() };
        for number in 0..5 {
            state.log(&number.to_string(), "", PENDING);
            assert_eq!(state.record(message(number, 10)), number);
        }
        assert_eq!((state.received.len(), state.received_count(), state.calls.forgotten), (3, 5, 2));
        assert_eq!((state.log.len(), state.logged.len(), state.received_bytes), (3, 3, 30));
        assert!(state.taken_after(1).is_none());
        assert_eq!(state.taken_after(2).unwrap().message_id, "2");
        state.record(message(5, 90));
        assert_eq!((state.received.len(), state.received_bytes), (2, 100), "bytes are limited, too");
    }
}
