//! Creates and updates the streams, durables and buckets of [`crate::streams`], and compares them with their
//! definitions.
//!
//! Only one writer applies them (the operator's command line), so that two versions that run at the same time never
//! change a configuration back and forth. The command line compares exactly; services check only what they need
//! ([`crate::needs`]).

mod unchanged;

use std::collections::HashMap;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use crate::connect::Bus;
use crate::difference::Differences;
pub use crate::difference::{Difference, Object, Setting};
use crate::stream_id::StreamId;
use crate::streams::{
    BUCKETS, BucketDefinition, DURABLES, DurableDefinition, NamedSettings, STREAMS, StreamDefinition,
    StreamSettings,
};
use unchanged::{compare_bucket, is_as_wanted};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A stream, consumer or bucket could not be created or read.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The server does not have enough storage for a stream or bucket.
    #[error("{room}")]
    NoRoom {
        /// What does not fit.
        room: InsufficientStorage,
        /// Response of the server.
        #[source]
        source: Source,
    },
    /// A stream could not be created or read.
    #[error("cannot create, update or read stream {name}")]
    Stream {
        /// Its name.
        name: &'static str,
        /// Response of the server.
        #[source]
        source: Source,
    },
    /// A durable consumer could not be created or read.
    #[error("cannot create, update or read durable {name} of stream {stream}")]
    Durable {
        /// Its stream.
        stream: &'static str,
        /// Its name.
        name: String,
        /// Response of the server.
        #[source]
        source: Source,
    },
    /// A bucket could not be created or read.
    #[error("cannot create, update or read bucket {name}")]
    Bucket {
        /// Its name.
        name: &'static str,
        /// Response of the server.
        #[source]
        source: Source,
    },
}

impl ProvisionError {
    /// Whether JetStream has answered the request for a stream with an error: it has no leader, because most of its
    /// replicas are offline. A request without permission gets no answer.
    pub fn is_jetstream_error(&self) -> bool {
        use jetstream::context::{GetStreamError, GetStreamErrorKind};
        let Self::Stream { source, .. } = self else { return false };
        let error = source.downcast_ref::<GetStreamError>();
        error.is_some_and(|error| matches!(error.kind(), GetStreamErrorKind::JetStream(_)))
    }
}

/// A stream (or the stream of a bucket) whose configured size exceeds the server's free file storage. All sizes are in
/// bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InsufficientStorage {
    /// What does not fit.
    pub object: Object,
    /// The requested size.
    pub asked: u64,
    /// Its size until now; 0 if it does not exist yet.
    pub had: u64,
    /// Size of all streams and buckets of imchannel together, including this one.
    pub reserved: u64,
}

impl std::fmt::Display for InsufficientStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { object, asked, had, reserved } = self;
        write!(
            f,
            "{object} cannot have {}: the limit max_file_store of NATS does not allow it. Imchannel's streams and buckets reserve {} \
             of it, and would reserve {}",
            size(*asked),
            size(*reserved),
            size((reserved + asked).saturating_sub(*had))
        )
    }
}

/// `4.0 GiB`, `256.0 MiB`
fn size(bytes: u64) -> String {
    /// Bytes of a MiB.
    const MIB: f64 = 1024.0 * 1024.0;
    let mib = bytes as f64 / MIB;
    if mib >= 1024.0 { format!("{:.1} GiB", mib / 1024.0) } else { format!("{mib:.1} MiB") }
}

fn stream_error(name: &'static str, source: impl Into<Source>) -> ProvisionError {
    ProvisionError::Stream { name, source: source.into() }
}

pub(crate) fn durable_error(stream: &'static str, name: &str, source: impl Into<Source>) -> ProvisionError {
    ProvisionError::Durable { stream, name: name.to_owned(), source: source.into() }
}

/// Which settings a check compares.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// What imchannel defines. Sizes and replicas are left to the operator.
    Contract,
    /// The contract, and the settings that the operator names.
    Settings(&'a NamedSettings),
}

impl Scope<'_> {
    fn named(self) -> NamedSettings {
        match self {
            Self::Contract => NamedSettings::default(),
            Self::Settings(named) => named.clone(),
        }
    }
}

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
    for definition in STREAMS {
        let wanted = stream_config(definition, &settings);
        let wanted = with_found(definition.id, wanted, named, found.get(&definition.id));
        if found.get(&definition.id).is_some_and(|found| is_as_wanted(definition.id, found, &wanted)) {
            continue;
        }
        let asked = wanted.max_bytes;
        let made = bus.jetstream.create_or_update_stream(wanted).await;
        if let Err(error) = made {
            let room = no_room(bus, definition.id, asked, &error).await;
            return Err(match room {
                Some(room) => ProvisionError::NoRoom { room, source: error.into() },
                None => stream_error(definition.name, error),
            });
        }
    }
    for definition in DURABLES {
        apply_durable(bus, definition).await?;
    }
    for definition in BUCKETS {
        let wanted = bucket_config(definition, &settings);
        let wanted = with_found(definition.id, wanted, named, found.get(&definition.id));
        if found.get(&definition.id).is_some_and(|found| is_as_wanted(definition.id, found, &wanted)) {
            continue;
        }
        let asked = wanted.max_bytes;
        let made = bus.jetstream.create_or_update_stream(wanted).await;
        if let Err(error) = made {
            let room = no_room(bus, definition.id, asked, &error).await;
            return Err(match room {
                Some(room) => ProvisionError::NoRoom { room, source: error.into() },
                None => ProvisionError::Bucket { name: definition.name, source: error.into() },
            });
        }
    }
    Ok(())
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

/// Keeps every existing setting that is not named, and the placement of the replicas.
fn with_found(id: StreamId, wanted: Config, named: &NamedSettings, found: Option<&Config>) -> Config {
    let Some(found) = found else { return wanted };
    let mut wanted = wanted;
    if !named.is_size_named(id) {
        wanted.max_bytes = found.max_bytes;
    }
    if named.replicas.is_none() {
        wanted.num_replicas = found.num_replicas;
    }
    if named.duplicate_window.is_none() {
        wanted.duplicate_window = found.duplicate_window;
    }
    wanted.placement.clone_from(&found.placement);
    wanted
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

/// Compares the server with the definitions.
///
/// # Errors
/// [`ProvisionError`] when the server does not respond. A missing object is a difference and not an error.
pub async fn check(bus: &Bus, scope: Scope<'_>) -> Result<Vec<Difference>, ProvisionError> {
    let mut differences = Vec::new();
    for definition in STREAMS {
        let Some(found) = find_stream(bus, definition.id).await? else {
            differences.push(Difference::missing(Object::Stream(definition.id)));
            continue;
        };
        differences.extend(compare_stream(definition, &found.cached_info().config, scope));
        for durable in DURABLES.iter().filter(|durable| durable.stream.id == definition.id) {
            differences.extend(check_durable(&found, durable, scope).await?);
        }
    }
    for definition in BUCKETS {
        let Some(found) = find_stream(bus, definition.id).await? else {
            differences.push(Difference::missing(Object::Stream(definition.id)));
            continue;
        };
        let found = &found.cached_info().config;
        let named = scope.named();
        let wanted = bucket_config(definition, &named.or(&StreamSettings::default()));
        let wanted = with_found(definition.id, wanted, &named, Some(found));
        let mut of_bucket = Differences::of(Object::Stream(definition.id));
        // The server chooses a bucket's window.
        compare_configs(found, &wanted, Scope::Contract, &mut of_bucket);
        if matches!(scope, Scope::Settings(_)) {
            compare_bucket(found, &wanted, &mut of_bucket);
        }
        differences.extend(of_bucket.into_vec());
    }
    Ok(differences)
}

/// Whether the server responds that there is no such consumer.
pub(crate) fn is_missing(error: &jetstream::context::ConsumerInfoError) -> bool {
    use jetstream::context::ConsumerInfoErrorKind::{JetStream, NotFound};
    match error.kind() {
        NotFound => true,
        JetStream(inner) => inner.error_code() == jetstream::ErrorCode::CONSUMER_NOT_FOUND,
        _ => false,
    }
}

pub(crate) async fn find_stream(
    bus: &Bus,
    id: StreamId,
) -> Result<Option<jetstream::stream::Stream>, ProvisionError> {
    use jetstream::ErrorCode;
    use jetstream::context::GetStreamErrorKind::JetStream;
    match bus.jetstream.get_stream(id.name()).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            JetStream(inner) if inner.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            _ => Err(stream_error(id.name(), error)),
        },
    }
}

fn compare_stream(definition: &StreamDefinition, found: &Config, scope: Scope<'_>) -> Vec<Difference> {
    let named = scope.named();
    let wanted = stream_config(definition, &named.or(&StreamSettings::default()));
    let mut differences = Differences::of(Object::Stream(definition.id));
    compare_configs(found, &with_found(definition.id, wanted, &named, Some(found)), scope, &mut differences);
    differences.into_vec()
}

fn compare_configs(found: &Config, wanted: &Config, scope: Scope<'_>, differences: &mut Differences) {
    let mut compare =
        |setting: Setting, found: String, wanted: String| differences.compare(setting, found, wanted);
    compare(Setting::Subjects, sorted(&found.subjects), sorted(&wanted.subjects));
    compare(Setting::Retention, format!("{:?}", found.retention), format!("{:?}", wanted.retention));
    compare(Setting::Discard, format!("{:?}", found.discard), format!("{:?}", wanted.discard));
    compare(Setting::Storage, format!("{:?}", found.storage), format!("{:?}", wanted.storage));
    compare(Setting::MaxAge, format!("{:?}", found.max_age), format!("{:?}", wanted.max_age));
    // Any other value of these would delete or refuse messages that must be kept.
    let limits = |config: &Config| {
        [
            (Setting::MaxMessages, config.max_messages),
            (Setting::MaxMessagesPerSubject, config.max_messages_per_subject),
            (Setting::MaxMessageSize, i64::from(config.max_message_size)),
        ]
    };
    for ((setting, found), (_, wanted)) in limits(found).into_iter().zip(limits(wanted)) {
        // Servers write "no limit" as 0 or -1.
        compare(setting, found.max(0).to_string(), wanted.max(0).to_string());
    }
    compare(Setting::NoAck, found.no_ack.to_string(), wanted.no_ack.to_string());
    if let Scope::Settings(_) = scope {
        compare(Setting::MaxBytes, found.max_bytes.to_string(), wanted.max_bytes.to_string());
        compare(Setting::Replicas, found.num_replicas.to_string(), wanted.num_replicas.to_string());
        let windows = (format!("{:?}", found.duplicate_window), format!("{:?}", wanted.duplicate_window));
        compare(Setting::DuplicateWindow, windows.0, windows.1);
    }
}

/// A sorted list as text: the server need not keep the order.
fn sorted(subjects: &[String]) -> String {
    let mut subjects: Vec<&String> = subjects.iter().collect();
    subjects.sort();
    format!("{subjects:?}")
}

async fn check_durable(
    stream: &jetstream::stream::Stream,
    definition: &DurableDefinition,
    scope: Scope<'_>,
) -> Result<Vec<Difference>, ProvisionError> {
    let object = Object::Durable(definition.name);
    let info = match stream.consumer_info(definition.name).await {
        Ok(info) => info,
        Err(error) => {
            if is_missing(&error) {
                if definition.is_ours || matches!(scope, Scope::Settings(_)) {
                    return Ok(vec![Difference::missing(object)]);
                }
                return Ok(Vec::new());
            }
            let stream = definition.stream.name;
            return Err(durable_error(stream, definition.name, error));
        }
    };
    if !definition.is_ours && matches!(scope, Scope::Contract) {
        // The AICC back end may read in another way, and services start anyway.
        return Ok(Vec::new());
    }
    let (found, wanted) = (info.config, durable_config(definition));
    let mut differences = Differences::of(object);
    let mut compare =
        |setting: Setting, found: String, wanted: String| differences.compare(setting, found, wanted);
    compare(Setting::AckPolicy, format!("{:?}", found.ack_policy), format!("{:?}", wanted.ack_policy));
    compare(Setting::AckWait, format!("{:?}", found.ack_wait), format!("{:?}", wanted.ack_wait));
    compare(Setting::MaxDeliver, found.max_deliver.to_string(), wanted.max_deliver.to_string());
    compare(Setting::MaxAckPending, found.max_ack_pending.to_string(), wanted.max_ack_pending.to_string());
    compare(Setting::FilterSubject, found.filter_subject, wanted.filter_subject);
    compare(
        Setting::FilterSubjects,
        format!("{:?}", found.filter_subjects),
        format!("{:?}", wanted.filter_subjects),
    );
    compare(
        Setting::DeliverPolicy,
        format!("{:?}", found.deliver_policy),
        format!("{:?}", wanted.deliver_policy),
    );
    Ok(differences.into_vec())
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
