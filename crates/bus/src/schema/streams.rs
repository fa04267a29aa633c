//! Definitions of streams, durables and buckets: `streams apply` creates them and every service checks them.

use std::time::Duration;

use bsp::ChannelId;

use crate::schema::stream_id::StreamId;
use crate::schema::subject::{Priority, Subject};

/// One hour.
const HOUR: Duration = Duration::from_secs(3600);
/// Bytes of a MiB.
const MIB: u64 = 1024 * 1024;

/// Definition of a stream. All use file storage, keep messages by limits, and refuse new ones when full.
#[derive(Debug)]
pub struct StreamDefinition {
    /// Its identity.
    pub id: StreamId,
    /// Its name.
    pub name: &'static str,
    /// The subjects that it stores. nats-server 2.9 accepts a consumer's filter only if it fits one of them alone.
    pub subjects: &'static [&'static str],
    /// How long it keeps a message.
    pub max_age: Duration,
    /// Its default limit, in bytes.
    pub max_bytes_default: u64,
    /// What it is for.
    pub description: &'static str,
    /// What the purger may remove of it when it is filling up.
    pub purged: Purged,
    /// Longest useful deduplication window. The server keeps every message id in memory for this long.
    pub duplicate_window_max: Duration,
}

/// What the purger may remove of a stream that is filling up. A durable is one of the consumers for which the purger keeps
/// messages ([`crate::purge::purger`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purged {
    /// Nothing: its messages are for people, and no consumer's progress says that they were read.
    Never,
    /// What every durable has acknowledged; nothing without a durable.
    Acknowledged,
    /// What every durable has acknowledged; the oldest messages without a durable.
    AcknowledgedOrOldest,
    /// What the durable of a subject has acknowledged, so that messages of one subject go while another is far behind.
    BySubject,
}

/// Name of the consumer with which the timeline follows a stream. It is not durable, and the purger ignores a durable of exactly this
/// name.
pub const OBSERVER: &str = "timeline";

/// Begins the names of the consumers with which senders read what was reported ([`crate::read::follow::follow_subject`]). They are not
/// durable.
pub const RECONCILER: &str = "reconciler";

/// Definition of a durable pull consumer of a whole stream: explicit acks, no limit of deliveries (the worker alone
/// decides when a message is given up).
#[derive(Debug)]
pub struct DurableDefinition {
    /// The stream that it reads.
    pub stream: &'static StreamDefinition,
    /// Its name.
    pub name: &'static str,
    /// Time after which a message that is not acked is redelivered.
    pub ack_wait: Duration,
    /// Most delivered messages that are not acked, over all replicas.
    pub max_ack_pending: i64,
    /// Whether one of our services uses it. The AICC back end may read in another way.
    pub is_ours: bool,
}

/// Stream of the raw webhooks, as the BSPs posted them.
pub static WEBHOOKS: StreamDefinition = StreamDefinition {
    id: StreamId::Webhooks,
    name: StreamId::Webhooks.name(),
    subjects: &["imchannel.webhook.*.*"],
    max_age: Duration::from_secs(72 * 3600),
    max_bytes_default: 4096 * MIB,
    description: "raw webhooks of the BSPs",
    purged: Purged::Acknowledged,
    // Long enough for most retries of a publish whose ack was lost. A later one, such as a BSP's retry, is stored again
    // and gives the same events.
    duplicate_window_max: Duration::from_secs(5),
};

/// Stream of the events that the AICC back end reads.
pub static EVENTS: StreamDefinition = StreamDefinition {
    id: StreamId::Events,
    name: StreamId::Events.name(),
    subjects: &["imchannel.event.*.*.*"],
    max_age: Duration::from_secs(72 * 3600),
    max_bytes_default: 4096 * MIB,
    description: "events for the AICC back end",
    purged: Purged::AcknowledgedOrOldest,
    duplicate_window_max: HOUR,
};

/// Stream of the commands that the AICC back end publishes.
pub static COMMANDS: StreamDefinition = StreamDefinition {
    id: StreamId::Commands,
    name: StreamId::Commands.name(),
    // Exactly what lanes read, so that a publish to any other subject is refused.
    subjects: &["imchannel.command.send.*", "imchannel.command.bulk.*"],
    max_age: Duration::from_secs(24 * 3600),
    max_bytes_default: 1024 * MIB,
    description: "commands of the AICC back end",
    purged: Purged::BySubject,
    duplicate_window_max: HOUR,
};

/// Stream of what could not be processed.
pub static DEADLETTERS: StreamDefinition = StreamDefinition {
    id: StreamId::DeadLetters,
    name: StreamId::DeadLetters.name(),
    subjects: &["imchannel.deadletter.*.*"],
    max_age: Duration::from_secs(14 * 24 * 3600),
    max_bytes_default: 512 * MIB,
    description: "what could not be understood, with the reason",
    purged: Purged::Never,
    duplicate_window_max: HOUR,
};

/// Every stream.
pub static STREAMS: [&StreamDefinition; 4] = [&WEBHOOKS, &EVENTS, &COMMANDS, &DEADLETTERS];

/// Durable consumer of WEBHOOKS, shared by all replicas of the normalizer.
pub static NORMALIZER: DurableDefinition = DurableDefinition {
    stream: &WEBHOOKS,
    name: "normalizer",
    ack_wait: Duration::from_secs(30),
    max_ack_pending: 20_000,
    is_ours: true,
};

/// Durable consumer of EVENTS for the AICC back end.
pub static AICC: DurableDefinition = DurableDefinition {
    stream: &EVENTS,
    name: "aicc",
    ack_wait: Duration::from_secs(30),
    max_ack_pending: 20_000,
    is_ours: false,
};

/// Every durable consumer but those of the lanes.
pub static DURABLES: [&DurableDefinition; 2] = [&NORMALIZER, &AICC];

/// A durable consumer of a lane: one for each channel and queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneConsumer {
    /// Its name: `send-{channel}` or `bulk-{channel}`.
    pub name: String,
    /// The only subject that it reads.
    pub filter: String,
}

impl LaneConsumer {
    /// The durable consumer of a channel's queue.
    pub fn of(queue: Priority, channel: &ChannelId) -> Self {
        Self {
            name: format!("{}-{channel}", queue.token()),
            filter: Subject::Command(queue, channel.clone()).to_text(),
        }
    }
}

/// Ack wait of a lane's consumer: a command without ack or heartbeat is redelivered after it. It is shorter than a
/// lease, so that the new owner immediately receives the commands in flight of a lane's former owner.
pub const LANE_ACK_WAIT: Duration = Duration::from_secs(10);
/// `max_ack_pending` of a lane's consumer, for each queue: 4,000 pending commands (500 of one recipient at most), 1,000
/// in progress, 500 fetched ahead, and a margin.
pub const LANE_MAX_ACK_PENDING: usize = 6_000;

/// Definition of a key-value bucket. All keep one value for each key.
#[derive(Debug)]
pub struct BucketDefinition {
    /// Identity of the stream that stores it.
    pub id: StreamId,
    /// Its name.
    pub name: &'static str,
    /// Name of the stream that stores it.
    pub stream: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// How long it keeps a value; zero for no limit.
    pub max_age: Duration,
    /// The largest value, in bytes.
    pub value_bytes_max: i32,
}

/// Bucket of the channels.
pub static CHANNELS_BUCKET: BucketDefinition = BucketDefinition {
    id: StreamId::Channels,
    name: "imchannel_channels",
    stream: StreamId::Channels.name(),
    description: "channels",
    max_age: Duration::ZERO,
    value_bytes_max: 64 * 1024,
};

/// Part of the description of the ledger's stream that allows senders to write compact entries. A version without compact
/// entries describes the ledger without it, so that the `setup` of each version allows what its senders can read.
pub(crate) const COMPACT_ENTRIES: &str = "compact entries";

/// Bucket of the ledger: an entry for every command that was or may have been sent. Entries are kept for longer than
/// the commands.
pub static SENDS_BUCKET: BucketDefinition = BucketDefinition {
    id: StreamId::Sends,
    name: "imchannel_sends",
    stream: StreamId::Sends.name(),
    description: "ledger of sends, compact entries",
    max_age: Duration::from_secs(26 * 3600),
    value_bytes_max: 128 * 1024,
};

/// Bucket of the leases: which replica owns which lane.
pub static LANES_BUCKET: BucketDefinition = BucketDefinition {
    id: StreamId::Lanes,
    name: "imchannel_lanes",
    stream: StreamId::Lanes.name(),
    description: "leases of lanes",
    max_age: Duration::from_secs(15),
    value_bytes_max: 4 * 1024,
};

/// Bucket of the last known sequences of ledger and registry, for a process that starts after a failure.
pub static MARKS_BUCKET: BucketDefinition = BucketDefinition {
    id: StreamId::Marks,
    name: "imchannel_marks",
    stream: StreamId::Marks.name(),
    description: "how far sequences had come",
    max_age: Duration::ZERO,
    value_bytes_max: 4 * 1024,
};

/// Every bucket.
pub static BUCKETS: [&BucketDefinition; 4] = [&CHANNELS_BUCKET, &SENDS_BUCKET, &LANES_BUCKET, &MARKS_BUCKET];

/// Settings of an installation that the operator chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// Replicas of every stream and bucket: 1, 3 or 5.
    pub replicas: usize,
    /// Time for which a repeated `Nats-Msg-Id` is recognized.
    pub duplicate_window: Duration,
    /// Limit of WEBHOOKS, in bytes.
    pub webhooks_max_bytes: u64,
    /// Limit of EVENTS, in bytes.
    pub events_max_bytes: u64,
    /// Limit of COMMANDS, in bytes.
    pub commands_max_bytes: u64,
    /// Limit of DEADLETTERS, in bytes.
    pub deadletters_max_bytes: u64,
    /// Limit of the ledger of sends, in bytes.
    pub sends_max_bytes: u64,
}

/// Default size of the ledger in bytes: 5 million sends of 430 bytes in the 26 hours that it keeps, 48 a second on
/// average. A NATS server needs 1.2 GiB of memory for them ([`crate::schema::ledger_size`]), so a larger ledger needs a larger
/// server.
pub const SENDS_MAX_BYTES_DEFAULT: u64 = 2048 * MIB;

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            replicas: 1,
            // The events of a normalizer that died are published again after its ack wait.
            duplicate_window: NORMALIZER.ack_wait + Duration::from_secs(10),
            webhooks_max_bytes: WEBHOOKS.max_bytes_default,
            events_max_bytes: EVENTS.max_bytes_default,
            commands_max_bytes: COMMANDS.max_bytes_default,
            deadletters_max_bytes: DEADLETTERS.max_bytes_default,
            sends_max_bytes: SENDS_MAX_BYTES_DEFAULT,
        }
    }
}

/// The [`StreamSettings`] that an operator names. Others stay as they are on the server, or get their default if
/// nothing is stored there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedSettings {
    /// Replicas of every stream and bucket.
    pub replicas: Option<usize>,
    /// Time for which a repeated `Nats-Msg-Id` is recognized.
    pub duplicate_window: Option<Duration>,
    /// Limit of WEBHOOKS, in bytes.
    pub webhooks_max_bytes: Option<u64>,
    /// Limit of EVENTS, in bytes.
    pub events_max_bytes: Option<u64>,
    /// Limit of COMMANDS, in bytes.
    pub commands_max_bytes: Option<u64>,
    /// Limit of DEADLETTERS, in bytes.
    pub deadletters_max_bytes: Option<u64>,
    /// Limit of the ledger of sends, in bytes.
    pub sends_max_bytes: Option<u64>,
}

impl From<&StreamSettings> for NamedSettings {
    fn from(all: &StreamSettings) -> Self {
        Self {
            replicas: Some(all.replicas),
            duplicate_window: Some(all.duplicate_window),
            webhooks_max_bytes: Some(all.webhooks_max_bytes),
            events_max_bytes: Some(all.events_max_bytes),
            commands_max_bytes: Some(all.commands_max_bytes),
            deadletters_max_bytes: Some(all.deadletters_max_bytes),
            sends_max_bytes: Some(all.sends_max_bytes),
        }
    }
}

impl NamedSettings {
    /// Returns all settings, with these for the ones that are not named.
    pub(crate) fn or(&self, defaults: &StreamSettings) -> StreamSettings {
        StreamSettings {
            replicas: self.replicas.unwrap_or(defaults.replicas),
            duplicate_window: self.duplicate_window.unwrap_or(defaults.duplicate_window),
            webhooks_max_bytes: self.webhooks_max_bytes.unwrap_or(defaults.webhooks_max_bytes),
            events_max_bytes: self.events_max_bytes.unwrap_or(defaults.events_max_bytes),
            commands_max_bytes: self.commands_max_bytes.unwrap_or(defaults.commands_max_bytes),
            deadletters_max_bytes: self.deadletters_max_bytes.unwrap_or(defaults.deadletters_max_bytes),
            sends_max_bytes: self.sends_max_bytes.unwrap_or(defaults.sends_max_bytes),
        }
    }

    /// Whether the size of a stream is named.
    pub(crate) fn is_size_named(&self, stream: StreamId) -> bool {
        let size = match stream {
            StreamId::Webhooks => self.webhooks_max_bytes,
            StreamId::Events => self.events_max_bytes,
            StreamId::Commands => self.commands_max_bytes,
            StreamId::DeadLetters => self.deadletters_max_bytes,
            StreamId::Sends => self.sends_max_bytes,
            StreamId::Channels | StreamId::Lanes | StreamId::Marks => None,
        };
        size.is_some()
    }
}

impl StreamSettings {
    /// Returns the limit of a stream in bytes; `None` for no limit. Channels, leases and marks are few.
    pub(crate) fn max_bytes(&self, stream: StreamId) -> Option<u64> {
        match stream {
            StreamId::Webhooks => Some(self.webhooks_max_bytes),
            StreamId::Events => Some(self.events_max_bytes),
            StreamId::Commands => Some(self.commands_max_bytes),
            StreamId::DeadLetters => Some(self.deadletters_max_bytes),
            StreamId::Sends => Some(self.sends_max_bytes),
            StreamId::Channels | StreamId::Lanes | StreamId::Marks => None,
        }
    }

    /// JetStream requires a window that is not longer than the maximum age; the longest window of every stream is
    /// shorter.
    pub(crate) fn duplicate_window(&self, stream: &StreamDefinition) -> Duration {
        self.duplicate_window.min(stream.duplicate_window_max)
    }
}
