//! The commands that may be sent: a `SendCommand` that is validated against WhatsApp's limits. Every fault is
//! reported.
//!
//! Only [`check`](fn@check) creates a [`Command`], so code that has one need not validate it again. Sources
//! of the limits: Infobip's OpenAPI of the OMNI failover and WhatsApp APIs (3.210.0) and Meta's documents
//! (both read 2026-11).

#![allow(
    missing_debug_implementations,
    reason = "nearly all of it is personal: what cannot be printed is not printed"
)]

mod card;
mod check;
mod faults;
mod parts;
mod decode;
mod json;
mod template;

use bytes::Bytes;
use jiff::Timestamp;
use proto::v1::{Contact, Location, SendCommand};

use crate::ids::{ChannelId, CommandId};
use crate::media::{MediaId, MediaKind};

pub use check::{CONTEXT_LENGTH_MAX, check};
pub use decode::{Encoding, Undecodable, decode, read_json};

/// A command that was validated and can be sent.
#[derive(Clone, PartialEq)]
pub struct Command {
    /// Its id.
    pub id: CommandId,
    /// The customer, without `whatsapp:`, plus sign and international prefix.
    pub recipient: String,
    /// The message is not sent after this time.
    pub not_after: Option<Timestamp>,
    /// Text of the caller that the result returns.
    pub context: String,
    /// What to send.
    pub content: Content,
}

// Nearly all of it is personal data.
impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command")
            .field("id", &self.id)
            .field("kind", &self.content.name())
            .finish_non_exhaustive()
    }
}

/// What a command sends.
#[derive(Clone, PartialEq)]
pub enum Content {
    /// Text.
    Text {
        /// The text.
        body: String,
        /// Whether the first link is shown with a preview.
        preview_url: bool,
    },
    /// A file.
    Media(MediaKind, Media),
    /// A location.
    Location(Location),
    /// Contact cards.
    Contacts(Vec<Contact>),
    /// An approved template.
    Template(Template),
}

impl Content {
    /// A short name for a metric's label.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Media(kind, _) => kind.name(),
            Self::Location(_) => "location",
            Self::Contacts(_) => "contacts",
            Self::Template(_) => "template",
        }
    }

    /// Its file, if it has one.
    pub fn media(&self) -> Option<(MediaKind, &Media)> {
        match self {
            Self::Media(kind, media) => Some((*kind, media)),
            Self::Template(Template { header: Some(Header::Media(kind, media)), .. }) => Some((*kind, media)),
            _ => None,
        }
    }
}

/// A file to send.
#[derive(Clone, PartialEq)]
pub struct Media {
    /// Where it is.
    pub source: Source,
    /// Text below the file; empty for none.
    pub caption: String,
    /// Its name; empty for none.
    pub file_name: String,
}

/// Where a file is.
#[derive(Clone, PartialEq)]
pub enum Source {
    /// In the command.
    Inline {
        /// Its bytes.
        data: Bytes,
        /// Its type.
        content_type: &'static str,
    },
    /// In the blob store.
    Stored(MediaId),
    /// At this URL, from which the BSP fetches it.
    Url(String),
}

/// A message template and the values for its variables.
#[derive(Clone, PartialEq)]
pub struct Template {
    /// Its registered name.
    pub name: String,
    /// Its namespace; empty for none.
    pub namespace: String,
    /// The code of its language.
    pub language: String,
    /// Values for the placeholders of the body.
    pub placeholders: Vec<String>,
    /// Value for the header.
    pub header: Option<Header>,
    /// Values for the buttons.
    pub buttons: Vec<Button>,
}

/// Value for the header of a template.
#[derive(Clone, PartialEq)]
pub enum Header {
    /// Text.
    Text(String),
    /// An image, a document or a video.
    Media(MediaKind, Media),
    /// A location.
    Location(Location),
}

/// Value for a button of a template.
#[derive(Clone, PartialEq)]
pub enum Button {
    /// The variable end of its URL.
    UrlPlaceholder(String),
    /// The payload that a tap returns.
    QuickReplyPayload(String),
}

/// The valid parts of an invalid command.
#[derive(Debug, Clone)]
pub struct RejectedCommand {
    /// Its id, if it has a valid one.
    pub id: Option<CommandId>,
    /// Text of the caller that the result returns.
    pub context: String,
    /// Every validation error.
    pub faults: Vec<proto::v1::CommandFault>,
}

/// A decoded command and the channel of its subject.
#[derive(Clone, Copy)]
pub struct ReceivedCommand<'a> {
    /// The channel whose subject it was published to.
    pub channel: &'a ChannelId,
    /// The decoded command.
    pub command: &'a SendCommand,
}

impl std::fmt::Debug for ReceivedCommand<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received").field("channel", self.channel).finish_non_exhaustive()
    }
}
