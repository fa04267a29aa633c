//! The registry of channels: a KV bucket that the operator writes and every service watches.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv::{Entry, Operation, Store};
use channel::{Channel, Channels, InvalidRecord, Record};
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connect::Bus;
use crate::streams::CHANNELS_BUCKET;

/// Between two attempts to read the registry.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The registry could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The bucket is missing or out of reach.
    #[error("the bucket of channels is not there; was `imchannel streams apply` run?")]
    Bucket(#[source] Source),
    /// Reading failed.
    #[error("cannot read the channels")]
    Read(#[source] Source),
    /// Writing one channel failed.
    #[error("cannot write channel {id}")]
    Write {
        /// The channel.
        id: String,
        /// What the server said.
        #[source]
        source: Source,
    },
}

async fn bucket(bus: &Bus) -> Result<Store, RegistryError> {
    bus.jetstream
        .get_key_value(CHANNELS_BUCKET.name)
        .await
        .map_err(|error| RegistryError::Bucket(error.into()))
}

/// A stored channel: its id, and its record or why there is none.
pub type Stored = (String, Result<Record, InvalidRecord>);

/// All stored channels, by id.
///
/// # Errors
/// [`RegistryError`] when the bucket cannot be read. A value that is no channel is told in its place.
pub async fn list(bus: &Bus) -> Result<Vec<Stored>, RegistryError> {
    let bucket = bucket(bus).await?;
    let keys = bucket.keys().await.map_err(|error| RegistryError::Read(error.into()))?;
    let mut keys: Vec<String> =
        keys.try_collect().await.map_err(|error| RegistryError::Read(error.into()))?;
    keys.sort();
    let mut records = Vec::with_capacity(keys.len());
    for key in keys {
        // A key that was removed meanwhile is no fault.
        let value = bucket.get(&key).await.map_err(|error| RegistryError::Read(error.into()))?;
        if let Some(value) = value {
            let record = Record::from_json(&key, &value);
            records.push((key, record));
        }
    }
    Ok(records)
}

/// Stores a channel under its id.
///
/// # Errors
/// [`RegistryError::Write`] when it was not stored.
pub async fn put(bus: &Bus, record: &Record) -> Result<(), RegistryError> {
    let written = bucket(bus).await?.put(&record.id, record.to_json().into()).await;
    written.map_err(|error| RegistryError::Write { id: record.id.clone(), source: error.into() })?;
    Ok(())
}

/// Removes a channel. Removing one that is not there is no fault.
///
/// # Errors
/// [`RegistryError::Write`] when it was not removed.
pub async fn remove(bus: &Bus, id: &str) -> Result<(), RegistryError> {
    let removed = bucket(bus).await?.purge(id).await;
    removed.map_err(|error| RegistryError::Write { id: id.to_owned(), source: error.into() })
}

/// The channels as last read; `None` until the registry was read once.
pub type Snapshots = watch::Receiver<Option<Arc<Channels>>>;

/// Follows the registry until `stop`. While the bus is away the last channels stay; after every reconnection all
/// of them are read anew.
pub fn follow(bus: &Bus, stop: CancellationToken) -> Snapshots {
    let (sender, receiver) = watch::channel(None);
    let bus = bus.clone();
    tokio::spawn(async move {
        let following = async {
            loop {
                if let Err(error) = follow_once(&bus, &sender).await {
                    tracing::debug!(function = "registry", "reading the channels failed: {error}");
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

/// Reads all channels and then every change, until something breaks or the connection was lost.
async fn follow_once(bus: &Bus, sender: &watch::Sender<Option<Arc<Channels>>>) -> Result<(), RegistryError> {
    bus.connected().await;
    let mut connections = bus.connections();
    connections.mark_unchanged();
    let opening = async {
        let bucket = bucket(bus).await?;
        let status = bucket.status().await.map_err(|error| RegistryError::Read(error.into()))?;
        let entries =
            bucket.watch_with_history(">").await.map_err(|error| RegistryError::Read(error.into()))?;
        Ok((status.values(), entries))
    };
    // A reply that went down with a connection would be waited for in vain.
    let opened = tokio::select! {
        opened = opening => opened,
        _ = connections.changed() => return Ok(()),
    };
    let (stored, mut entries) = opened?;
    // What was known before a reconnection, for values that this version cannot read. Only the first reading may
    // look at it: what is changed after that is meant as it is.
    let mut known = sender.borrow().clone().unwrap_or_default();
    let mut channels = Channels::default();
    let mut is_complete = stored == 0;
    loop {
        if is_complete {
            known = Arc::default();
            sender.send_replace(Some(Arc::new(channels.clone())));
        }
        let entry = tokio::select! {
            entry = entries.next() => entry,
            _ = connections.changed() => return Ok(()),
        };
        let Some(entry) = entry else { return Ok(()) };
        let entry = entry.map_err(|error| RegistryError::Read(error.into()))?;
        is_complete |= entry.delta == 0;
        take(entry, &known, &mut channels);
    }
}

/// Applies one change. A value that is no channel leaves the channel as it was: a newer writer must not take a
/// working channel away from an older service.
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
