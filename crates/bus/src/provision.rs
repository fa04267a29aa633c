//! Makes the streams, durables and buckets what [`crate::streams`] says they are, and tells where they differ.
//!
//! One writer applies (the operator's command line), so that two versions running side by side never turn a configuration
//! back and forth. The command line compares exactly; services ask only for what they need ([`crate::needs`]).

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use crate::connect::Bus;
use crate::streams::{
    BUCKETS, BucketDefinition, DURABLES, DurableDefinition, STREAMS, StreamDefinition, StreamSettings,
};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Something could not be made or looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// A stream.
    #[error("stream {name}")]
    Stream {
        /// Its name.
        name: &'static str,
        /// What the server said.
        #[source]
        source: Source,
    },
    /// A durable.
    #[error("durable {name} of stream {stream}")]
    Durable {
        /// Its stream.
        stream: &'static str,
        /// Its name.
        name: String,
        /// What the server said.
        #[source]
        source: Source,
    },
    /// A bucket.
    #[error("bucket {name}")]
    Bucket {
        /// Its name.
        name: &'static str,
        /// What the server said.
        #[source]
        source: Source,
    },
}

fn stream_error(name: &'static str, source: impl Into<Source>) -> ProvisionError {
    ProvisionError::Stream { name, source: source.into() }
}

pub(crate) fn durable_error(stream: &'static str, name: &str, source: impl Into<Source>) -> ProvisionError {
    ProvisionError::Durable { stream, name: name.to_owned(), source: source.into() }
}

/// Something that is not as it is defined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs, such as `stream WEBHOOKS`.
    pub of: String,
    /// The setting, such as `max_age`; `existence` where the whole thing is missing.
    pub setting: &'static str,
    /// As found.
    pub found: String,
    /// As defined.
    pub wanted: String,
}

/// Which settings a check compares.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// What imchannel defines. Sizes and copies are the operator's.
    Contract,
    /// That, and the operator's choices.
    Settings(&'a StreamSettings),
}

pub(crate) fn stream_config(definition: &StreamDefinition, settings: &StreamSettings) -> Config {
    Config {
        name: definition.name.to_owned(),
        subjects: definition.subjects.iter().map(|&subject| subject.to_owned()).collect(),
        description: Some(definition.description.to_owned()),
        max_age: definition.max_age,
        max_bytes: i64::try_from(settings.max_bytes(definition)).unwrap_or(i64::MAX),
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

/// The stream behind the bucket, as JetStream's key-value stores are laid out (NATS ADR-8). The client's own way to
/// make a bucket asks for account limits that nats-server 2.9 answers in a form that it cannot read.
pub(crate) fn bucket_config(definition: &BucketDefinition, settings: &StreamSettings) -> Config {
    let max_bytes = settings.bucket_max_bytes(definition).and_then(|bytes| i64::try_from(bytes).ok());
    Config {
        name: definition.stream.to_owned(),
        subjects: vec![format!("$KV.{}.>", definition.name)],
        description: Some(definition.description.to_owned()),
        max_age: definition.max_age,
        max_bytes: max_bytes.unwrap_or(-1),
        max_messages_per_subject: 1,
        max_message_size: definition.value_bytes_max,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        num_replicas: settings.replicas,
        // No call may empty a bucket: every value is removed by its age or by a marker in its place. A stream that denies
        // purges takes no roll-ups either, so a key is removed by `KV-Operation: DEL` and never by a purge of the key.
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        ..Config::default()
    }
}

/// Makes everything, or changes it to what it should be. Safe to repeat.
///
/// # Errors
/// [`ProvisionError`] at the first thing that the server refuses.
pub async fn apply(bus: &Bus, settings: &StreamSettings) -> Result<(), ProvisionError> {
    for definition in STREAMS {
        let made = bus.jetstream.create_or_update_stream(stream_config(definition, settings)).await;
        made.map_err(|error| stream_error(definition.name, error))?;
    }
    for definition in DURABLES {
        apply_durable(bus, definition).await?;
    }
    for definition in BUCKETS {
        let made = bus.jetstream.create_or_update_stream(bucket_config(definition, settings)).await;
        made.map_err(|error| ProvisionError::Bucket { name: definition.name, source: error.into() })?;
    }
    Ok(())
}

/// Makes one durable, or changes it to what it should be. Its stream must be there.
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

/// Compares what the server has with what is defined.
///
/// # Errors
/// [`ProvisionError`] when the server does not answer; a thing that is missing is a difference and no error.
pub async fn check(bus: &Bus, scope: Scope<'_>) -> Result<Vec<Difference>, ProvisionError> {
    let mut differences = Vec::new();
    for definition in STREAMS {
        let Some(found) = find_stream(bus, definition.name).await? else {
            differences.push(missing(format!("stream {}", definition.name)));
            continue;
        };
        compare_stream(definition, &found.cached_info().config, scope, &mut differences);
        for durable in DURABLES.iter().filter(|durable| durable.stream.name == definition.name) {
            check_durable(&found, durable, scope, &mut differences).await?;
        }
    }
    for definition in BUCKETS {
        let of = format!("bucket {}", definition.name);
        let Some(found) = find_stream(bus, definition.stream).await? else {
            differences.push(missing(of));
            continue;
        };
        let defaults = StreamSettings::default();
        let settings = if let Scope::Settings(settings) = scope { settings } else { &defaults };
        let (found, wanted) = (&found.cached_info().config, bucket_config(definition, settings));
        // A bucket's window is the server's own choice.
        compare_configs(of.clone(), found, &wanted, Scope::Contract, &mut differences);
        if matches!(scope, Scope::Settings(_)) {
            compare_bucket(&of, found, &wanted, &mut differences);
        }
    }
    Ok(differences)
}

pub(crate) fn missing(of: String) -> Difference {
    Difference { of, setting: "existence", found: "missing".to_owned(), wanted: "present".to_owned() }
}

/// Whether the server says that there is no such consumer.
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
    name: &'static str,
) -> Result<Option<jetstream::stream::Stream>, ProvisionError> {
    use jetstream::ErrorCode;
    use jetstream::context::GetStreamErrorKind::JetStream;
    match bus.jetstream.get_stream(name).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            JetStream(inner) if inner.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            _ => Err(stream_error(name, error)),
        },
    }
}

fn compare_stream(
    definition: &StreamDefinition,
    found: &Config,
    scope: Scope<'_>,
    differences: &mut Vec<Difference>,
) {
    let defaults = StreamSettings::default();
    let settings = if let Scope::Settings(settings) = scope { settings } else { &defaults };
    let of = format!("stream {}", definition.name);
    compare_configs(of, found, &stream_config(definition, settings), scope, differences);
}

fn compare_configs(
    of: String,
    found: &Config,
    wanted: &Config,
    scope: Scope<'_>,
    differences: &mut Vec<Difference>,
) {
    let mut compare = |setting, found: String, wanted: String| {
        if found != wanted {
            differences.push(Difference { of: of.clone(), setting, found, wanted });
        }
    };
    compare("subjects", sorted(&found.subjects), sorted(&wanted.subjects));
    compare("retention", format!("{:?}", found.retention), format!("{:?}", wanted.retention));
    compare("discard", format!("{:?}", found.discard), format!("{:?}", wanted.discard));
    compare("storage", format!("{:?}", found.storage), format!("{:?}", wanted.storage));
    compare("max_age", format!("{:?}", found.max_age), format!("{:?}", wanted.max_age));
    // Each of these, set to anything, would evict or refuse what must be kept.
    let limits = |config: &Config| {
        [
            ("max_messages", config.max_messages),
            ("max_messages_per_subject", config.max_messages_per_subject),
            ("max_message_size", i64::from(config.max_message_size)),
        ]
    };
    for ((setting, found), (_, wanted)) in limits(found).into_iter().zip(limits(wanted)) {
        // Servers write "no limit" as 0 or -1.
        compare(setting, found.max(0).to_string(), wanted.max(0).to_string());
    }
    compare("no_ack", found.no_ack.to_string(), wanted.no_ack.to_string());
    if let Scope::Settings(_) = scope {
        compare("max_bytes", found.max_bytes.to_string(), wanted.max_bytes.to_string());
        compare("replicas", found.num_replicas.to_string(), wanted.num_replicas.to_string());
        let windows = (format!("{:?}", found.duplicate_window), format!("{:?}", wanted.duplicate_window));
        compare("duplicate_window", windows.0, windows.1);
    }
}

/// A set in words: the server need not keep the order.
fn sorted(subjects: &[String]) -> String {
    let mut subjects: Vec<&String> = subjects.iter().collect();
    subjects.sort();
    format!("{subjects:?}")
}

/// What an operator is told of a bucket. None of it keeps a service from working, so that services of two versions run side
/// by side while buckets are changed.
fn compare_bucket(of: &str, found: &Config, wanted: &Config, differences: &mut Vec<Difference>) {
    let mut compare = |setting, found: String, wanted: String| {
        if found != wanted {
            differences.push(Difference { of: of.to_owned(), setting, found, wanted });
        }
    };
    compare("max_bytes", found.max_bytes.to_string(), wanted.max_bytes.to_string());
    compare("deny_delete", found.deny_delete.to_string(), wanted.deny_delete.to_string());
    compare("deny_purge", found.deny_purge.to_string(), wanted.deny_purge.to_string());
}

async fn check_durable(
    stream: &jetstream::stream::Stream,
    definition: &DurableDefinition,
    scope: Scope<'_>,
    differences: &mut Vec<Difference>,
) -> Result<(), ProvisionError> {
    let of = format!("durable {}", definition.name);
    let info = match stream.consumer_info(definition.name).await {
        Ok(info) => info,
        Err(error) => {
            if is_missing(&error) {
                if definition.is_ours || matches!(scope, Scope::Settings(_)) {
                    differences.push(missing(of));
                }
                return Ok(());
            }
            let stream = definition.stream.name;
            return Err(durable_error(stream, definition.name, error));
        }
    };
    if !definition.is_ours && matches!(scope, Scope::Contract) {
        // How the AICC back end reads is its own affair, and no reason for a gateway to stop.
        return Ok(());
    }
    let (found, wanted) = (info.config, durable_config(definition));
    let mut compare = |setting, found: String, wanted: String| {
        if found != wanted {
            differences.push(Difference { of: of.clone(), setting, found, wanted });
        }
    };
    compare("ack_policy", format!("{:?}", found.ack_policy), format!("{:?}", wanted.ack_policy));
    compare("ack_wait", format!("{:?}", found.ack_wait), format!("{:?}", wanted.ack_wait));
    compare("max_deliver", found.max_deliver.to_string(), wanted.max_deliver.to_string());
    compare("max_ack_pending", found.max_ack_pending.to_string(), wanted.max_ack_pending.to_string());
    compare("filter_subject", found.filter_subject, wanted.filter_subject);
    compare(
        "filter_subjects",
        format!("{:?}", found.filter_subjects),
        format!("{:?}", wanted.filter_subjects),
    );
    compare("deliver_policy", format!("{:?}", found.deliver_policy), format!("{:?}", wanted.deliver_policy));
    Ok(())
}

impl Bus {
    /// Removes a durable, for an installation whose events nobody reads by it.
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
