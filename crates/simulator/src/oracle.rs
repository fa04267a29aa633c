//! Expected and observed events. A webhook that was answered 200 must produce exactly its expected events, any number
//! of times each, with one id each, and nothing else.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use proto::v1::{AccountEvent, CustomerEvent, InboundMessage, ReportEvent};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::expected::{self, Expected};
use crate::plan::RunTag;

/// Most errors that are kept with their details. The rest is counted.
const EXAMPLES_MAX: usize = 20;
/// Hexadecimal digits of the number in an id.
const NUMBER_DIGITS: usize = 12;

/// An event or dead letter of the gateway.
#[derive(Debug, Clone)]
pub enum Observed {
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

/// Identifies one expectation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Event { channel: String, message_id: String, word: String },
    DeadLetter { channel: String, payload: Bytes },
}

/// Limits of a ledger.
#[derive(Debug, Clone, Copy)]
pub struct OracleLimits {
    /// Open entries: their webhook is being posted, or their events are expected. They are never dropped; at the limit
    /// [`Oracle::has_room`] returns false.
    pub open: usize,
    /// Settled entries that are kept to recognize copies. Above the limit the oldest are dropped.
    pub settled: usize,
}

#[derive(Debug)]
struct Entry {
    contents: Contents,
    /// Webhooks with this item that are being posted.
    posting: u32,
    is_promised: bool,
    /// The id with which it was published; empty for a dead letter.
    event_id: Option<String>,
    /// Whether it is in the list of settled entries.
    is_listed: bool,
}

/// The expected event. A settled entry only needs its hash.
#[derive(Debug)]
enum Contents {
    Whole(Arc<[Expected]>, usize),
    Hash([u8; 32]),
}

impl Entry {
    /// Whether it is settled: it was published, or its BSP has given it up.
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

/// Result of a ledger.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Events and dead letters of webhooks that were answered 200.
    pub promised: u64,
    /// Of these, how many have not come.
    pub missing: u64,
    /// Of these, how many have come.
    pub kept: u64,
    /// Came although the webhook was not answered 200: it was stored, and the response was lost.
    pub unpromised: u64,
    /// Came more than once with the same id, which is allowed.
    pub copies: u64,
    /// Came with other contents than expected.
    pub different: u64,
    /// Came without having been posted.
    pub invented: u64,
    /// Came with a second id, or with the id of another event.
    pub wrong_ids: u64,
    /// Came from webhooks of another run.
    pub foreign: u64,
    /// Some of the errors, as text for people.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Whether nothing is missing, unexpected or different, and all ids are right.
    pub fn is_clean(&self) -> bool {
        self.missing + self.different + self.invented + self.wrong_ids == 0
    }
}

/// The ledger of a run.
#[derive(Debug)]
pub struct Oracle {
    run: String,
    entries: HashMap<Key, Entry>,
    settled: VecDeque<Key>,
    /// Open entries.
    open: usize,
    /// `None` for a ledger of a run whose events are not read, which keeps nothing.
    limits: Option<OracleLimits>,
    ids: HashSet<String>,
    /// The newest message whose entry was dropped.
    forgotten: u64,
    verdict: Verdict,
}

impl Oracle {
    /// An empty ledger.
    pub fn new(run: RunTag, limits: OracleLimits) -> Self {
        Self { limits: Some(limits), ..Self::unwatched(run) }
    }

    /// The ledger of a run whose events are not read. It stays empty.
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

    /// Records that a webhook with these items is about to be posted. [`Oracle::acknowledge`] or [`Oracle::give_up`] must
    /// follow.
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

    /// Records that a webhook with these items was answered 200.
    pub fn acknowledge(&mut self, items: &[Expected]) {
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

    /// Records that the BSP has given up a webhook with these items.
    pub fn give_up(&mut self, items: &[Expected]) {
        items.iter().for_each(|item| self.is_posted(key_of(item)));
        self.forget();
    }

    fn is_posted(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.posting = entry.posting.saturating_sub(1);
            self.list_if_settled(key);
        }
    }

    /// Adds the entry to the list of settled entries, if it has just become settled.
    fn list_if_settled(&mut self, key: Key) {
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

    /// Records an event or dead letter of the gateway.
    pub fn observe(&mut self, seen: Observed) {
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
        self.list_if_settled(key);
        self.forget();
    }

    /// The result so far, without examples of what is missing.
    pub fn counts(&self) -> Verdict {
        let mut verdict = self.verdict.clone();
        verdict.missing = verdict.promised - verdict.kept;
        verdict
    }

    /// The result so far.
    pub fn verdict(&self) -> Verdict {
        let mut verdict = self.counts();
        let missing = self.entries.iter().filter(|(_, entry)| entry.is_promised && entry.event_id.is_none());
        let room = EXAMPLES_MAX.saturating_sub(verdict.examples.len());
        verdict.examples.extend(missing.take(room).map(|(key, _)| format!("{key:?} is missing")));
        verdict
    }

    /// An event without an entry: of another sender, a late copy of a dropped entry, or unexpected.
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

    /// Keeps the list of settled entries within its limit.
    fn forget(&mut self) {
        let most = self.limits.map_or(0, |limits| limits.settled);
        while self.settled.len() > most {
            let Some(key) = self.settled.pop_front() else { return };
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            entry.is_listed = false;
            // A webhook that is posted again: it is listed again when that posting has ended.
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

/// The published event without the gateway's own fields, and its id.
fn strip(seen: Observed) -> (Expected, String) {
    match seen {
        Observed::Report(mut report) => {
            let id = std::mem::take(&mut report.event_id);
            (report.received_at, report.source) = (None, None);
            (Expected::Report(report), id)
        }
        Observed::Message(mut message) => {
            let id = std::mem::take(&mut message.event_id);
            (message.received_at, message.source) = (None, None);
            (Expected::Message(message), id)
        }
        Observed::Account(mut event) => {
            let id = std::mem::take(&mut event.event_id);
            (event.received_at, event.source) = (None, None);
            (Expected::Account(event), id)
        }
        Observed::Customer(mut event) => {
            let id = std::mem::take(&mut event.event_id);
            (event.received_at, event.source) = (None, None);
            (Expected::Customer(event), id)
        }
        Observed::DeadLetter { channel, payload } => {
            (Expected::DeadLetter { channel, payload }, String::new())
        }
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
