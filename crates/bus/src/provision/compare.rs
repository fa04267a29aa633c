//! Compares the server with the definitions, and decides whether a stream or bucket has to be updated.

use async_nats::jetstream::stream::{Config, Stream};

use crate::client::connect::Bus;
use crate::client::jetstream_errors::is_missing;
use crate::provision::config::{bucket_config, durable_config, stream_config};
use crate::provision::difference::{Difference, Differences, Object, Setting};
use crate::provision::error::{ProvisionError, durable_error};
use crate::provision::find::find_stream;
use crate::provision::server_needs::ServerNeeds;
use crate::schema::stream_id::StreamId;
use crate::schema::streams::{
    BUCKETS, DURABLES, DurableDefinition, NamedSettings, STREAMS, StreamDefinition, StreamSettings,
};

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

/// Compares the server with the definitions.
///
/// # Errors
/// [`ProvisionError`] when the server does not respond. A missing object is a difference and not an error.
pub async fn check(bus: &Bus, scope: Scope<'_>) -> Result<Vec<Difference>, ProvisionError> {
    let mut differences = Vec::new();
    let needs = ServerNeeds::of(bus).await;
    for definition in STREAMS {
        let Some(found) = find_stream(bus, definition.id).await? else {
            differences.push(Difference::missing(Object::Stream(definition.id)));
            continue;
        };
        let config = &found.cached_info().config;
        differences.extend(compare_stream(definition, config, scope));
        differences.extend(compare_consumers(definition.id, config, needs.consumers_max));
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
        if definition.id == StreamId::Sends {
            // It decides on the form of entries.
            let text = |config: &Config| config.description.clone().unwrap_or_default();
            of_bucket.compare(Setting::Description, text(found), text(&wanted));
        }
        if matches!(scope, Scope::Settings(_)) {
            compare_bucket(found, &wanted, &mut of_bucket);
        }
        differences.extend(of_bucket.into_vec());
    }
    Ok(differences)
}

/// Keeps every existing setting that is not named, whether batches are allowed, the limit of consumers, and the placement of the replicas.
pub(super) fn with_found(
    id: StreamId,
    wanted: Config,
    named: &NamedSettings,
    found: Option<&Config>,
) -> Config {
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
    wanted.allow_atomic_publish = found.allow_atomic_publish;
    wanted.max_consumers = found.max_consumers;
    wanted.placement.clone_from(&found.placement);
    wanted
}

fn compare_stream(definition: &StreamDefinition, found: &Config, scope: Scope<'_>) -> Vec<Difference> {
    let named = scope.named();
    let wanted = stream_config(definition, &named.or(&StreamSettings::default()));
    let mut differences = Differences::of(Object::Stream(definition.id));
    compare_configs(found, &with_found(definition.id, wanted, &named, Some(found)), scope, &mut differences);
    differences.into_vec()
}

/// A stream that an older server made has no limit of its own.
fn compare_consumers(id: StreamId, found: &Config, wanted: Option<i32>) -> Vec<Difference> {
    let mut differences = Differences::of(Object::Stream(id));
    if let Some(wanted) = wanted {
        differences.compare(Setting::MaxConsumers, found.max_consumers.to_string(), wanted.to_string());
    }
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
    stream: &Stream,
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

/// Whether an update would change nothing. Then none is made: after a restart and an update, nats-servers up to 2.10
/// report the time of that restart as the creation time of the stream (module `sequences::marks`).
pub(super) fn is_as_wanted(id: StreamId, found: &Config, wanted: &Config) -> bool {
    let mut differences = Differences::of(Object::Stream(id));
    compare_configs(found, wanted, Scope::Contract, &mut differences);
    compare_bucket(found, wanted, &mut differences);
    // The server chooses a bucket's window, so none is compared.
    let is_window_same =
        wanted.duplicate_window.is_zero() || found.duplicate_window == wanted.duplicate_window;
    differences.into_vec().is_empty()
        && is_window_same
        && found.num_replicas == wanted.num_replicas
        && found.description == wanted.description
        && found.allow_direct == wanted.allow_direct
        && found.allow_atomic_publish == wanted.allow_atomic_publish
        && found.max_consumers == wanted.max_consumers
}

/// Compares settings of a bucket for the operator. None of them keeps a service from working, so that services of two
/// versions can run at the same time while buckets are changed.
pub(super) fn compare_bucket(found: &Config, wanted: &Config, differences: &mut Differences) {
    let mut compare =
        |setting: Setting, found: String, wanted: String| differences.compare(setting, found, wanted);
    compare(Setting::MaxBytes, found.max_bytes.to_string(), wanted.max_bytes.to_string());
    compare(Setting::DenyDelete, found.deny_delete.to_string(), wanted.deny_delete.to_string());
    compare(Setting::DenyPurge, found.deny_purge.to_string(), wanted.deny_purge.to_string());
}
