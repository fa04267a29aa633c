//! Collects the outcomes of a body while its BSP's parser reads it: common fields, rejected items, unread members and
//! invalid UTF-8. What an item means is left to the folder of the BSP.

use std::borrow::Cow;

use bytes::Bytes;
use proto::v1::{EventSource, InboundMessage, ReportEvent};
use serde::Deserialize;

use crate::form::Form;
use crate::ids::BspId;
use crate::parsed::{
    ITEMS_MAX, Item, Outcome, Parsed, RejectedItem, Rejection, UNRECOGNIZED_LENGTH_MAX, Unrecognized, Webhook,
};
use crate::provider::Profile;
use crate::repair::{self, Replaced};
use crate::unread::{self, Position, Tracing, Unread};
use crate::utf8::{self, Damaged};
use crate::{json, time};

/// Collects outcomes while a body is read, and fills in the common fields of every event.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    profile: &'static Profile,
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

impl<'a> Collector<'a> {
    /// A collector for a body and its [lossy](utf8::lossy) text.
    pub(crate) fn new(profile: &'static Profile, webhook: &'a Webhook<'a>, text: &'a Cow<'a, str>) -> Self {
        Self {
            profile,
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
    pub(crate) fn of_form(
        profile: &'static Profile,
        webhook: &'a Webhook<'a>,
        form_damage: Vec<Damaged>,
    ) -> Self {
        let is_damaged = !form_damage.is_empty();
        Self { is_damaged, form_damage, ..Self::new(profile, webhook, &Cow::Borrowed("")) }
    }

    /// The BSP that sent the body.
    pub(crate) fn bsp(&self) -> BspId {
        self.profile.id
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
            bsp: self.bsp().as_str().to_owned(),
            channel_id: self.webhook.channel.as_str().to_owned(),
            received_at: Some(time::to_proto(self.webhook.received_at)),
            ..ReportEvent::default()
        }
    }

    /// A message with the fields that do not come from the body.
    pub(crate) fn new_message(&self) -> InboundMessage {
        InboundMessage {
            bsp: self.bsp().as_str().to_owned(),
            channel_id: self.webhook.channel.as_str().to_owned(),
            received_at: Some(time::to_proto(self.webhook.received_at)),
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
    pub(crate) fn read_item(&mut self, item: &str, read: impl FnOnce(&mut Self) -> Result<(), Rejection>) {
        let (from, first) = (unread::begin_item(), self.parsed.items.len());
        match self.attempt(Some(item), read) {
            Ok(()) => self.keep_unread(item, from, first),
            Err(rejection) => {
                unread::of_item(item, from, None, &mut self.parsed.unread);
                self.reject_part(rejection, item);
            }
        }
    }

    /// Reads a part of the body's text that contains items. If it cannot be parsed, it is rejected as one
    /// item.
    pub(crate) fn read_list(&mut self, list: &str, read: impl FnOnce(&mut Self) -> Result<(), Rejection>) {
        if let Err(rejection) = self.attempt(None, read) {
            self.reject_part(rejection, list);
        }
    }

    /// Reads a body of one item. If it cannot be parsed, the whole body is rejected.
    pub(crate) fn read_body(&mut self, read: impl FnOnce(&mut Self) -> Result<(), Rejection>) {
        match self.attempt(Some(self.text), read) {
            Ok(()) => self.keep_unread(self.text, Position::default(), 0),
            Err(rejection) => self.reject_body(rejection),
        }
    }

    /// Writes the unread members of an item into its events, from item `first` on. Other outcomes are counted
    /// as a whole.
    fn keep_unread(&mut self, item: &str, from: Position, first: usize) {
        let events = self.parsed.items.get_mut(first..).unwrap_or_default();
        let known = self.profile.known_members;
        let source = unread::Source { text: self.text, is_damaged: self.is_damaged, known };
        let has_event = events.iter().any(|item| item.outcome.is_event());
        let unread = unread::of_item(item, from, has_event.then_some(source), &mut self.parsed.unread);
        unread::mark_read(item);
        if !unread.is_empty() {
            events.iter_mut().for_each(|item| unread.write(&mut item.outcome));
        }
    }

    /// Writes the unread fields of a form into the events of its body.
    pub(crate) fn keep_unread_of(&mut self, form: &Form<'_>) {
        if self.parsed.items.iter().any(|item| item.outcome.is_event()) {
            let known = self.profile.known_members;
            let unread = unread::of_form(form, known, &mut self.parsed.unread);
            self.parsed.items.iter_mut().for_each(|item| unread.write(&mut item.outcome));
        }
    }

    /// Writes the unread members around the items into the first event only.
    fn keep_unread_around(&mut self) {
        let known = self.profile.known_around;
        let source = unread::Source { text: self.text, is_damaged: self.is_damaged, known };
        let around = unread::of_item(self.text, Position::default(), Some(source), &mut self.parsed.unread);
        let first = self.parsed.items.iter_mut().find(|item| item.outcome.is_event());
        if let Some(first) = first
            && !around.is_empty()
        {
            Unread::of(&mut first.outcome).with_around(&around).write(&mut first.outcome);
        }
    }

    fn reject_part(&mut self, rejection: Rejection, part: &str) {
        let is_damaged = self.is_damaged && std::str::from_utf8(&self.original(part)).is_err();
        self.reject_item(if is_damaged { Rejection::no_utf8() } else { rejection }, part);
    }

    /// Reads an item, or a list without an item. Discards its outcomes if invalid UTF-8 is in any field other
    /// than text for people.
    fn attempt(
        &mut self,
        item: Option<&str>,
        read: impl FnOnce(&mut Self) -> Result<(), Rejection>,
    ) -> Result<(), Rejection> {
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
    fn repair_utf8(&mut self, item: Option<&str>) -> Result<(), Rejection> {
        if self.has_damaged_id {
            return Err(Rejection::no_utf8());
        }
        let mut has_event = false;
        for new in self.parsed.items.iter_mut().skip(self.repaired) {
            match &mut new.outcome {
                Outcome::Report(report) => repair::repair_report(report, &mut self.replaced)?,
                Outcome::Message(message) => repair::repair_message(message, &mut self.replaced)?,
                Outcome::Account(event) => repair::check_event_utf8(event)?,
                Outcome::Customer(event) => repair::check_event_utf8(event)?,
                Outcome::Ignored(_) | Outcome::Rejected(_) => continue,
            }
            has_event = true;
        }
        match item {
            Some(_) if !self.form_damage.is_empty() => self.check(&self.form_damage),
            Some(item) if has_event => self.check(&repair::in_json(item)),
            _ => Ok(()),
        }
    }

    /// Rejects a part that items share, or that may decide whether an item is ignored, if it contains invalid
    /// UTF-8 in any field other than text for people.
    pub(crate) fn check_part(&self, json: &str) -> Result<(), Rejection> {
        if self.is_damaged { self.check(&repair::in_json(json)) } else { Ok(()) }
    }

    /// Whether a key of an object itself, not of its members, contains invalid UTF-8.
    pub(crate) fn has_damaged_key(&self, object: &str) -> bool {
        self.is_damaged && repair::in_keys(object)
    }

    fn check(&self, damaged: &[Damaged]) -> Result<(), Rejection> {
        let text_keys = self.profile.text_keys;
        let is_word = |damaged: &Damaged| match damaged {
            Damaged::Value { key, value } => {
                text_keys.contains(&key.as_str()) || self.replaced.texts.contains(value)
            }
            Damaged::Key => false,
        };
        if damaged.iter().all(is_word) { Ok(()) } else { Err(Rejection::no_utf8()) }
    }

    /// Rejects the current item if an input of an event id contains invalid UTF-8.
    pub(crate) fn check_id(&mut self, parts: &[&str]) {
        self.has_damaged_id |= self.is_damaged && parts.iter().any(|part| part.contains(utf8::PLACEHOLDER));
    }

    /// Rejects an item, which is a piece of the body's text.
    pub(crate) fn reject_item(&mut self, rejection: Rejection, item: &str) {
        unread::mark_read(item);
        let raw = self.original(item);
        self.push(Outcome::Rejected(RejectedItem { kind: rejection.kind, reason: rejection.reason, raw }));
    }

    /// Rejects the whole body.
    pub(crate) fn reject_body(&mut self, rejection: Rejection) {
        unread::mark_read(self.text);
        let raw = self.webhook.body.clone();
        self.push(Outcome::Rejected(RejectedItem { kind: rejection.kind, reason: rejection.reason, raw }));
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
            self.reject_body(Rejection::new("too_many_items", "too many items in the body"));
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
        EventSource {
            stream_sequence: self.webhook.sequence,
            item_index: self.next_index(),
            reconciled: false,
        }
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
