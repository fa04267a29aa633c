//! The input and the output of a parser.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use proto::v1::{AccountEvent, CustomerEvent, EventSource, InboundMessage, ReportEvent};
use serde::Deserialize;

use crate::form::Form;
use crate::ids::{BspId, ChannelId};
use crate::unread::{self, Position, Tracing, Unread};
use crate::utf8::{self, Damaged, Replaced};
use crate::{json, registry};

/// A stored webhook.
#[derive(Clone, Copy)]
pub struct Webhook<'a> {
    /// The channel whose URL it was posted to.
    pub channel: &'a ChannelId,
    /// The exact body.
    pub body: &'a Bytes,
    /// When the gateway received it.
    pub received_at: Timestamp,
    /// Its sequence in stream WEBHOOKS.
    pub sequence: u64,
}

impl std::fmt::Debug for Webhook<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook")
            .field("channel", self.channel)
            .field("body_bytes", &self.body.len())
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

/// Result of parsing a body.
#[derive(Debug, Default)]
pub struct Parsed {
    /// Results in the order of the items of the body: one for each item, or several for an item with several
    /// meanings, such as a message by which a customer opts out.
    pub items: Vec<Item>,
    /// Values that the parser does not know. Their items still became events.
    pub unrecognized: Vec<Unrecognized>,
    /// The event fields in which U+FFFD replaces invalid UTF-8, one entry for each.
    pub replaced: Vec<&'static str>,
    /// Paths of members that the parser did not read, in items that became events and around them, with their
    /// number of occurrences. A path consists of words, `.`, `[]` for the elements of a list, and `*` for a
    /// key that may be data. Beyond 200 paths, the rest is counted as `other`.
    pub unread: BTreeMap<String, u64>,
    /// Whether the parser has read the whole body as JSON in UTF-8, so that [`Profile::masked_json`] may be used for it.
    ///
    /// [`Profile::masked_json`]: crate::Profile::masked_json
    pub is_json: bool,
}

/// Result of one item of a body.
#[derive(Debug)]
pub struct Item {
    /// Position of the item in the body, from 0.
    pub index: u32,
    /// The outcome of the item.
    pub outcome: Outcome,
}

/// The outcome of an item.
#[derive(Debug)]
pub enum Outcome {
    /// A report about a message that was sent.
    Report(Box<ReportEvent>),
    /// A customer's message.
    Message(Box<InboundMessage>),
    /// An event of a template, a number or the account.
    Account(Box<AccountEvent>),
    /// An event of a customer that is not a message.
    Customer(Box<CustomerEvent>),
    /// A known type that the contact center does not need. The text is the name under which it is counted.
    Ignored(&'static str),
    /// An item that could not be parsed. It becomes a dead letter.
    Rejected(RejectedItem),
}

impl Outcome {
    /// Whether the outcome is published as an event.
    pub(crate) fn is_event(&self) -> bool {
        !matches!(self, Self::Ignored(_) | Self::Rejected(_))
    }
}

/// Why an item could not be parsed. The reason contains no value of the body.
#[derive(Clone, PartialEq, Eq)]
pub struct RejectedItem {
    /// Kind of the error for a metric's label, from a fixed set.
    pub kind: &'static str,
    /// The reason, as a sentence for people.
    pub reason: String,
    /// The exact bytes of the item, or of the whole body.
    pub raw: Bytes,
}

impl std::fmt::Debug for RejectedItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reject").field("reason", &self.reason).field("raw_bytes", &self.raw.len()).finish()
    }
}

/// The reason why an item is rejected during parsing, before its bytes are determined.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) kind: &'static str,
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(kind: &'static str, reason: &str) -> Self {
        Self { kind, reason: reason.to_owned() }
    }
}

impl Refusal {
    /// An item contains invalid UTF-8.
    pub(crate) fn no_utf8() -> Self {
        Self::new("no_utf8", "invalid UTF-8")
    }
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        let (kind, reason) = json::fault(&error);
        Self { kind, reason }
    }
}

/// A value that the parser does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrecognized {
    /// Its field, such as `status.groupName`.
    pub field: &'static str,
    /// The value, cut to [`UNRECOGNIZED_LENGTH_MAX`] characters.
    pub value: String,
    /// The message to which it belongs.
    pub message_id: String,
}

/// Longest unrecognized value that is kept for the log, in characters.
pub const UNRECOGNIZED_LENGTH_MAX: usize = 64;

/// Collects outcomes while a body is read, and fills in the common fields of every event.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    pub(crate) bsp: BspId,
    pub(crate) webhook: &'a Webhook<'a>,
    /// The body as the parser reads it. Each byte is at the same offset as in the original.
    text: &'a str,
    /// Whether the body contains invalid UTF-8. Other bodies are not searched for it.
    is_damaged: bool,
    /// The damaged fields of a form.
    form_damage: Vec<Damaged>,
    /// Number of items that were checked for invalid UTF-8.
    repaired: usize,
    replaced: Replaced,
    /// Whether an input of an event id in the current item contains invalid UTF-8.
    has_damaged_id: bool,
    parsed: Parsed,
    has_too_many_items: bool,
    _tracing: Tracing,
}

/// Most items of one body. No BSP sends more. Each item results in an event or a dead letter.
pub const ITEMS_MAX: usize = 10_000;

impl<'a> Collector<'a> {
    /// A collector for a body and its [readable](utf8::readable) text.
    pub(crate) fn new(bsp: BspId, webhook: &'a Webhook<'a>, text: &'a Cow<'a, str>) -> Self {
        Self {
            bsp,
            webhook,
            text,
            is_damaged: matches!(text, Cow::Owned(_)),
            form_damage: Vec::new(),
            repaired: 0,
            replaced: Replaced::default(),
            has_damaged_id: false,
            parsed: Parsed::default(),
            has_too_many_items: false,
            _tracing: unread::begin(text),
        }
    }

    /// A collector for a form with these [damaged](crate::form::Form::damaged) fields.
    pub(crate) fn of_form(bsp: BspId, webhook: &'a Webhook<'a>, form_damage: Vec<Damaged>) -> Self {
        let is_damaged = !form_damage.is_empty();
        Self { is_damaged, form_damage, ..Self::new(bsp, webhook, &Cow::Borrowed("")) }
    }

    /// The body's text, without a byte order mark.
    pub(crate) fn document(&self) -> &'a str {
        utf8::without_mark(self.text)
    }

    /// Reads the body's text as JSON.
    ///
    /// # Errors
    /// What serde says of a text that is no JSON or has another shape.
    pub(crate) fn read_document<T: Deserialize<'a>>(&mut self) -> serde_json::Result<T> {
        let read = json::from_str(self.document());
        self.parsed.is_json = read.is_ok() && !self.is_damaged;
        read
    }

    /// A report with the fields that do not come from the body.
    pub(crate) fn new_report(&self) -> ReportEvent {
        ReportEvent {
            bsp: self.bsp.as_str().to_owned(),
            channel_id: self.webhook.channel.as_str().to_owned(),
            received_at: Some(crate::time::to_proto(self.webhook.received_at)),
            ..ReportEvent::default()
        }
    }

    /// A message with the fields that do not come from the body.
    pub(crate) fn new_message(&self) -> InboundMessage {
        InboundMessage {
            bsp: self.bsp.as_str().to_owned(),
            channel_id: self.webhook.channel.as_str().to_owned(),
            received_at: Some(crate::time::to_proto(self.webhook.received_at)),
            ..InboundMessage::default()
        }
    }

    pub(crate) fn report(&mut self, report: impl Into<Box<ReportEvent>>) {
        let mut report = report.into();
        report.source = Some(self.next_source());
        self.push(Outcome::Report(report));
    }

    pub(crate) fn message(&mut self, mut message: InboundMessage) {
        message.source = Some(self.next_source());
        self.push(Outcome::Message(Box::new(message)));
    }

    pub(crate) fn ignored(&mut self, kind: &'static str) {
        self.push(Outcome::Ignored(kind));
    }

    /// The bytes of the body that an item consists of, without a copy. Returns the whole body if the item is
    /// not a piece of it.
    fn original(&self, item: &str) -> Bytes {
        let start = (item.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        let end = start.wrapping_add(item.len());
        let is_inside = start <= end && end <= self.webhook.body.len();
        if is_inside { self.webhook.body.slice(start..end) } else { self.webhook.body.clone() }
    }

    /// Reads one item, a piece of the body's text. If it cannot be parsed, only this item is rejected.
    pub(crate) fn read_item(&mut self, item: &str, read: impl FnOnce(&mut Self) -> Result<(), Refusal>) {
        let (from, first) = (unread::begin_item(), self.parsed.items.len());
        match self.attempt(Some(item), read) {
            Ok(()) => self.keep_unread(item, from, first),
            Err(refusal) => {
                unread::of_item(item, from, None, &mut self.parsed.unread);
                self.refuse_part(refusal, item);
            }
        }
    }

    /// Reads a part of the body's text that contains items. If it cannot be parsed, it is rejected as one
    /// item.
    pub(crate) fn read_list(&mut self, list: &str, read: impl FnOnce(&mut Self) -> Result<(), Refusal>) {
        if let Err(refusal) = self.attempt(None, read) {
            self.refuse_part(refusal, list);
        }
    }

    /// Reads a body of one item. If it cannot be parsed, the whole body is rejected.
    pub(crate) fn read_body(&mut self, read: impl FnOnce(&mut Self) -> Result<(), Refusal>) {
        match self.attempt(Some(self.text), read) {
            Ok(()) => self.keep_unread(self.text, Position::default(), 0),
            Err(refusal) => self.refuse_body(refusal),
        }
    }

    /// Writes the unread members of an item into its events, from item `first` on. Other outcomes are counted
    /// as a whole.
    fn keep_unread(&mut self, item: &str, from: Position, first: usize) {
        let events = self.parsed.items.get_mut(first..).unwrap_or_default();
        let known = registry::get(self.bsp).profile().known_members;
        let source = unread::Source { text: self.text, is_damaged: self.is_damaged, known };
        let has_event = events.iter().any(|item| item.outcome.is_event());
        let unread = unread::of_item(item, from, has_event.then_some(source), &mut self.parsed.unread);
        unread::take(item);
        if !unread.is_empty() {
            events.iter_mut().for_each(|item| unread.write(&mut item.outcome));
        }
    }

    /// Writes the unread fields of a form into the events of its body.
    pub(crate) fn keep_unread_of(&mut self, form: &Form<'_>) {
        if self.parsed.items.iter().any(|item| item.outcome.is_event()) {
            let known = registry::get(self.bsp).profile().known_members;
            let unread = unread::of_form(form, known, &mut self.parsed.unread);
            self.parsed.items.iter_mut().for_each(|item| unread.write(&mut item.outcome));
        }
    }

    /// Writes the unread members around the items into the first event only.
    fn keep_unread_around(&mut self) {
        let known = registry::get(self.bsp).profile().known_around;
        let source = unread::Source { text: self.text, is_damaged: self.is_damaged, known };
        let around = unread::of_item(self.text, Position::default(), Some(source), &mut self.parsed.unread);
        let first = self.parsed.items.iter_mut().find(|item| item.outcome.is_event());
        if let Some(first) = first
            && !around.is_empty()
        {
            Unread::of(&mut first.outcome).with_around(&around).write(&mut first.outcome);
        }
    }

    fn refuse_part(&mut self, refusal: Refusal, part: &str) {
        let is_damaged = self.is_damaged && std::str::from_utf8(&self.original(part)).is_err();
        self.refuse_item(if is_damaged { Refusal::no_utf8() } else { refusal }, part);
    }

    /// Reads an item, or a list without an item. Discards its outcomes if invalid UTF-8 is in any field other
    /// than text for people.
    fn attempt(
        &mut self,
        item: Option<&str>,
        read: impl FnOnce(&mut Self) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if !self.is_damaged {
            return read(self);
        }
        let before = [self.parsed.items.len(), self.parsed.unrecognized.len(), self.replaced.fields.len()];
        self.replaced.texts.clear();
        let outcome = read(self).and_then(|()| self.repair_utf8(item));
        self.has_damaged_id = false;
        if outcome.is_err() {
            self.parsed.items.truncate(before[0]);
            self.parsed.unrecognized.truncate(before[1]);
            self.replaced.fields.truncate(before[2]);
        }
        self.repaired = self.parsed.items.len();
        outcome
    }

    /// Replaces invalid UTF-8 in the texts of new events, and checks the rest of their item.
    fn repair_utf8(&mut self, item: Option<&str>) -> Result<(), Refusal> {
        if self.has_damaged_id {
            return Err(Refusal::no_utf8());
        }
        let mut has_event = false;
        for new in self.parsed.items.iter_mut().skip(self.repaired) {
            match &mut new.outcome {
                Outcome::Report(report) => utf8::mend_report(report, &mut self.replaced)?,
                Outcome::Message(message) => utf8::mend_message(message, &mut self.replaced)?,
                Outcome::Account(event) => utf8::has_no_stand_in(event)?,
                Outcome::Customer(event) => utf8::has_no_stand_in(event)?,
                Outcome::Ignored(_) | Outcome::Rejected(_) => continue,
            }
            has_event = true;
        }
        match item {
            Some(_) if !self.form_damage.is_empty() => self.check(&self.form_damage),
            Some(item) if has_event => self.check(&utf8::in_json(item)),
            _ => Ok(()),
        }
    }

    /// Rejects a part that items share, or that may decide whether an item is ignored, if it contains invalid
    /// UTF-8 in any field other than text for people.
    pub(crate) fn check_part(&self, json: &str) -> Result<(), Refusal> {
        if self.is_damaged { self.check(&utf8::in_json(json)) } else { Ok(()) }
    }

    /// Whether a key of an object itself, not of its members, contains invalid UTF-8.
    pub(crate) fn has_damaged_key(&self, object: &str) -> bool {
        self.is_damaged && utf8::in_keys(object)
    }

    fn check(&self, damaged: &[Damaged]) -> Result<(), Refusal> {
        let text_keys = registry::get(self.bsp).profile().text_keys;
        let is_word = |damaged: &Damaged| match damaged {
            Damaged::Value { key, value } => {
                text_keys.contains(&key.as_str()) || self.replaced.texts.contains(value)
            }
            Damaged::Key => false,
        };
        if damaged.iter().all(is_word) { Ok(()) } else { Err(Refusal::no_utf8()) }
    }

    /// Rejects the current item if an input of an event id contains invalid UTF-8.
    pub(crate) fn check_id(&mut self, parts: &[&str]) {
        self.has_damaged_id |= self.is_damaged && parts.iter().any(|part| part.contains(utf8::STAND_IN));
    }

    /// Rejects an item, which is a piece of the body's text.
    pub(crate) fn refuse_item(&mut self, refusal: Refusal, item: &str) {
        unread::take(item);
        let raw = self.original(item);
        self.push(Outcome::Rejected(RejectedItem { kind: refusal.kind, reason: refusal.reason, raw }));
    }

    /// Rejects the whole body.
    pub(crate) fn refuse_body(&mut self, refusal: Refusal) {
        unread::take(self.text);
        let raw = self.webhook.body.clone();
        self.push(Outcome::Rejected(RejectedItem { kind: refusal.kind, reason: refusal.reason, raw }));
    }

    pub(crate) fn unrecognized(&mut self, field: &'static str, value: &str, message_id: &str) {
        self.parsed.unrecognized.push(Unrecognized {
            field,
            value: value.chars().take(UNRECOGNIZED_LENGTH_MAX).collect(),
            message_id: message_id.to_owned(),
        });
    }

    /// The result of the body. A body without items is counted too.
    pub(crate) fn finish(mut self) -> Parsed {
        self.keep_unread_around();
        if self.has_too_many_items {
            self.parsed = Parsed::default();
            self.replaced = Replaced::default();
            self.refuse_body(Refusal::new("too_many_items", "too many items in the body"));
        }
        if self.parsed.items.is_empty() {
            self.ignored("empty");
        }
        self.parsed.replaced.append(&mut self.replaced.fields);
        self.parsed
    }

    fn next_index(&self) -> u32 {
        u32::try_from(self.parsed.items.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn next_source(&self) -> EventSource {
        EventSource { stream_sequence: self.webhook.sequence, item_index: self.next_index() }
    }

    pub(crate) fn push(&mut self, outcome: Outcome) {
        if self.parsed.items.len() >= ITEMS_MAX {
            self.has_too_many_items = true;
            return;
        }
        let index = self.next_index();
        self.parsed.items.push(Item { index, outcome });
    }
}
