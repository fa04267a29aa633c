//! The registry of channels: a KV bucket that the operator writes and every service watches.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::NATS_SEQUENCE;
use async_nats::jetstream::kv::{CreateErrorKind, Entry, Operation, Store, UpdateErrorKind};
use bytes::Bytes;
use channel::{Channel, Channels, InvalidRecord, Record};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::connect::Bus;
use crate::schema::stream_id::StreamId;
use crate::schema::streams::CHANNELS_BUCKET;

/// Delay between two attempts to read the registry.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Timeout of reading the bucket's last sequence, in services that check it.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// Interval of comparing the bucket with the one that is watched.
const COMPARE_INTERVAL: Duration = Duration::from_secs(5);
/// Most channels that are read concurrently.
const READS_AT_ONCE: usize = 32;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The registry could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The bucket is missing or unavailable.
    #[error(
        "the bucket of channels is missing or unavailable; run `imchannel streams apply` if it was not created"
    )]
    Bucket(#[source] Source),
    /// The bucket may have lost channels.
    #[error("the sequence of the bucket of channels has gone back, or was not checked yet")]
    GoneBack,
    /// Reading failed.
    #[error("cannot read the channels")]
    Read(#[source] Source),
    /// Writing one channel failed.
    #[error("cannot write channel {id}")]
    Write {
        /// The channel.
        id: String,
        /// Response of the server.
        #[source]
        source: Source,
    },
    /// Another operator has written or deleted the channel since it was read.
    #[error("another operator changed channel {id} at the same time")]
    Changed {
        /// The channel.
        id: String,
    },
}

/// Revision of a stored channel. Every write creates a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision(pub u64);

/// A stored channel and its revision. A change names the revision that it is based on, so that two operators cannot
/// undo each other's changes.
#[derive(Debug)]
pub struct StoredChannel {
    /// Its id.
    pub id: String,
    /// Its revision.
    pub revision: Revision,
    /// Its record, or why it is invalid.
    pub record: Result<Record, InvalidRecord>,
}

impl StoredChannel {
    fn of(entry: &Entry) -> Option<Self> {
        if entry.operation != Operation::Put {
            return None;
        }
        let record = Record::from_json(&entry.key, &entry.value);
        Some(Self { id: entry.key.clone(), revision: Revision(entry.revision), record })
    }
}

async fn bucket(bus: &Bus) -> Result<Store, RegistryError> {
    bus.jetstream
        .get_key_value(CHANNELS_BUCKET.name)
        .await
        .map_err(|error| RegistryError::Bucket(error.into()))
}

/// All stored channels, by id.
///
/// # Errors
/// [`RegistryError`] if the bucket cannot be read. An invalid value is returned in its place.
pub async fn list(bus: &Bus) -> Result<Vec<StoredChannel>, RegistryError> {
    let bucket = bucket(bus).await?;
    // The client's own list of keys would wait for a message that it takes for a status of the server.
    let counts =
        bucket.stream.info_with_subjects(">").await.map_err(|error| RegistryError::Read(error.into()))?;
    let subjects: Vec<(String, usize)> =
        counts.try_collect().await.map_err(|error| RegistryError::Read(error.into()))?;
    let key_of = |(subject, _): (String, usize)| subject.strip_prefix(&bucket.prefix).map(str::to_owned);
    let mut keys: Vec<String> = subjects.into_iter().filter_map(key_of).collect();
    keys.sort_unstable();
    let bucket = &bucket;
    let reads = keys.into_iter().map(|key| async move { read_from(bus, bucket, &key).await });
    let found: Vec<Option<StoredChannel>> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
    // A key that was removed in between is not an error.
    Ok(found.into_iter().flatten().collect())
}

/// One stored channel; `None` if the id is unknown.
///
/// # Errors
/// As [`list`].
pub async fn read(bus: &Bus, id: &str) -> Result<Option<StoredChannel>, RegistryError> {
    read_from(bus, &bucket(bus).await?, id).await
}

async fn read_from(bus: &Bus, bucket: &Store, id: &str) -> Result<Option<StoredChannel>, RegistryError> {
    let entry = bucket.entry(id).await.map_err(|error| RegistryError::Read(error.into()))?;
    match entry {
        Some(entry) => Ok(StoredChannel::of(&entry)),
        None => read_status(bus, bucket, id).await,
    }
}

/// Reads a value that begins like a status of the server. The client takes it for the response that nothing is stored.
/// It is not a channel, and can be replaced like any other value.
async fn read_status(bus: &Bus, bucket: &Store, id: &str) -> Result<Option<StoredChannel>, RegistryError> {
    let asked = format!("$JS.API.DIRECT.GET.{}.{}{id}", CHANNELS_BUCKET.stream, bucket.prefix);
    let asking = bus.client.request(asked, Bytes::new());
    let answer = asking.await.map_err(|error| RegistryError::Read(error.into()))?;
    let sequence = answer.headers.as_ref().and_then(|headers| headers.get(NATS_SEQUENCE));
    let Some(revision) = sequence.and_then(|sequence| sequence.as_str().parse().ok()) else {
        return Ok(None);
    };
    let record = Record::from_json(id, &answer.payload);
    Ok(Some(StoredChannel { id: id.to_owned(), revision: Revision(revision), record }))
}

/// Stores a channel under its id, and overwrites what is stored there.
///
/// # Errors
/// [`RegistryError::Write`] when it was not stored.
pub async fn put(bus: &Bus, record: &Record) -> Result<(), RegistryError> {
    let written = bucket(bus).await?.put(&record.id, record.to_json().into()).await;
    written.map_err(|error| RegistryError::Write { id: record.id.clone(), source: error.into() })?;
    Ok(())
}

/// Stores a channel under its id if the stored revision is `expected`; `None` expects that nothing is stored.
///
/// # Errors
/// [`RegistryError::Changed`] when something else is stored there, [`RegistryError::Write`] when it was not stored.
pub async fn replace(bus: &Bus, record: &Record, expected: Option<Revision>) -> Result<(), RegistryError> {
    let bucket = bucket(bus).await?;
    let (id, value) = (record.id.clone(), record.to_json().into());
    let Some(Revision(expected)) = expected else {
        return match bucket.create(&id, value).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {
                Err(RegistryError::Changed { id })
            }
            Err(error) => Err(RegistryError::Write { id, source: error.into() }),
        };
    };
    match bucket.update(&id, value, expected).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
            Err(RegistryError::Changed { id })
        }
        Err(error) => Err(RegistryError::Write { id, source: error.into() }),
    }
}

/// Deletes a channel if its revision is `expected`. A delete marker replaces its value.
///
/// # Errors
/// [`RegistryError::Changed`] when it is not, [`RegistryError::Write`] when it was not removed.
pub async fn remove(bus: &Bus, id: &str, expected: Revision) -> Result<(), RegistryError> {
    let id = id.to_owned();
    match bucket(bus).await?.delete_expect_revision(&id, Some(expected.0)).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
            Err(RegistryError::Changed { id })
        }
        Err(error) => Err(RegistryError::Write { id, source: error.into() }),
    }
}

/// The channels as last read; `None` until the registry was read for the first time.
pub type Snapshots = watch::Receiver<Option<Arc<Channels>>>;

/// Watches the registry until `stop`. The last channels stay while the bus is unavailable; after every reconnection, and when the bucket
/// is another one, all of them are read again.
pub fn watch(bus: &Bus, stop: CancellationToken) -> Snapshots {
    let (sender, receiver) = watch::channel(None);
    let bus = bus.clone();
    tokio::spawn(async move {
        let following = async {
            loop {
                if let Err(error) = follow_once(&bus, &sender).await {
                    tracing::debug!(function = "registry", "cannot read the channels: {error}");
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = following => {}
        }
    });
    receiver
}

/// Reads all channels and then every change, until an error or a lost connection.
async fn follow_once(bus: &Bus, sender: &watch::Sender<Option<Arc<Channels>>>) -> Result<(), RegistryError> {
    bus.connected().await;
    let mut connections = bus.connections();
    connections.mark_unchanged();
    let opening = async {
        let bucket = bucket(bus).await?;
        // If the server has lost channels, a service keeps those that it has.
        if !bus.sequences.looked_at_by(StreamId::Channels, Instant::now() + LOOK_LIMIT).await
            || bus.sequences.place(StreamId::Channels).is_refused()
        {
            return Err(RegistryError::GoneBack);
        }
        let status = bucket.status().await.map_err(|error| RegistryError::Read(error.into()))?;
        let entries =
            bucket.watch_with_history(">").await.map_err(|error| RegistryError::Read(error.into()))?;
        Ok((bucket, status, entries))
    };
    // A response that was lost with the connection would never come.
    let opened = tokio::select! {
        opened = opening => opened,
        _ = connections.changed() => return Ok(()),
    };
    let (bucket, status, mut entries) = opened?;
    let mut watched = Watched { created_at: status.info.created, revision: 0 };
    let mut compare = tokio::time::interval_at(Instant::now() + COMPARE_INTERVAL, COMPARE_INTERVAL);
    // The channels before a reconnection, for values that this version cannot read. Only the first reading uses them:
    // later changes are applied as they are.
    let mut known = sender.borrow().clone().unwrap_or_default();
    let mut channels = Channels::default();
    let mut is_complete = status.values() == 0;
    loop {
        if is_complete {
            known = Arc::default();
            sender.send_replace(Some(Arc::new(channels.clone())));
        }
        let entry = loop {
            tokio::select! {
                entry = entries.next() => break entry,
                _ = connections.changed() => return Ok(()),
                _ = compare.tick() => {}
            }
            if watched.is_replaced(&bucket).await {
                return Ok(());
            }
        };
        let Some(entry) = entry else { return Ok(()) };
        let entry = entry.map_err(|error| RegistryError::Read(error.into()))?;
        watched.revision = entry.revision;
        is_complete |= entry.delta == 0;
        take(entry, &known, &mut channels);
    }
}

/// The bucket that is watched.
struct Watched {
    created_at: time::OffsetDateTime,
    /// Of the last change.
    revision: u64,
}

impl Watched {
    /// Whether the bucket was deleted and created again, or restored from an older copy, and has channels. From nats-server 2.11 on, the
    /// watcher is silent then until the bucket has as many changes as it has seen (pull request 6253).
    async fn is_replaced(&self, bucket: &Store) -> bool {
        // While the server does not answer, nothing is known.
        let Ok(found) = bucket.stream.get_info().await else { return false };
        let is_other = found.created != self.created_at || found.state.last_sequence < self.revision;
        // A service keeps its channels until others are applied.
        is_other && found.state.messages > 0
    }
}

/// Applies one change. An invalid value leaves the channel unchanged: a newer writer must not remove a working channel
/// from an older service.
fn take(entry: Entry, known: &Channels, channels: &mut Channels) {
    if entry.operation != Operation::Put {
        channels.remove(&entry.key);
        tracing::info!(function = "registry", channel = entry.key, "channel {} was removed", entry.key);
        return;
    }
    let channel = Record::from_json(&entry.key, &entry.value).and_then(|record| record.to_channel());
    match channel {
        Ok(channel) => channels.insert(channel),
        Err(error) => {
            tracing::error!(
                function = "registry",
                channel = entry.key,
                "a stored channel is ignored: {error}"
            );
            if let (Some(channel), None) = (known.get(&entry.key), channels.get(&entry.key)) {
                channels.insert(Channel::clone(channel));
            }
        }
    }
}
