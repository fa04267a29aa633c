//! Creates and updates the streams, durables and buckets of [`crate::schema::streams`], and compares them with their
//! definitions.
//!
//! Only one writer applies them (the operator's command line), so that two versions that run at the same time never
//! change a configuration back and forth. The command line compares exactly; services check only what they need
//! ([`crate::provision::needs`]).

mod compare;
mod config;
pub mod difference;
mod error;
pub(crate) mod find;
pub mod needs;
pub mod readiness;
mod server_needs;

use std::collections::HashMap;

use async_nats::jetstream;
use async_nats::jetstream::stream::Config;

use crate::client::connect::Bus;
pub use crate::provision::compare::{Scope, check};
use crate::provision::compare::{is_as_wanted, with_found};
use crate::provision::config::{bucket_config, durable_config, stream_config};
pub use crate::provision::difference::{Difference, Object, Setting};
pub use crate::provision::error::{InsufficientStorage, ProvisionError};
pub(crate) use crate::provision::error::{durable_error, stream_error};
use crate::provision::find::find_stream;
use crate::provision::server_needs::ServerNeeds;
use crate::schema::stream_id::StreamId;
use crate::schema::streams::{BUCKETS, DURABLES, DurableDefinition, NamedSettings, STREAMS, StreamSettings};

/// Creates or updates all streams, durable consumers and buckets. It can be repeated.
///
/// # Errors
/// [`ProvisionError`] at the first thing that the server refuses.
pub async fn apply(bus: &Bus, settings: &StreamSettings) -> Result<(), ProvisionError> {
    apply_named(bus, &NamedSettings::from(settings)).await
}

/// Like [`apply`], but sizes, replicas and windows that are not named stay as they are on the server.
///
/// # Errors
/// [`ProvisionError`] at the first thing that the server refuses.
pub async fn apply_named(bus: &Bus, named: &NamedSettings) -> Result<(), ProvisionError> {
    let found = find_all(bus).await?;
    // A new stream gets as many replicas as the existing ones have.
    let replicas = found.values().map(|config| config.num_replicas).max().unwrap_or(1);
    let settings = named.or(&StreamSettings { replicas, ..StreamSettings::default() });
    let needs = ServerNeeds::of(bus).await;
    for definition in STREAMS {
        let wanted = stream_config(definition, &settings);
        let mut wanted = with_found(definition.id, wanted, named, found.get(&definition.id));
        wanted.allow_atomic_publish |= needs.are_batches_known;
        wanted.max_consumers = needs.consumers_max.unwrap_or(wanted.max_consumers);
        if found.get(&definition.id).is_some_and(|found| is_as_wanted(definition.id, found, &wanted)) {
            continue;
        }
        write(bus, definition.id, wanted).await?;
    }
    for definition in DURABLES {
        apply_durable(bus, definition).await?;
    }
    for definition in BUCKETS {
        let wanted = bucket_config(definition, &settings);
        let mut wanted = with_found(definition.id, wanted, named, found.get(&definition.id));
        wanted.allow_atomic_publish |= needs.are_batches_known && definition.id == StreamId::Sends;
        if found.get(&definition.id).is_some_and(|found| is_as_wanted(definition.id, found, &wanted)) {
            continue;
        }
        write(bus, definition.id, wanted).await?;
    }
    Ok(())
}

/// Creates or updates a stream, or the stream of a bucket.
async fn write(bus: &Bus, id: StreamId, wanted: Config) -> Result<(), ProvisionError> {
    use jetstream::context::CreateStreamErrorKind::JetStream;
    let (asked, replicas) = (wanted.max_bytes, wanted.num_replicas);
    let Err(error) = bus.jetstream.create_or_update_stream(wanted).await else { return Ok(()) };
    if let Some(room) = no_room(bus, id, asked, &error).await {
        return Err(ProvisionError::NoRoom { room, source: error.into() });
    }
    let is_no_place = matches!(error.kind(), JetStream(inner) if inner.error_code() == jetstream::ErrorCode::CLUSTER_NO_PEERS);
    if is_no_place && replicas > 1 {
        return Err(ProvisionError::TooFewServers {
            object: Object::Stream(id),
            replicas,
            source: error.into(),
        });
    }
    Err(match id.bucket_name() {
        Some(name) => ProvisionError::Bucket { name, source: error.into() },
        None => stream_error(id.name(), error),
    })
}

/// Reads the existing configurations.
async fn find_all(bus: &Bus) -> Result<HashMap<StreamId, Config>, ProvisionError> {
    let mut all = HashMap::new();
    for id in StreamId::ALL {
        if let Some(stream) = find_stream(bus, id).await? {
            all.insert(id, stream.cached_info().config.clone());
        }
    }
    Ok(all)
}

/// Returns what does not fit, if that is the server's error.
async fn no_room(
    bus: &Bus,
    id: StreamId,
    asked: i64,
    error: &jetstream::context::CreateStreamError,
) -> Option<InsufficientStorage> {
    use jetstream::ErrorCode;
    use jetstream::context::CreateStreamErrorKind::JetStream;
    let JetStream(inner) = error.kind() else { return None };
    if !matches!(
        inner.error_code(),
        ErrorCode::STORAGE_RESOURCES_EXCEEDED | ErrorCode::INSUFFICIENT_RESOURCES
    ) {
        return None;
    }
    let bytes = |config: &Config| u64::try_from(config.max_bytes).unwrap_or(0);
    let found = find_all(bus).await.ok()?;
    let had = found.get(&id).map_or(0, bytes);
    let asked = u64::try_from(asked).unwrap_or(0);
    let reserved = found.values().map(bytes).sum();
    Some(InsufficientStorage { object: Object::Stream(id), asked, had, reserved })
}

/// Creates or updates one durable consumer. Its stream must exist.
///
/// # Errors
/// [`ProvisionError::Durable`] when the server refuses.
pub async fn apply_durable(bus: &Bus, definition: &DurableDefinition) -> Result<(), ProvisionError> {
    let stream = definition.stream.name;
    let made: Result<jetstream::consumer::PullConsumer, _> =
        bus.jetstream.create_consumer_on_stream(durable_config(definition), stream).await;
    made.map_err(|error| durable_error(stream, definition.name, error))?;
    Ok(())
}

impl Bus {
    /// Deletes a durable consumer, for an installation that does not use it.
    ///
    /// # Errors
    /// [`ProvisionError::Durable`] when the server refuses.
    pub async fn delete_durable(&self, definition: &DurableDefinition) -> Result<(), ProvisionError> {
        let (stream, name) = (definition.stream.name, definition.name);
        let deleted = self.jetstream.delete_consumer_from_stream(name, stream).await;
        deleted.map_err(|error| durable_error(stream, name, error))?;
        Ok(())
    }
}
