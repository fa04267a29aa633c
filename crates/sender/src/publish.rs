//! What the sender puts onto the bus: results and dead letters.

use std::time::Duration;

use bsp::{BspId, ChannelId};
use bus::streams::COMMANDS;
use bus::{Bus, Delivery, EventKind, Headers, Origin, PublishError, Subject, headers};
use jiff::Timestamp;
use prost::Message;
use proto::v1::SendResult;

use crate::dead::Dead;

/// Bytes that the headers of a dead letter may need.
const LETTER_MARGIN: usize = 4 * 1024;
/// The longest value, in bytes, that a dead letter or a result takes over from the headers of its command. Longer ones are left
/// out, so that [`LETTER_MARGIN`] is enough: what a back end publishes has any length.
const TAKEN_OVER_MAX: usize = 512;
/// For one attempt of storing. Whoever needs it stored tries again.
const STORE_LIMIT: Duration = Duration::from_secs(5);

/// Whose a command is, as far as that is known.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner<'a> {
    /// A stored channel's.
    Channel(BspId, &'a ChannelId),
    /// Nobody's: no channel of this id is stored, or its subject names none that can be.
    Nobody(Option<&'a ChannelId>),
}

impl<'a> Owner<'a> {
    pub(crate) fn bsp(self) -> Option<BspId> {
        match self {
            Self::Channel(bsp, _) => Some(bsp),
            Self::Nobody(_) => None,
        }
    }

    pub(crate) fn channel(self) -> Option<&'a ChannelId> {
        match self {
            Self::Channel(_, channel) => Some(channel),
            Self::Nobody(channel) => channel,
        }
    }
}

/// The trace that a command belongs to, where there is one.
pub(crate) fn traceparent(delivery: &Delivery) -> Option<&str> {
    short(delivery.headers.get(headers::TRACEPARENT))
}

/// Publishes a result. The same result published twice has the same id.
///
/// # Errors
/// [`PublishError`] when it is not known to be stored.
pub(crate) async fn result(
    bus: &Bus,
    owner: Owner<'_>,
    result: &SendResult,
    traceparent: Option<&str>,
) -> Result<(), PublishError> {
    let decided_at = result.decided_at.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    let id = result.event_id.as_str();
    let headers = || {
        let headers = match owner {
            Owner::Channel(bsp, channel) => {
                Headers::event(EventKind::Send, (id, id), bsp, channel, decided_at)
            }
            Owner::Nobody(channel) => Headers::result_of_none(id, channel, decided_at),
        };
        headers.with_optional(headers::TRACEPARENT, traceparent)
    };
    let subject = match owner {
        Owner::Channel(bsp, channel) => Subject::Event(EventKind::Send, bsp, channel.clone()),
        Owner::Nobody(channel) => Subject::ResultOfNone(channel.cloned()),
    };
    bus.store_once_permitted(&subject, headers, &result.encode_to_vec().into(), STORE_LIMIT).await?;
    Ok(())
}

/// Puts a command among the dead letters, its bytes as they came. The letter of a command has the same id whoever writes it.
///
/// # Errors
/// [`PublishError`] when it is not known to be stored.
pub(crate) async fn dead_letter(
    bus: &Bus,
    owner: Owner<'_>,
    delivery: &Delivery,
    dead: &Dead,
    now: Timestamp,
) -> Result<(), PublishError> {
    let (kind, reason) = (dead.kind(), dead.reason());
    let sequence = delivery.sequence;
    let headers = || {
        Headers::new()
            .with(headers::MESSAGE_ID, &format!("command-{sequence}"))
            .with(headers::REASON_KIND, kind)
            .with(headers::REASON, reason)
            .with(headers::ORIGIN, &format!("{}/{sequence}/0", COMMANDS.name))
            .with_optional(headers::SUBJECT, short(Some(&delivery.subject)))
            .with(headers::PART, "body")
            .with_optional(headers::BSP, owner.bsp().map(BspId::as_str))
            .with(headers::TIME, &now.to_string())
            .with_optional(headers::CONTENT_TYPE, short(delivery.headers.get(headers::CONTENT_TYPE)))
            .with_optional(headers::TRACEPARENT, traceparent(delivery))
    };
    let subject = Subject::DeadLetter(Origin::Command, owner.channel().cloned());
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

/// The `Nats-Msg-Id` that a command was published with; empty where it has none, or one that is too long.
pub(crate) fn msg_id(delivery: &Delivery) -> &str {
    short(delivery.headers.get(headers::MESSAGE_ID)).unwrap_or_default()
}

fn short(value: Option<&str>) -> Option<&str> {
    value.filter(|value| value.len() <= TAKEN_OVER_MAX)
}
