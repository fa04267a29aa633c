//! The definitions as configurations of JetStream.

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use crate::schema::stream_id::StreamId;
use crate::schema::streams::{BucketDefinition, DurableDefinition, StreamDefinition, StreamSettings};

/// Returns the limit of a stream as JetStream has it: -1 for no limit.
fn max_bytes(stream: StreamId, settings: &StreamSettings) -> i64 {
    settings.max_bytes(stream).map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

pub(crate) fn stream_config(definition: &StreamDefinition, settings: &StreamSettings) -> Config {
    Config {
        name: definition.name.to_owned(),
        subjects: definition.subjects.iter().map(|&subject| subject.to_owned()).collect(),
        description: Some(definition.description.to_owned()),
        max_age: definition.max_age,
        max_bytes: max_bytes(definition.id, settings),
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        num_replicas: settings.replicas,
        duplicate_window: settings.duplicate_window(definition),
        allow_direct: true,
        ..Config::default()
    }
}

pub(crate) fn durable_config(definition: &DurableDefinition) -> pull::Config {
    pull::Config {
        durable_name: Some(definition.name.to_owned()),
        name: Some(definition.name.to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: definition.ack_wait,
        max_deliver: -1,
        max_ack_pending: definition.max_ack_pending,
        ..pull::Config::default()
    }
}

/// Returns the stream behind a bucket, by the layout of JetStream's key-value stores (NATS ADR-8). The client's
/// function for creating a bucket requests account limits, whose response by nats-server 2.9 it cannot parse.
pub(crate) fn bucket_config(definition: &BucketDefinition, settings: &StreamSettings) -> Config {
    Config {
        name: definition.stream.to_owned(),
        subjects: vec![format!("$KV.{}.>", definition.name)],
        description: Some(definition.description.to_owned()),
        max_age: definition.max_age,
        max_bytes: max_bytes(definition.id, settings),
        max_messages_per_subject: 1,
        max_message_size: definition.value_bytes_max,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        num_replicas: settings.replicas,
        // No request may empty a bucket: every value is removed by its age or by a marker in its place. A stream that
        // denies purges accepts no roll-ups either, so a key is removed by `KV-Operation: DEL` and never by a purge of
        // the key.
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        ..Config::default()
    }
}
