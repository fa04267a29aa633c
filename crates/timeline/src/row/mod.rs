//! What a row says: one thing that happened, where it is stored, and by which ids it is found. Pure values.
//!
//! A row holds no number, no name and no text of a customer: ids are looked up by keyed hashes ([`keys`]), and what people
//! see is masked ([`shown`]). How rows are stored is left to [`crate::store`], what they mean together to [`crate::life`].

pub mod keys;
pub mod kind;
pub mod shown;
pub mod stored;

use std::fmt;

use bus::StreamId;
use bus::streams::{COMMANDS, DEADLETTERS, EVENTS, StreamDefinition, WEBHOOKS};
use jiff::Timestamp;

pub use crate::row::keys::{Keys, LookupKey, RecipientKey};
pub use crate::row::kind::{AttemptOutcome, RowKind, Status};

/// Where the message that a row was made from is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    /// Its stream.
    pub stream: StreamNumber,
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Which row of the message it is: 0, and the attempts of a result from 1.
    pub part: u32,
}

/// A stream that the timeline reads. The number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum StreamNumber {
    /// WEBHOOKS, of which only headers are read.
    Webhooks = 1,
    /// EVENTS.
    Events = 2,
    /// COMMANDS.
    Commands = 3,
    /// DEADLETTERS.
    DeadLetters = 4,
}

impl StreamNumber {
    /// Every stream that the timeline reads.
    pub const ALL: [Self; 4] = [Self::Webhooks, Self::Events, Self::Commands, Self::DeadLetters];

    /// The stream of a stored number; `None` for another number.
    pub fn of_stored(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| i64::from(*stream as u8) == number)
    }

    /// The stream with that name; `None` if the timeline does not read it.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.name() == name)
    }

    /// Its name, such as `EVENTS`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Webhooks => StreamId::Webhooks.name(),
            Self::Events => StreamId::Events.name(),
            Self::Commands => StreamId::Commands.name(),
            Self::DeadLetters => StreamId::DeadLetters.name(),
        }
    }

    /// How it is defined.
    pub(crate) fn definition(self) -> &'static StreamDefinition {
        match self {
            Self::Webhooks => &WEBHOOKS,
            Self::Events => &EVENTS,
            Self::Commands => &COMMANDS,
            Self::DeadLetters => &DEADLETTERS,
        }
    }
}

/// By which kind of id a row is found. The number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum IdKind {
    /// A command's id, within its channel.
    Command = 1,
    /// The BSP's id of a message.
    Message = 2,
    /// The BSP's second id of a message.
    ProviderMessage = 3,
    /// An event's id.
    Event = 4,
    /// A file's id.
    Media = 5,
    /// A stored message, as `WEBHOOKS/123`: the row's own, or that of the webhook or command that it was made from.
    Stored = 6,
}

impl IdKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Command, Self::Message, Self::ProviderMessage, Self::Event, Self::Media, Self::Stored];

    /// The kind of a stored number; `None` for another number.
    pub fn of_stored(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| u32::from(*kind as u8) == number)
    }

    /// Whether rows that share such an id belong to the same message.
    pub fn is_of_one_message(self) -> bool {
        matches!(self, Self::Command | Self::Message | Self::ProviderMessage)
    }

    /// Its name in answers, such as `command`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Message => "message",
            Self::ProviderMessage => "provider_message",
            Self::Event => "event",
            Self::Media => "media",
            Self::Stored => "stored",
        }
    }
}

/// An id of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What kind of id it is.
    pub kind: IdKind,
    /// The hash by which it is looked up.
    pub key: LookupKey,
    /// The id as people may see it: whole, or its last characters if it may contain a number ([`shown::id`]).
    pub shown: String,
}

/// The customer of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The hash by which the customer is looked up.
    pub key: RecipientKey,
    /// The last two digits of the number, for people; empty for an id that is not a number.
    pub last_digits: String,
}

/// Why something failed, in the words of the BSP or of the gateway, with numbers masked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowError {
    /// Its code, such as `7010` or `DEADLINE_PASSED`.
    pub code: String,
    /// Its name; empty if it has none.
    pub name: String,
    /// Its text for people, with numbers masked.
    pub text: String,
}

/// One thing that happened.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// Where the message that it was made from is stored.
    pub pointer: Pointer,
    /// When the stream stored that message: the time by which rows are ordered.
    pub stored_at: Timestamp,
    /// When it happened by the clock of the BSP or of the gateway; `None` if neither says.
    pub happened_at: Option<Timestamp>,
    /// What happened.
    pub kind: RowKind,
    /// Whether an operator published it again.
    pub is_replayed: bool,
    /// Whether it is a command of the queue of campaigns (`imchannel.command.bulk.…`); false for every other row.
    pub is_bulk: bool,
    /// Whether its body is the message as it is, with what is personal in it: only an unmasking shows it.
    pub is_whole: bool,
    /// The BSP's name; empty if it is not known.
    pub bsp: String,
    /// The channel's id; empty if it is not known.
    pub channel: String,
    /// The channel's tenant; empty if it is not known.
    pub tenant: String,
    /// The status that it gives its message; `None` if it gives none.
    pub status: Option<Status>,
    /// Why it failed.
    pub error: Option<RowError>,
    /// Every id by which it is found.
    pub links: Vec<Link>,
    /// The customer; `None` if it names none.
    pub recipient: Option<Recipient>,
    /// What it is in a few words without personal data: `text`, `template order_update`, `image`, `GET 204800 bytes`.
    pub summary: String,
    /// The message as JSON with personal data masked, if it is small; empty otherwise.
    pub body: String,
}

// With full bodies, the body is personal.
impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("pointer", &self.pointer)
            .field("stored_at", &self.stored_at)
            .field("kind", &self.kind)
            .field("channel", &self.channel)
            .field("status", &self.status)
            .field("error", &self.error)
            .field("links", &self.links)
            .field("recipient", &self.recipient)
            .field("summary", &self.summary)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Begins the summary of a report that the sender read from the BSP's message log, because no report had come.
pub const FROM_LOG: &str = "by the message log: ";

impl Row {
    /// Whether it is a report that was read from the BSP's message log.
    pub fn is_from_log(&self) -> bool {
        self.kind == RowKind::Report && self.summary.starts_with(FROM_LOG)
    }

    /// The shown id of a kind; `None` if the row has none.
    pub fn shown(&self, kind: IdKind) -> Option<&str> {
        self.links.iter().find(|link| link.kind == kind).map(|link| link.shown.as_str())
    }

    /// The key of a kind; `None` if the row has none.
    pub fn key(&self, kind: IdKind) -> Option<LookupKey> {
        self.links.iter().find(|link| link.kind == kind).map(|link| link.key)
    }
}
