//! What was promised, and what came of it. A 200 is a promise: exactly the expected events come out, as often as they
//! like, under one id each, and nothing else does.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use proto::v1::{InboundMessage, ReportEvent};
use serde_json::Value;

use crate::expected::Expected;
use crate::plan::RunTag;

/// Faults that are kept with their details; the rest are counted.
const EXAMPLES_MAX: usize = 20;

/// Something that came out of the gateway.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A report.
    Report(Box<ReportEvent>),
    /// A customer's message.
    Message(Box<InboundMessage>),
    /// A dead letter.
    DeadLetter {
        /// The channel in its subject.
        channel: String,
        /// Its bytes.
        payload: Bytes,
    },
}

/// Names one expectation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Event { channel: String, message_id: String, word: String },
    DeadLetter(Bytes),
}

#[derive(Debug)]
struct Entry {
    expected: Expected,
    is_promised: bool,
    /// The id under which it came out; empty for a dead letter.
    event_id: Option<String>,
}

/// How the ledger stands.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Events and dead letters that webhooks answered 200 must come to.
    pub promised: u64,
    /// Promised, and not come out.
    pub missing: u64,
    /// Come out as promised.
    pub kept: u64,
    /// Come out although the webhook was not answered 200: stored, and the answer lost on its way.
    pub unpromised: u64,
    /// Come out more than once, under the same id: allowed.
    pub copies: u64,
    /// Come out with other contents than expected.
    pub different: u64,
    /// Come out and never posted.
    pub invented: u64,
    /// Come out under a second id, or under an id of another event.
    pub wrong_ids: u64,
    /// Of other senders than this run.
    pub foreign: u64,
    /// Some of the faults, for people.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Nothing missing, nothing invented, contents equal, ids as they should be.
    pub fn is_clean(&self) -> bool {
        self.missing + self.different + self.invented + self.wrong_ids == 0
    }
}

/// The ledger of a run.
#[derive(Debug)]
pub struct Ledger {
    run: String,
    entries: HashMap<Key, Entry>,
    order: VecDeque<Key>,
    entries_max: usize,
    ids: HashSet<String>,
    /// The newest message whose entry was forgotten.
    forgotten: u64,
    verdict: Verdict,
}

impl Ledger {
    /// An empty ledger. Beyond `entries_max` entries the oldest are forgotten once they are settled.
    pub fn new(run: RunTag, entries_max: usize) -> Self {
        Self {
            run: run.to_string(),
            entries: HashMap::new(),
            order: VecDeque::new(),
            entries_max,
            ids: HashSet::new(),
            forgotten: 0,
            verdict: Verdict::default(),
        }
    }

    /// A webhook with these items is about to be posted.
    pub fn expect(&mut self, items: &[Expected]) {
        for item in items {
            let key = key_of(item);
            if self.entries.contains_key(&key) {
                continue;
            }
            let entry = Entry { expected: item.clone(), is_promised: false, event_id: None };
            self.entries.insert(key.clone(), entry);
            self.order.push_back(key);
        }
        self.forget();
    }

    /// A webhook with these items was answered 200.
    pub fn promise(&mut self, items: &[Expected]) {
        for item in items {
            let Some(entry) = self.entries.get_mut(&key_of(item)) else { continue };
            if entry.is_promised {
                continue;
            }
            entry.is_promised = true;
            self.verdict.promised += 1;
            if entry.event_id.is_some() {
                self.verdict.kept += 1;
                self.verdict.unpromised -= 1;
            }
        }
    }

    /// Something came out.
    pub fn see(&mut self, seen: Seen) {
        let (found, event_id) = strip(seen);
        let key = match &found {
            Expected::DeadLetter(payload) => Key::DeadLetter(payload.clone()),
            event => key_of(event),
        };
        let Some(entry) = self.entries.get_mut(&key) else { return self.see_unexpected(&key) };
        if let Some(first) = &entry.event_id {
            self.verdict.copies += 1;
            if *first != event_id {
                self.verdict.wrong_ids += 1;
                let first = first.clone();
                self.example(|| format!("{key:?} came out as {first} and as {event_id}"));
            }
            return;
        }
        entry.event_id = Some(event_id.clone());
        let difference = differences(&entry.expected, &found);
        if entry.is_promised {
            self.verdict.kept += 1;
        } else {
            self.verdict.unpromised += 1;
        }
        if !event_id.is_empty() && !self.ids.insert(event_id.clone()) {
            self.verdict.wrong_ids += 1;
            self.example(|| format!("{key:?} has the id {event_id}, which another event has"));
        }
        if !difference.is_empty() {
            self.verdict.different += 1;
            self.example(|| format!("{key:?} is not as expected: {}", difference.join("; ")));
        }
    }

    /// How it stands now.
    pub fn verdict(&self) -> Verdict {
        let mut verdict = self.verdict.clone();
        verdict.missing = verdict.promised - verdict.kept;
        let missing = self.entries.iter().filter(|(_, entry)| entry.is_promised && entry.event_id.is_none());
        let room = EXAMPLES_MAX.saturating_sub(verdict.examples.len());
        verdict.examples.extend(missing.take(room).map(|(key, _)| format!("{key:?} is missing")));
        verdict
    }

    /// Something whose entry is not there: another sender's, a late copy of what is forgotten, or invented.
    fn see_unexpected(&mut self, key: &Key) {
        let text = match key {
            Key::Event { message_id, .. } => message_id.clone(),
            Key::DeadLetter(payload) => String::from_utf8_lossy(payload).into_owned(),
        };
        if !text.contains(&self.run) {
            self.verdict.foreign += 1;
        } else if number_in(&text) <= self.forgotten {
            self.verdict.copies += 1;
        } else {
            self.verdict.invented += 1;
            self.example(|| format!("{key:?} was never posted"));
        }
    }

    /// Keeps the ledger within its limit.
    fn forget(&mut self) {
        while self.order.len() > self.entries_max {
            let Some(key) = self.order.pop_front() else { return };
            let is_settled = self.entries.get(&key).is_none_or(|entry| entry.event_id.is_some());
            if !is_settled {
                // What is not settled stays, and is looked at again when the others have gone.
                self.order.push_back(key);
                return;
            }
            if let Some(entry) = self.entries.remove(&key) {
                self.ids.remove(&entry.event_id.unwrap_or_default());
            }
            if let Key::Event { message_id, .. } = &key {
                self.forgotten = self.forgotten.max(number_in(message_id));
            }
        }
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.verdict.examples.len() < EXAMPLES_MAX {
            self.verdict.examples.push(text());
        }
    }
}

/// The number at the end of every id of a run.
fn number_in(text: &str) -> u64 {
    let digits = text.get(text.len().saturating_sub(12)..).unwrap_or_default();
    u64::from_str_radix(digits, 16).unwrap_or(u64::MAX)
}

fn key_of(item: &Expected) -> Key {
    let (channel, message_id, word) = match item {
        Expected::Report(report) => {
            let word = report.provider_status.as_ref().map(|status| status.raw.as_str()).unwrap_or_default();
            (&report.channel_id, &report.message_id, word)
        }
        Expected::Message(message) => (&message.channel_id, &message.message_id, "message"),
        Expected::DeadLetter(payload) => return Key::DeadLetter(payload.clone()),
    };
    Key::Event { channel: channel.clone(), message_id: message_id.clone(), word: word.to_owned() }
}

/// What came out without the gateway's own fields, and its id.
fn strip(seen: Seen) -> (Expected, String) {
    match seen {
        Seen::Report(mut report) => {
            let id = std::mem::take(&mut report.event_id);
            (report.received_at, report.source) = (None, None);
            (Expected::Report(report), id)
        }
        Seen::Message(mut message) => {
            let id = std::mem::take(&mut message.event_id);
            (message.received_at, message.source) = (None, None);
            (Expected::Message(message), id)
        }
        Seen::DeadLetter { channel: _, payload } => (Expected::DeadLetter(payload), String::new()),
    }
}

/// The fields that differ, as `name: expected, found`.
fn differences(expected: &Expected, found: &Expected) -> Vec<String> {
    if expected == found {
        return Vec::new();
    }
    let (expected, found) = (json(expected), json(found));
    let names = expected.as_object().into_iter().chain(found.as_object()).flat_map(|fields| fields.keys());
    let names: std::collections::BTreeSet<_> = names.collect();
    let differing = names.into_iter().filter(|name| expected.get(*name) != found.get(*name));
    let show = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    differing
        .map(|name| format!("{name}: {} expected, {} found", show(expected.get(name)), show(found.get(name))))
        .collect()
}

fn json(item: &Expected) -> Value {
    match item {
        Expected::Report(report) => serde_json::to_value(report).unwrap_or_default(),
        Expected::Message(message) => serde_json::to_value(message).unwrap_or_default(),
        Expected::DeadLetter(payload) => serde_json::json!({ "bytes": String::from_utf8_lossy(payload) }),
    }
}
