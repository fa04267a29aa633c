//! The durables of lanes: two for every channel that can send, created when the channel is applied.

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use bsp::ChannelId;

use crate::client::connect::Bus;
use crate::client::jetstream_errors::is_missing;
use crate::consume::delivery::Delivery;
use crate::provision::difference::{Difference, Differences, Object, Setting};
use crate::provision::find::find_stream;
use crate::provision::{ProvisionError, durable_error};
use crate::purge::{self, PurgeMethod};
use crate::read::ReadError;
use crate::schema::streams::{COMMANDS, LANE_ACK_WAIT, LANE_MAX_ACK_PENDING, LaneConsumer};
use crate::schema::subject::Priority;

fn config(durable: &LaneConsumer) -> pull::Config {
    pull::Config {
        durable_name: Some(durable.name.clone()),
        name: Some(durable.name.clone()),
        filter_subject: durable.filter.clone(),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: LANE_ACK_WAIT,
        max_deliver: -1,
        max_ack_pending: LANE_MAX_ACK_PENDING as i64,
        ..pull::Config::default()
    }
}

/// Creates or updates the durable consumers of a channel. Stream COMMANDS must exist.
///
/// # Errors
/// [`ProvisionError::Durable`] when the server refuses.
pub async fn apply(bus: &Bus, channel: &ChannelId) -> Result<(), ProvisionError> {
    for queue in Priority::ALL {
        let durable = LaneConsumer::of(queue, channel);
        let made: Result<PullConsumer, _> =
            bus.jetstream.create_consumer_on_stream(config(&durable), COMMANDS.name).await;
        made.map_err(|error| durable_error(COMMANDS.name, &durable.name, error))?;
    }
    Ok(())
}

/// Deletes the durable consumers of a channel. A missing one is not an error.
///
/// # Errors
/// [`ProvisionError::Durable`] when the server refuses.
pub async fn remove(bus: &Bus, channel: &ChannelId) -> Result<(), ProvisionError> {
    use async_nats::jetstream::ErrorCode;
    use async_nats::jetstream::stream::ConsumerErrorKind::JetStream;
    for queue in Priority::ALL {
        let name = LaneConsumer::of(queue, channel).name;
        match bus.jetstream.delete_consumer_from_stream(&name, COMMANDS.name).await {
            Ok(_) => {}
            Err(error) => match error.kind() {
                JetStream(inner) if inner.error_code() == ErrorCode::CONSUMER_NOT_FOUND => {}
                _ => return Err(durable_error(COMMANDS.name, &name, error)),
            },
        }
    }
    Ok(())
}

/// Purges the acked commands of a channel's queue up to a sequence, so that a channel that is later created with this
/// id does not receive them.
///
/// # Errors
/// [`ReadError`] when stream COMMANDS is unavailable.
pub async fn purge_acked(
    bus: &Bus,
    queue: Priority,
    channel: &ChannelId,
    settled_to: u64,
) -> Result<(), ReadError> {
    let fail = |error: purge::Fault| ReadError::new(COMMANDS.name, error);
    let filter = LaneConsumer::of(queue, channel).filter;
    loop {
        let stream = bus.jetstream.get_stream(COMMANDS.name).await.map_err(|error| fail(error.into()))?;
        let method = PurgeMethod::of(bus, stream.cached_info()).await;
        let removed =
            purge::subject_below(bus, &stream, method, &filter, settled_to + 1).await.map_err(fail)?;
        if !removed.is_cut {
            return Ok(());
        }
    }
}

/// Compares the durable consumers of a channel with their definitions.
///
/// # Errors
/// [`ProvisionError`] when the server does not respond. A missing consumer is a difference and not an error.
pub async fn check(bus: &Bus, channel: &ChannelId) -> Result<Vec<Difference>, ProvisionError> {
    let mut differences = Vec::new();
    let Some(stream) = find_stream(bus, COMMANDS.id).await? else {
        return Ok(vec![Difference::missing(Object::Stream(COMMANDS.id))]);
    };
    for queue in Priority::ALL {
        let durable = LaneConsumer::of(queue, channel);
        let object = Object::LaneConsumer(durable.name.clone());
        let info = match stream.consumer_info(&durable.name).await {
            Ok(info) => info,
            Err(error) if is_missing(&error) => {
                differences.push(Difference::missing(object));
                continue;
            }
            Err(error) => return Err(durable_error(COMMANDS.name, &durable.name, error)),
        };
        let (found, wanted) = (info.config, config(&durable));
        let mut of_lane = Differences::of(object);
        let mut compare =
            |setting: Setting, found: String, wanted: String| of_lane.compare(setting, found, wanted);
        compare(Setting::FilterSubject, found.filter_subject, wanted.filter_subject);
        compare(Setting::AckWait, format!("{:?}", found.ack_wait), format!("{:?}", wanted.ack_wait));
        compare(Setting::MaxDeliver, found.max_deliver.to_string(), wanted.max_deliver.to_string());
        compare(
            Setting::MaxAckPending,
            found.max_ack_pending.to_string(),
            wanted.max_ack_pending.to_string(),
        );
        differences.extend(of_lane.into_vec());
    }
    Ok(differences)
}

/// The first command of a subject with a sequence of at least `from`; `None` if no such command is stored. It reads one at a time,
/// so that no consumer has to be created, and no more than one command of up to 1 MiB is held.
///
/// # Errors
/// [`ReadError`] when stream COMMANDS is unavailable.
pub async fn next_stored(bus: &Bus, subject: &str, from: u64) -> Result<Option<Delivery>, ReadError> {
    use async_nats::jetstream::stream::RawMessageErrorKind;
    let fail = |error: Box<dyn std::error::Error + Send + Sync>| ReadError::new(COMMANDS.name, error);
    let stream = bus.jetstream.get_stream_no_info(COMMANDS.name).await.map_err(|error| fail(error.into()))?;
    match stream.raw_message_builder().sequence(from.max(1)).next_by_subject(subject).send().await {
        Ok(message) => Ok(Some(Delivery::stored(message))),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(fail(error.into())),
    }
}

/// Backlog of one queue of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConsumerLag {
    /// Commands that were not delivered to a sender yet (`num_pending`).
    pub num_pending: u64,
    /// Commands that a sender holds (`num_ack_pending`): to be sent, in flight, or with an outcome that is being looked
    /// up.
    pub num_ack_pending: u64,
    /// Last delivered stream sequence.
    pub delivered_seq: u64,
}

/// The backlog of one queue of a lane; `None` if its durable consumer is missing.
///
/// # Errors
/// [`ReadError`] when stream COMMANDS is unavailable.
pub async fn lag(bus: &Bus, queue: Priority, channel: &ChannelId) -> Result<Option<ConsumerLag>, ReadError> {
    let stream = bus.jetstream.get_stream_no_info(COMMANDS.name).await;
    let stream = stream.map_err(|error| ReadError::new(COMMANDS.name, error))?;
    let durable = LaneConsumer::of(queue, channel);
    let info = match stream.consumer_info(&durable.name).await {
        Ok(info) => info,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(ReadError::new(COMMANDS.name, error)),
    };
    Ok(Some(ConsumerLag {
        num_pending: info.num_pending,
        num_ack_pending: info.num_ack_pending as u64,
        delivered_seq: info.delivered.stream_sequence,
    }))
}
