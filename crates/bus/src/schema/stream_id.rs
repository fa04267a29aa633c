//! The streams of imchannel by identity. Code decides on these and never on a name.

use std::fmt;

/// A stream of imchannel, or the stream behind one of its buckets. Its definition is in [`crate::schema::streams`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamId {
    /// Stream of the raw webhooks.
    Webhooks,
    /// Stream of the events.
    Events,
    /// Stream of the commands.
    Commands,
    /// Stream of the dead letters.
    DeadLetters,
    /// Bucket of the channels.
    Channels,
    /// Bucket of the ledger of sends.
    Sends,
    /// Bucket of the leases of lanes.
    Lanes,
    /// Bucket of the marks.
    Marks,
}

impl StreamId {
    /// Every stream, in the order of the variants: those of messages, then those of buckets.
    pub const ALL: [Self; 8] = [
        Self::Webhooks,
        Self::Events,
        Self::Commands,
        Self::DeadLetters,
        Self::Channels,
        Self::Sends,
        Self::Lanes,
        Self::Marks,
    ];

    /// The name of the bucket that it is behind; `None` for a stream of messages.
    pub const fn bucket_name(self) -> Option<&'static str> {
        match self {
            Self::Webhooks | Self::Events | Self::Commands | Self::DeadLetters => None,
            Self::Channels => Some("imchannel_channels"),
            Self::Sends => Some("imchannel_sends"),
            Self::Lanes => Some("imchannel_lanes"),
            Self::Marks => Some("imchannel_marks"),
        }
    }

    /// The stream's name in JetStream.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Webhooks => "WEBHOOKS",
            Self::Events => "EVENTS",
            Self::Commands => "COMMANDS",
            Self::DeadLetters => "DEADLETTERS",
            Self::Channels => "KV_imchannel_channels",
            Self::Sends => "KV_imchannel_sends",
            Self::Lanes => "KV_imchannel_lanes",
            Self::Marks => "KV_imchannel_marks",
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
