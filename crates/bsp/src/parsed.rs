//! The input and the output of a parser.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use proto::v1::{AccountEvent, CustomerEvent, InboundMessage, ReportEvent};

use crate::ids::ChannelId;

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
pub(crate) struct Rejection {
    pub(crate) kind: &'static str,
    pub(crate) reason: String,
}

impl Rejection {
    pub(crate) fn new(kind: &'static str, reason: &str) -> Self {
        Self { kind, reason: reason.to_owned() }
    }

    /// An item contains invalid UTF-8.
    pub(crate) fn no_utf8() -> Self {
        Self::new("no_utf8", "invalid UTF-8")
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

/// Most items of one body. No BSP sends more. Each item results in an event or a dead letter.
pub const ITEMS_MAX: usize = 10_000;
