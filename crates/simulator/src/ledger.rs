//! What was promised, and what came of it. A 200 is a promise: exactly the expected events come out, as often as they
//! like, under one id each, and nothing else does.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use proto::v1::{AccountEvent, CustomerEvent, InboundMessage, ReportEvent};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::expected::{self, Expected};
use crate::plan::RunTag;

/// Most faults that are kept with their details. The rest is counted.
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

/// What a ledger holds at most.
#[derive(Debug, Clone, Copy)]
pub struct LedgerLimits {
    /// Entries that wait: their webhook is being posted, or they were promised and have not come out. None of them is ever
    /// forgotten; when this many wait, [`Ledger::has_room`] says no.
    pub open: usize,
    /// Entries that wait for nothing and are kept to recognise copies. Beyond it the oldest are forgotten.
    pub settled: usize,
}

#[derive(Debug)]
struct Entry {
    contents: Contents,
    /// Webhooks with this item that are being posted.
    posting: u32,
    is_promised: bool,
    /// The id under which it came out; empty for a dead letter.
    event_id: Option<String>,
    /// Whether it stands in the list of what is settled.
    is_listed: bool,
}

/// What must come out. Of an entry that waits for nothing the hash is enough.
#[derive(Debug)]
enum Contents {
    Whole(Arc<[Expected]>, usize),
    Hash([u8; 32]),
}

impl Entry {
    /// Whether it waits for nothing: it came out, or its BSP has given it up.
    fn is_settled(&self) -> bool {
        self.posting == 0 && (self.event_id.is_some() || !self.is_promised)
    }

    fn differences(&self, found: &Expected) -> Vec<String> {
        match &self.contents {
            Contents::Whole(items, place) => differences(&items[*place], found),
            Contents::Hash(expected) if *expected == hash(found) => Vec::new(),
            Contents::Hash(_) => vec!["this copy has other contents".to_owned()],
        }
    }
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
    settled: VecDeque<Key>,
    /// Entries that wait.
    open: usize,
    /// `None` for a ledger that nobody tells what came out, and that keeps nothing.
    limits: Option<LedgerLimits>,
    ids: HashSet<String>,
    /// The newest message whose entry was forgotten.
    forgotten: u64,
    verdict: Verdict,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(run: RunTag, limits: LedgerLimits) -> Self {
        Self { limits: Some(limits), ..Self::unwatched(run) }
    }

    /// A ledger of a run whose events nobody reads. It keeps nothing.
    pub fn unwatched(run: RunTag) -> Self {
        Self {
            run: run.to_string(),
            entries: HashMap::new(),
            settled: VecDeque::new(),
            open: 0,
            limits: None,
            ids: HashSet::new(),
            forgotten: 0,
            verdict: Verdict::default(),
        }
    }

    /// Whether another webhook may be posted.
    pub fn has_room(&self) -> bool {
        self.limits.is_none_or(|limits| self.open < limits.open)
    }

    /// A webhook with these items is about to be posted. It ends with [`Ledger::promise`] or [`Ledger::give_up`].
    pub fn expect(&mut self, items: &Arc<[Expected]>) {
        if self.limits.is_none() {
            return;
        }
        for (place, item) in items.iter().enumerate() {
            let contents = Contents::Whole(Arc::clone(items), place);
            let entry = self.entries.entry(key_of(item)).or_insert_with(|| {
                self.open += 1;
                Entry { contents, posting: 0, is_promised: false, event_id: None, is_listed: false }
            });
            if let Contents::Hash(_) = entry.contents {
                self.open += 1;
                entry.contents = Contents::Whole(Arc::clone(items), place);
            }
            entry.posting += 1;
        }
    }

    /// A webhook with these items was answered 200.
    pub fn promise(&mut self, items: &[Expected]) {
        for item in items {
            let key = key_of(item);
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if !entry.is_promised {
                entry.is_promised = true;
                self.verdict.promised += 1;
                if entry.event_id.is_some() {
                    self.verdict.kept += 1;
                    self.verdict.unpromised -= 1;
                }
            }
            self.is_posted(key);
        }
        self.forget();
    }

    /// The BSP has given up a webhook with these items.
    pub fn give_up(&mut self, items: &[Expected]) {
        items.iter().for_each(|item| self.is_posted(key_of(item)));
        self.forget();
    }

    fn is_posted(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.posting = entry.posting.saturating_sub(1);
            self.settle(key);
        }
    }

    /// Puts the entry into the list of what is settled, if it has just become so.
    fn settle(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let Contents::Whole(items, place) = &entry.contents else { return };
        if !entry.is_settled() {
            return;
        }
        entry.contents = Contents::Hash(hash(&items[*place]));
        self.open -= 1;
        if !entry.is_listed {
            entry.is_listed = true;
            self.settled.push_back(key);
        }
    }

    /// Something came out.
    pub fn see(&mut self, seen: Seen) {
        let (found, event_id) = strip(seen);
        let key = key_of(&found);
        let Some(entry) = self.entries.get_mut(&key) else { return self.see_unexpected(&key) };
        let difference = entry.differences(&found);
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
        self.settle(key);
        self.forget();
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

    /// Keeps the list of what is settled within its limit.
    fn forget(&mut self) {
        let most = self.limits.map_or(0, |limits| limits.settled);
        while self.settled.len() > most {
            let Some(key) = self.settled.pop_front() else { return };
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            entry.is_listed = false;
            // A webhook that came once more: it is listed again when that one has ended.
            if !entry.is_settled() {
                continue;
            }
            if !entry.is_promised && entry.event_id.is_some() {
                self.verdict.unpromised -= 1;
            }
            if let Some(id) = self.entries.remove(&key).and_then(|entry| entry.event_id) {
                self.ids.remove(&id);
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
            (&report.channel_id, report.message_id.clone(), word)
        }
        Expected::Message(message) => (&message.channel_id, message.message_id.clone(), "message"),
        Expected::Account(event) => (&event.channel_id, expected::account_id(event), "account"),
        Expected::Customer(event) => (&event.channel_id, expected::customer_id(event), "customer"),
        Expected::DeadLetter { channel, payload } => {
            return Key::DeadLetter { channel: channel.clone(), payload: payload.clone() };
        }
    };
    Key::Event { channel: channel.clone(), message_id, word: word.to_owned() }
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

fn hash(item: &Expected) -> [u8; 32] {
    Sha256::digest(json(item).to_string()).into()
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
mod tests;
