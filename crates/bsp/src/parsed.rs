//! What goes into a parser and what comes out of it.

use bytes::Bytes;
use jiff::Timestamp;
use proto::v1::{AccountEvent, CustomerEvent, EventSource, InboundMessage, ReportEvent};

use crate::ids::{BspId, ChannelId};
use crate::json;

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

/// Everything a body came to.
#[derive(Debug, Default)]
pub struct Parsed {
    /// One for every item of the body, in its order; several of an item that says several things, such as a message by which
    /// a customer opts out.
    pub items: Vec<Item>,
    /// Values that the parser does not know. Their events are among the items all the same.
    pub unrecognised: Vec<Unrecognised>,
}

/// One item of a body.
#[derive(Debug)]
pub struct Item {
    /// Its position among all of the body, from 0.
    pub index: u32,
    /// What it came to.
    pub outcome: Outcome,
}

/// What an item came to.
#[derive(Debug)]
pub enum Outcome {
    /// A report about a message that was sent.
    Report(Box<ReportEvent>),
    /// A customer's message.
    Message(Box<InboundMessage>),
    /// Something about a template, a number or the account.
    Account(Box<AccountEvent>),
    /// Something about a customer that is no message.
    Customer(Box<CustomerEvent>),
    /// Something that is none of these, known, and of no use to the contact centre: to be counted under this name.
    Ignored(&'static str),
    /// Something that could not be understood: for the dead letters.
    Rejected(Reject),
}

/// Why an item could not be understood. The reason holds no value of the body, only what was expected where.
#[derive(Clone, PartialEq, Eq)]
pub struct Reject {
    /// A few words for a metric's label, out of a fixed set.
    pub kind: &'static str,
    /// A sentence for people.
    pub reason: String,
    /// The exact bytes of the item, or of the whole body.
    pub raw: Bytes,
}

impl std::fmt::Debug for Reject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reject").field("reason", &self.reason).field("raw_bytes", &self.raw.len()).finish()
    }
}

/// Why an item is refused while it is read, before it is known which bytes it has.
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
    /// An item holds bytes that are no UTF-8.
    pub(crate) fn no_utf8() -> Self {
        Self::new("no_utf8", "it holds bytes that are not UTF-8")
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
pub struct Unrecognised {
    /// Where it stood, such as `status.groupName`.
    pub field: &'static str,
    /// The value, cut to [`UNRECOGNISED_LENGTH_MAX`] characters.
    pub value: String,
    /// The message it belongs to.
    pub message_id: String,
}

/// The longest unrecognised value that is kept for the log.
pub const UNRECOGNISED_LENGTH_MAX: usize = 64;

/// Collects outcomes while a body is read, and fills in what every event has in common.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    pub(crate) bsp: BspId,
    pub(crate) webhook: &'a Webhook<'a>,
    /// The body as the parser reads it, byte for byte at the places of the original.
    text: &'a str,
    parsed: Parsed,
    has_too_many_items: bool,
}

/// The most items of one body. No BSP sends so many, and every item costs an event or a dead letter.
pub const ITEMS_MAX: usize = 10_000;

impl<'a> Collector<'a> {
    pub(crate) fn new(bsp: BspId, webhook: &'a Webhook<'a>, text: &'a str) -> Self {
        Self { bsp, webhook, text, parsed: Parsed::default(), has_too_many_items: false }
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

    pub(crate) fn report(&mut self, mut report: ReportEvent) {
        report.source = Some(self.next_source());
        self.push(Outcome::Report(Box::new(report)));
    }

    pub(crate) fn message(&mut self, mut message: InboundMessage) {
        message.source = Some(self.next_source());
        self.push(Outcome::Message(Box::new(message)));
    }

    pub(crate) fn ignored(&mut self, kind: &'static str) {
        self.push(Outcome::Ignored(kind));
    }

    /// The bytes of the body that an item stands for, without copying them; the whole body, should the item be no
    /// piece of it.
    fn original(&self, item: &str) -> Bytes {
        let start = (item.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        let end = start.wrapping_add(item.len());
        let is_inside = start <= end && end <= self.webhook.body.len();
        if is_inside { self.webhook.body.slice(start..end) } else { self.webhook.body.clone() }
    }

    /// Whether an item holds bytes that are no UTF-8.
    pub(crate) fn is_damaged(&self, item: &str) -> bool {
        std::str::from_utf8(&self.original(item)).is_err()
    }

    /// Refuses an item, which is a piece of the body's text.
    pub(crate) fn refuse_item(&mut self, refusal: Refusal, item: &str) {
        let raw = self.original(item);
        self.push(Outcome::Rejected(Reject { kind: refusal.kind, reason: refusal.reason, raw }));
    }

    /// Refuses the body as a whole.
    pub(crate) fn refuse_body(&mut self, refusal: Refusal) {
        let raw = self.webhook.body.clone();
        self.push(Outcome::Rejected(Reject { kind: refusal.kind, reason: refusal.reason, raw }));
    }

    pub(crate) fn unrecognised(&mut self, field: &'static str, value: &str, message_id: &str) {
        self.parsed.unrecognised.push(Unrecognised {
            field,
            value: value.chars().take(UNRECOGNISED_LENGTH_MAX).collect(),
            message_id: message_id.to_owned(),
        });
    }

    /// What the body came to; a body without any item is counted too.
    pub(crate) fn finish(mut self) -> Parsed {
        if self.has_too_many_items {
            self.parsed = Parsed::default();
            self.refuse_body(Refusal::new(
                "too_many_items",
                "the body has more items than one body may have",
            ));
        }
        if self.parsed.items.is_empty() {
            self.ignored("empty");
        }
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
