//! What was promised, and what came of it. A 200 is a promise: exactly the expected events come out, as often as they
//! like, under one id each, and nothing else does.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use proto::v1::{AccountEvent, CustomerEvent, InboundMessage, ReportEvent};
use serde_json::Value;

use crate::expected::{self, Expected};
use crate::plan::RunTag;

/// Faults that are kept with their details; the rest are counted.
const EXAMPLES_MAX: usize = 20;
/// Hexadecimal digits of the number in an id.
const NUMBER_DIGITS: usize = 12;

/// Something that came out of the gateway.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A report.
    Report(Box<ReportEvent>),
    /// A customer's message.
    Message(Box<InboundMessage>),
    /// An event about the account.
    Account(Box<AccountEvent>),
    /// An event about a customer.
    Customer(Box<CustomerEvent>),
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
    DeadLetter { channel: String, payload: Bytes },
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
        let key = key_of(&found);
        let Some(entry) = self.entries.get_mut(&key) else { return self.see_unexpected(&key) };
        let difference = differences(&entry.expected, &found);
        match entry.event_id.clone() {
            Some(first) => {
                self.verdict.copies += 1;
                if first != event_id {
                    self.verdict.wrong_ids += 1;
                    self.example(|| format!("{key:?} came out as {first} and as {event_id}"));
                }
            }
            None => {
                entry.event_id = Some(event_id.clone());
                let count =
                    if entry.is_promised { &mut self.verdict.kept } else { &mut self.verdict.unpromised };
                *count += 1;
                if !event_id.is_empty() && !self.ids.insert(event_id.clone()) {
                    self.verdict.wrong_ids += 1;
                    self.example(|| format!("{key:?} has the id {event_id}, which another event has"));
                }
            }
        }
        if !difference.is_empty() {
            self.verdict.different += 1;
            self.example(|| format!("{key:?} is not as expected: {}", difference.join("; ")));
        }
    }

    /// How it stands now, without naming what is missing.
    pub fn counts(&self) -> Verdict {
        let mut verdict = self.verdict.clone();
        verdict.missing = verdict.promised - verdict.kept;
        verdict
    }

    /// How it stands now.
    pub fn verdict(&self) -> Verdict {
        let mut verdict = self.counts();
        let missing = self.entries.iter().filter(|(_, entry)| entry.is_promised && entry.event_id.is_none());
        let room = EXAMPLES_MAX.saturating_sub(verdict.examples.len());
        verdict.examples.extend(missing.take(room).map(|(key, _)| format!("{key:?} is missing")));
        verdict
    }

    /// Something whose entry is not there: another sender's, a late copy of what is forgotten, or invented.
    fn see_unexpected(&mut self, key: &Key) {
        let text = match key {
            Key::Event { message_id, .. } => message_id.clone(),
            Key::DeadLetter { payload, .. } => String::from_utf8_lossy(payload).into_owned(),
        };
        if !text.contains(&self.run) {
            self.verdict.foreign += 1;
        } else if number_of(key).is_some_and(|number| number <= self.forgotten) {
            self.verdict.copies += 1;
        } else {
            self.verdict.invented += 1;
            self.example(|| format!("{key:?} was never posted"));
        }
    }

    /// Keeps the ledger within its limit. What is promised and has not come out stays.
    fn forget(&mut self) {
        while self.order.len() > self.entries_max {
            let Some(key) = self.order.pop_front() else { return };
            let is_open =
                self.entries.get(&key).is_some_and(|entry| entry.is_promised && entry.event_id.is_none());
            if is_open {
                self.order.push_back(key);
                return;
            }
            if let Some(entry) = self.entries.remove(&key) {
                if !entry.is_promised && entry.event_id.is_some() {
                    self.verdict.unpromised -= 1;
                }
                self.ids.remove(&entry.event_id.unwrap_or_default());
            }
            self.forgotten = self.forgotten.max(number_of(&key).unwrap_or_default());
        }
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.verdict.examples.len() < EXAMPLES_MAX {
            self.verdict.examples.push(text());
        }
    }
}

/// The number at the end of every id of a run, and of the mark of every bad item.
fn number_of(key: &Key) -> Option<u64> {
    let digits = match key {
        Key::Event { message_id, .. } => {
            message_id.get(message_id.len().checked_sub(NUMBER_DIGITS)?..)?.to_owned()
        }
        Key::DeadLetter { payload, .. } => {
            let text = String::from_utf8_lossy(payload).replace("%2D", "-");
            let (_, rest) = text.split_once("-broken-")?;
            rest.get(..NUMBER_DIGITS)?.to_owned()
        }
    };
    u64::from_str_radix(&digits, 16).ok()
}

fn key_of(item: &Expected) -> Key {
    let (channel, message_id, word) = match item {
        Expected::Report(report) => {
            let word = report.provider_status.as_ref().map(|status| status.raw.as_str()).unwrap_or_default();
            (&report.channel_id, &report.message_id, word)
        }
        Expected::Message(message) => (&message.channel_id, &message.message_id, "message"),
        Expected::Account(event) => (&event.channel_id, expected::template_id(event), "account"),
        Expected::Customer(event) => (&event.channel_id, expected::payment_id(event), "customer"),
        Expected::DeadLetter { channel, payload } => {
            return Key::DeadLetter { channel: channel.clone(), payload: payload.clone() };
        }
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
        Seen::Account(mut event) => {
            let id = std::mem::take(&mut event.event_id);
            (event.received_at, event.source) = (None, None);
            (Expected::Account(event), id)
        }
        Seen::Customer(mut event) => {
            let id = std::mem::take(&mut event.event_id);
            (event.received_at, event.source) = (None, None);
            (Expected::Customer(event), id)
        }
        Seen::DeadLetter { channel, payload } => (Expected::DeadLetter { channel, payload }, String::new()),
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
        Expected::Account(event) => serde_json::to_value(event).unwrap_or_default(),
        Expected::Customer(event) => serde_json::to_value(event).unwrap_or_default(),
        Expected::DeadLetter { channel, payload } => {
            serde_json::json!({ "channel": channel, "bytes": String::from_utf8_lossy(payload) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(number: u64, status: i32) -> ReportEvent {
        ReportEvent {
            channel_id: "c".to_owned(),
            message_id: format!("000000aa-{number:012x}"),
            status,
            ..ReportEvent::default()
        }
    }

    fn seen(mut report: ReportEvent, id: &str) -> Seen {
        report.event_id = id.to_owned();
        Seen::Report(Box::new(report))
    }

    fn promised(numbers: std::ops::Range<u64>, entries_max: usize) -> Ledger {
        let mut ledger = Ledger::new(RunTag(0xaa), entries_max);
        for number in numbers {
            let items = [Expected::Report(Box::new(report(number, 5)))];
            ledger.expect(&items);
            ledger.promise(&items);
        }
        ledger
    }

    #[test]
    fn what_is_promised_is_kept_or_missing() {
        let mut ledger = promised(0..2, 10);
        ledger.see(seen(report(0, 5), "a"));
        ledger.see(seen(report(0, 5), "a"));
        let verdict = ledger.verdict();
        assert_eq!((verdict.promised, verdict.kept, verdict.missing, verdict.copies), (2, 1, 1, 1));
        assert!(!verdict.is_clean());
        ledger.see(seen(report(1, 5), "b"));
        assert!(ledger.verdict().is_clean(), "{:?}", ledger.verdict());
    }

    #[test]
    fn other_contents_are_a_fault_of_every_copy() {
        let mut ledger = promised(0..1, 10);
        ledger.see(seen(report(0, 5), "a"));
        ledger.see(seen(report(0, 6), "a"));
        assert_eq!(ledger.verdict().different, 1);
        let mut ledger = promised(0..1, 10);
        ledger.see(seen(report(0, 6), "a"));
        assert_eq!(ledger.verdict().different, 1);
    }

    #[test]
    fn one_event_has_one_id_and_no_other_has_it() {
        let mut ledger = promised(0..3, 10);
        ledger.see(seen(report(0, 5), "a"));
        ledger.see(seen(report(0, 5), "b"));
        ledger.see(seen(report(1, 5), "a"));
        assert_eq!(ledger.verdict().wrong_ids, 2);
        ledger.see(seen(report(9, 5), "z"));
        assert_eq!(ledger.verdict().invented, 1);
    }

    #[test]
    fn a_dead_letter_has_its_channel_and_its_bytes() {
        let letter =
            |channel: &str, bytes: &'static str| (channel.to_owned(), Bytes::from_static(bytes.as_bytes()));
        let mut ledger = Ledger::new(RunTag(0xaa), 10);
        let (channel, payload) = letter("c", "000000aa-broken-000000000001");
        let items = [Expected::DeadLetter { channel, payload }];
        ledger.expect(&items);
        ledger.promise(&items);
        let (channel, payload) = letter("other", "000000aa-broken-000000000001");
        ledger.see(Seen::DeadLetter { channel, payload });
        assert_eq!((ledger.verdict().missing, ledger.verdict().invented), (1, 1));
        let (channel, payload) = letter("c", "000000aa-broken-000000000001");
        ledger.see(Seen::DeadLetter { channel, payload });
        assert_eq!(ledger.verdict().missing, 0);
    }

    #[test]
    fn a_late_copy_of_what_is_forgotten_is_no_invention() {
        let mut ledger = promised(0..2, 2);
        ledger.see(seen(report(0, 5), "a"));
        ledger.see(seen(report(1, 5), "b"));
        let more = [Expected::Report(Box::new(report(2, 5)))];
        ledger.expect(&more);
        ledger.see(seen(report(0, 5), "a"));
        let verdict = ledger.verdict();
        assert_eq!((verdict.copies, verdict.invented), (1, 0));
    }
}
