//! What the sender puts onto the bus: results and dead letters.

use std::time::Duration;

use bsp::{BspId, ChannelId};
use bus::streams::COMMANDS;
use bus::{Bus, Delivery, EventKind, Headers, Origin, PublishError, Subject, headers};
use jiff::Timestamp;
use prost::Message;
use proto::v1::SendResult;

/// Bytes that the headers of a dead letter may need.
const LETTER_MARGIN: usize = 4 * 1024;
/// The longest value, in bytes, that a dead letter takes over from its command. Longer ones are left out, so that
/// [`LETTER_MARGIN`] is enough: what a back end publishes has any length.
const TAKEN_OVER_MAX: usize = 512;
/// For one attempt of storing. Whoever needs it stored tries again.
const STORE_LIMIT: Duration = Duration::from_secs(5);

/// Publishes a result. The same result published twice has the same id.
///
/// # Errors
/// [`PublishError`] when it is not known to be stored.
pub(crate) async fn result(
    bus: &Bus,
    (bsp, channel): (BspId, &ChannelId),
    result: &SendResult,
    traceparent: Option<&str>,
) -> Result<(), PublishError> {
    let decided_at = result.decided_at.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    let headers = || {
        let headers =
            Headers::event(EventKind::Send, (&result.event_id, &result.event_id), bsp, channel, decided_at);
        headers.with_optional(headers::TRACEPARENT, traceparent)
    };
    let subject = Subject::Event(EventKind::Send, bsp, channel.clone());
    bus.store_once_permitted(&subject, headers, &result.encode_to_vec().into(), STORE_LIMIT).await?;
    Ok(())
}

/// Puts a command among the dead letters, its bytes as they came.
///
/// # Errors
/// [`PublishError`] when it is not known to be stored.
pub(crate) async fn dead_letter(
    bus: &Bus,
    (bsp, channel): (BspId, &ChannelId),
    delivery: &Delivery,
    why: (&'static str, &str),
    now: Timestamp,
) -> Result<(), PublishError> {
    letter(bus, (Some(bsp), Some(channel)), delivery, why, now).await
}

/// The same for a command that no lane takes. `channel` is `None` where its subject can be no channel's.
///
/// # Errors
/// [`PublishError`] when it is not known to be stored.
pub(crate) async fn orphan(
    bus: &Bus,
    channel: Option<&ChannelId>,
    delivery: &Delivery,
    why: (&'static str, &str),
    now: Timestamp,
) -> Result<(), PublishError> {
    letter(bus, (None, channel), delivery, why, now).await
}

async fn letter(
    bus: &Bus,
    (bsp, channel): (Option<BspId>, Option<&ChannelId>),
    delivery: &Delivery,
    (kind, reason): (&'static str, &str),
    now: Timestamp,
) -> Result<(), PublishError> {
    let sequence = delivery.sequence;
    let headers = || {
        Headers::new()
            .with(headers::MESSAGE_ID, &format!("command-{sequence}"))
            .with(headers::REASON_KIND, kind)
            .with(headers::REASON, reason)
            .with(headers::ORIGIN, &format!("{}/{sequence}/0", COMMANDS.name))
            .with_optional(headers::SUBJECT, short(Some(&delivery.subject)))
            .with(headers::PART, "body")
            .with_optional(headers::BSP, bsp.map(BspId::as_str))
            .with(headers::TIME, &now.to_string())
            .with_optional(headers::CONTENT_TYPE, short(delivery.headers.get(headers::CONTENT_TYPE)))
            .with_optional(headers::TRACEPARENT, short(delivery.headers.get(headers::TRACEPARENT)))
    };
    let subject = Subject::DeadLetter(Origin::Command, channel.cloned());
    match bus.store_once_permitted(&subject, headers, &delivery.payload, STORE_LIMIT).await {
        // Its headers make it larger than a message may be: what fits of it is kept, and COMMANDS has all of it for a day.
        Err(PublishError::TooLarge) => {
            let cut =
                delivery.payload.slice(..delivery.payload.len() - LETTER_MARGIN.min(delivery.payload.len()));
            bus.store_once_permitted(&subject, headers, &cut, STORE_LIMIT).await?
        }
        stored => stored?,
    };
    let channel = subject.channel_token();
    tracing::warn!(
        function = "sender",
        channel,
        stream_sequence = sequence,
        reason = kind,
        "channel {channel}: command {sequence} is a dead letter: {reason}"
    );
    Ok(())
}

fn short(value: Option<&str>) -> Option<&str> {
    value.filter(|value| value.len() <= TAKEN_OVER_MAX)
}
