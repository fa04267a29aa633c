//! Reads the state of the bus, for tools that inspect an installation from outside. All values are plain data without a
//! judgment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Info, Stream};
use bsp::ChannelId;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use crate::admin::command_consumers;
use crate::client::connect::Bus;
use crate::client::jetstream_errors::is_missing;
use crate::client::versions::{self, ServerVersion};
use crate::provision::ProvisionError;
use crate::provision::find::find_stream;
use crate::read::ReadError;
use crate::schema::stream_id::StreamId;
use crate::schema::streams::{
    COMMANDS, DURABLES, DurableDefinition, LANES_BUCKET, LaneConsumer, STREAMS, WEBHOOKS,
};
use crate::schema::subject::Priority;
use crate::schema::timestamps::to_timestamp;

/// Most leases that are read concurrently.
const LEASES_AT_ONCE: usize = 32;
/// Inactivity after which the server removes an ephemeral consumer of ours that was not deleted.
const CONSUMER_LIFE: Duration = Duration::from_secs(5);

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The server of this connection.
#[derive(Debug, Clone)]
pub struct ServerInfo {
    /// Its version, such as `2.10.27`.
    pub version: String,
    /// Name of its cluster; `None` if it is in none.
    pub cluster: Option<String>,
    /// Largest message that it accepts (`max_payload`), in bytes.
    pub payload_max: usize,
}

/// A replica of a stream other than the leader.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    /// Name of its server.
    pub name: String,
    /// Whether it is up to date.
    pub is_current: bool,
    /// Whether its server is offline.
    pub is_offline: bool,
}

/// A stream, or the stream behind a bucket.
#[derive(Debug, Clone)]
pub struct StreamInfo {
    /// Which stream it is.
    pub id: StreamId,
    /// Number of stored messages.
    pub messages: u64,
    /// Stored bytes.
    pub bytes: u64,
    /// Its limit in bytes; `None` for no limit but the server's.
    pub max_bytes: Option<u64>,
    /// How long it keeps a message; zero for no limit.
    pub max_age: Duration,
    /// Configured number of replicas.
    pub replicas: usize,
    /// Its deduplication window.
    pub duplicate_window: Duration,
    /// When its oldest message was stored.
    pub first_time: Option<Timestamp>,
    /// The sequence of its newest message, even if that is no longer stored.
    pub last_sequence: u64,
    /// When its newest message was stored.
    pub last_time: Option<Timestamp>,
    /// Whether it has a leader, without which it is unavailable; `None` if the server does not say.
    pub has_leader: Option<bool>,
    /// Its other replicas.
    pub peers: Vec<PeerInfo>,
}

impl StreamInfo {
    /// An empty stream without a limit.
    pub const fn new(id: StreamId) -> Self {
        Self {
            id,
            messages: 0,
            bytes: 0,
            max_bytes: None,
            max_age: Duration::ZERO,
            replicas: 1,
            duplicate_window: Duration::ZERO,
            first_time: None,
            last_sequence: 0,
            last_time: None,
            has_leader: None,
            peers: Vec::new(),
        }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.id.name()
    }
}

/// A durable consumer.
#[derive(Debug, Clone)]
pub struct ConsumerInfo {
    /// Its stream.
    pub stream: StreamId,
    /// Its name.
    pub name: String,
    /// The channel of its lane; `None` for a consumer of a whole stream.
    pub channel: Option<ChannelId>,
    /// The queue of its lane; `None` for a consumer of a whole stream.
    pub queue: Option<Priority>,
    /// Last delivered stream sequence.
    pub delivered: u64,
    /// Ack floor: the stream sequence up to which every message is acked.
    pub acknowledged: u64,
    /// Messages that were not delivered yet (`num_pending`).
    pub pending: u64,
    /// Messages that were delivered and not acked (`num_ack_pending`).
    pub held: u64,
    /// Open pull requests (`num_waiting`).
    pub requests: usize,
    /// When the oldest message that is not acked was stored; `None` if all are acked, or if it cannot be read.
    pub oldest: Option<Timestamp>,
}

impl ConsumerInfo {
    /// A consumer that has delivered nothing.
    pub const fn new(stream: StreamId, name: String) -> Self {
        Self {
            stream,
            name,
            channel: None,
            queue: None,
            delivered: 0,
            acknowledged: 0,
            pending: 0,
            held: 0,
            requests: 0,
            oldest: None,
        }
    }

    /// Age of the oldest message that is not acked, in seconds: 0 if all are acked, `None` if it cannot be read.
    pub fn oldest_age_s(&self, now: Timestamp) -> Option<i64> {
        if self.pending + self.held == 0 {
            return Some(0);
        }
        self.oldest.map(|oldest| now.duration_since(oldest).as_secs().max(0))
    }
}

/// A lease.
#[derive(Debug, Clone)]
pub struct LeaseInfo {
    /// Its name.
    pub name: String,
    /// What its owner wrote.
    pub value: Bytes,
    /// When it was last renewed, by the server's clock.
    pub renewed_at: Timestamp,
}

/// The server's time, and the local times before the request and after the response.
#[derive(Debug, Clone, Copy)]
pub struct ClockSample {
    /// Local time before the request.
    pub asked_at: Timestamp,
    /// The server's time.
    pub said: Timestamp,
    /// Local time after the response.
    pub heard_at: Timestamp,
}

/// What the server reported of itself when the client connected.
pub fn server(bus: &Bus) -> ServerInfo {
    let info = bus.client.server_info();
    let cluster = info.cluster.filter(|name| !name.is_empty());
    ServerInfo { version: info.version, cluster, payload_max: info.max_payload }
}

/// Every server that holds one of our streams or responded, by name, with its version if it is known.
///
/// # Errors
/// [`ProvisionError`] when the server does not respond.
pub async fn server_versions(bus: &Bus) -> Result<BTreeMap<String, Option<ServerVersion>>, ProvisionError> {
    let mut holders = BTreeSet::new();
    for id in StreamId::ALL {
        if let Some(stream) = find_stream(bus, id).await? {
            holders.extend(versions::holders(stream.cached_info()));
        }
    }
    let known = bus.server_versions(&holders).await;
    let unknown = holders.into_iter().map(|name| (name, None));
    Ok(unknown.chain(known.into_iter().map(|(name, version)| (name, Some(version)))).collect())
}

/// Usage and limits of the account, as JSON of JetStream's response, whose form depends on the server's version.
///
/// # Errors
/// [`ReadError`] when the server does not respond.
pub async fn account(bus: &Bus) -> Result<Bytes, ReadError> {
    let answer = bus.client.request("$JS.API.INFO", Bytes::new()).await;
    Ok(answer.map_err(|error| ReadError::new("account", error))?.payload)
}

/// All streams, including those of the buckets. Missing ones are left out.
///
/// # Errors
/// [`ProvisionError`] when the server does not respond.
pub async fn streams(bus: &Bus) -> Result<Vec<StreamInfo>, ProvisionError> {
    let mut seen = Vec::new();
    for id in StreamId::ALL {
        if let Some(stream) = find_stream(bus, id).await? {
            seen.push(stream_info(id, stream.cached_info()));
        }
    }
    Ok(seen)
}

pub(crate) fn stream_info(id: StreamId, info: &Info) -> StreamInfo {
    let (state, config) = (&info.state, &info.config);
    let time =
        |time: time::OffsetDateTime| (state.messages > 0).then(|| to_timestamp(time.unix_timestamp_nanos()));
    let cluster = info.cluster.as_ref();
    let peers = cluster.map(|cluster| &*cluster.replicas).unwrap_or_default().iter();
    StreamInfo {
        id,
        messages: state.messages,
        bytes: state.bytes,
        // Servers write "no limit" as 0 or -1.
        max_bytes: u64::try_from(config.max_bytes).ok().filter(|bytes| *bytes > 0),
        max_age: config.max_age,
        replicas: config.num_replicas,
        duplicate_window: config.duplicate_window,
        first_time: time(state.first_timestamp),
        last_sequence: state.last_sequence,
        last_time: time(state.last_timestamp),
        has_leader: cluster.map(|cluster| cluster.leader.as_ref().is_some_and(|name| !name.is_empty())),
        peers: peers
            .map(|peer| PeerInfo {
                name: peer.name.clone(),
                is_current: peer.current,
                is_offline: peer.offline,
            })
            .collect(),
    }
}

/// The durable consumers of whole streams. Missing ones are left out.
///
/// # Errors
/// [`ReadError`] when a stream is missing or unavailable.
pub async fn durables(bus: &Bus) -> Result<Vec<ConsumerInfo>, ReadError> {
    let mut seen = Vec::new();
    for durable in DURABLES {
        let name = durable.stream.name;
        let stream = bus.jetstream.get_stream(name).await.map_err(|error| ReadError::new(name, error))?;
        seen.extend(durable_info(&stream, durable).await?);
    }
    Ok(seen)
}

/// Reads a durable consumer of a whole stream, with its oldest message; `None` if it is missing.
async fn durable_info(
    stream: &Stream,
    durable: &DurableDefinition,
) -> Result<Option<ConsumerInfo>, ReadError> {
    let found = consumer_info(stream, durable.stream.id, durable.name.to_owned()).await?;
    let Some(mut found) = found else { return Ok(None) };
    if found.pending + found.held > 0 {
        let sequence = (found.acknowledged + 1).max(stream.cached_info().state.first_sequence);
        let oldest = stream.get_raw_message(sequence).await.ok();
        found.oldest = oldest.map(|message| to_timestamp(message.time.unix_timestamp_nanos()));
    }
    Ok(Some(found))
}

/// All streams of messages and their durable consumers at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The streams that answered.
    pub streams: Vec<StreamInfo>,
    /// The durable consumers that answered.
    pub durables: Vec<ConsumerInfo>,
}

/// Reads the streams of messages and their durable consumers. What does not respond is left out.
pub async fn snapshot(bus: &Bus) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for definition in STREAMS {
        let Ok(stream) = bus.jetstream.get_stream(definition.name).await else { continue };
        snapshot.streams.push(stream_info(definition.id, stream.cached_info()));
        for durable in DURABLES.iter().filter(|durable| durable.stream.id == definition.id) {
            snapshot.durables.extend(durable_info(&stream, durable).await.ok().flatten());
        }
    }
    snapshot
}

/// The durable consumers of a channel's lane. Missing ones are left out.
///
/// # Errors
/// [`ReadError`] when stream COMMANDS is missing or unavailable.
pub async fn lane_durables(bus: &Bus, channel: &ChannelId) -> Result<Vec<ConsumerInfo>, ReadError> {
    let stream = bus.jetstream.get_stream_no_info(COMMANDS.name).await;
    let stream = stream.map_err(|error| ReadError::new(COMMANDS.name, error))?;
    let mut seen = Vec::new();
    for queue in Priority::ALL {
        let LaneConsumer { name, filter } = LaneConsumer::of(queue, channel);
        let Some(mut found) = consumer_info(&stream, COMMANDS.id, name).await? else { continue };
        if found.pending + found.held > 0 {
            let oldest = command_consumers::next_stored(bus, &filter, found.acknowledged + 1).await?;
            found.oldest = oldest.map(|command| command.stored_at);
        }
        seen.push(ConsumerInfo { channel: Some(channel.clone()), queue: Some(queue), ..found });
    }
    Ok(seen)
}

async fn consumer_info<I>(
    stream: &Stream<I>,
    id: StreamId,
    name: String,
) -> Result<Option<ConsumerInfo>, ReadError> {
    let info = match stream.consumer_info(&name).await {
        Ok(info) => info,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(ReadError::new(id.name(), error)),
    };
    Ok(Some(ConsumerInfo {
        delivered: info.delivered.stream_sequence,
        acknowledged: info.ack_floor.stream_sequence,
        pending: info.num_pending,
        held: info.num_ack_pending as u64,
        requests: info.num_waiting,
        ..ConsumerInfo::new(id, name)
    }))
}

/// Number of messages of a stream that were stored at `since` or later, and the server's time. No message is read: a
/// temporary consumer counts them.
///
/// # Errors
/// [`ReadError`] when the stream is missing or unavailable.
pub async fn stored_since(
    bus: &Bus,
    id: StreamId,
    since: Timestamp,
) -> Result<(u64, ClockSample), ReadError> {
    let fail = |source: Source| ReadError::new(id.name(), source);
    let start_time = time::OffsetDateTime::from_unix_timestamp_nanos(since.as_nanosecond());
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartTime {
            start_time: start_time.map_err(|error| fail(error.into()))?,
        },
        ack_policy: AckPolicy::None,
        headers_only: true,
        inactive_threshold: CONSUMER_LIFE,
        ..pull::Config::default()
    };
    let stream = bus.jetstream.get_stream_no_info(id.name()).await.map_err(|error| fail(error.into()))?;
    let asked_at = Timestamp::now();
    let consumer = stream.create_consumer(config).await.map_err(|error| fail(error.into()))?;
    let heard_at = Timestamp::now();
    let info = consumer.cached_info();
    let said = to_timestamp(info.created.unix_timestamp_nanos());
    // The server deletes it by itself if this is not allowed.
    let _ = stream.delete_consumer(&info.name).await;
    Ok((info.num_pending, ClockSample { asked_at, said, heard_at }))
}

/// Every subject of WEBHOOKS that holds a message, with its number of messages.
///
/// # Errors
/// [`ReadError`] when the stream is missing or unavailable.
pub async fn webhook_subjects(bus: &Bus) -> Result<Vec<(String, usize)>, ReadError> {
    let fail = |source: Source| ReadError::new(WEBHOOKS.name, source);
    let stream = bus.jetstream.get_stream_no_info(WEBHOOKS.name).await.map_err(|error| fail(error.into()))?;
    let counts = stream.info_with_subjects(WEBHOOKS.subjects[0]).await.map_err(|error| fail(error.into()))?;
    counts.try_collect().await.map_err(|error| fail(error.into()))
}

/// All leases that were not released.
///
/// # Errors
/// [`ReadError`] when the bucket is missing or unavailable.
pub async fn leases(bus: &Bus) -> Result<Vec<LeaseInfo>, ReadError> {
    let fail = |source: Source| ReadError::new(LANES_BUCKET.name, source);
    let bucket = bus.jetstream.get_key_value(LANES_BUCKET.name).await.map_err(|error| fail(error.into()))?;
    let keys = bucket.keys().await.map_err(|error| fail(error.into()))?;
    let keys: Vec<String> = keys.try_collect().await.map_err(|error| fail(error.into()))?;
    let bucket = &bucket;
    let reads = keys.into_iter().map(|name| async move {
        let entry = bucket.entry(&name).await?;
        // A lease that was deleted in between is not an error.
        Ok(entry.map(|entry| {
            let renewed_at = to_timestamp(entry.created.unix_timestamp_nanos());
            LeaseInfo { name, value: entry.value, renewed_at }
        }))
    });
    let reads = stream::iter(reads).buffer_unordered(LEASES_AT_ONCE);
    let found: Vec<_> = reads
        .try_collect()
        .await
        .map_err(|error: async_nats::jetstream::kv::EntryError| fail(error.into()))?;
    Ok(found.into_iter().flatten().collect())
}
