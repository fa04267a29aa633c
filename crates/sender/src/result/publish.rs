//! The messages that the sender publishes: results and dead letters.

use std::time::Duration;

use bsp::{BspId, ChannelId};
use bus::headers::EventIds;
use bus::streams::COMMANDS;
use bus::{Bus, Delivery, EventKind, Headers, Origin, PublishError, Subject, headers};
use jiff::Timestamp;
use prost::Message;
use proto::v1::SendResult;

use crate::result::attempts;
use crate::result::dead_letter_reason::DeadLetterReason;

/// Bytes that the headers of a dead letter may need: its reason, copied headers, and their names.
const LETTER_MARGIN: usize = 8 * 1024;
/// Longest reason of a dead letter, in bytes.
const REASON_BYTES_MAX: usize = 1_024;
const _: () = assert!(REASON_BYTES_MAX + 4 * headers::COPIED_LENGTH_MAX + 1_024 < LETTER_MARGIN);
/// Timeout of one attempt to store a message. The caller retries.
const STORE_LIMIT: Duration = Duration::from_secs(5);

/// Owner of a command, if it is known.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner<'a> {
    /// A stored channel.
    Channel(BspId, &'a ChannelId),
    /// No channel: this id is not stored, or the subject contains no valid id.
    NoChannel(Option<&'a ChannelId>),
}

impl<'a> Owner<'a> {
    pub(crate) fn bsp(self) -> Option<BspId> {
        match self {
            Self::Channel(bsp, _) => Some(bsp),
            Self::NoChannel(_) => None,
        }
    }

    pub(crate) fn channel(self) -> Option<&'a ChannelId> {
        match self {
            Self::Channel(_, channel) => Some(channel),
            Self::NoChannel(channel) => channel,
        }
    }
}

/// The trace that a command belongs to, if there is one.
pub(crate) fn traceparent(delivery: &Delivery) -> Option<&str> {
    delivery.headers.get_limited(headers::TRACEPARENT)
}

/// Publishes a result. Publishing the same result twice uses the same id. The number of calls that it does not show is
/// counted here.
///
/// # Errors
/// [`PublishError`] if it may not be stored.
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
                Headers::event(EventKind::SendResult, EventIds::same(id), bsp, channel, decided_at)
            }
            Owner::NoChannel(channel) => Headers::result_without_bsp(id, channel, decided_at),
        };
        headers.with_optional(headers::TRACEPARENT, traceparent)
    };
    let subject = match owner {
        Owner::Channel(bsp, channel) => Subject::Event(EventKind::SendResult, bsp, channel.clone()),
        Owner::NoChannel(channel) => Subject::ResultWithoutBsp(channel.cloned()),
    };
    let payload = attempts::counted(result).encode_to_vec();
    bus.store_once_permitted(&subject, headers, &payload.into(), STORE_LIMIT).await?;
    Ok(())
}

/// A command that becomes a dead letter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeadLetter<'a> {
    pub(crate) owner: Owner<'a>,
    pub(crate) delivery: &'a Delivery,
    pub(crate) dead: &'a DeadLetterReason,
    pub(crate) sent: MayBeSent,
}

/// Whether a command that is now a dead letter may have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MayBeSent {
    No,
    Yes,
}

/// Stores a command as a dead letter, with its original bytes. The id does not depend on which process stores it.
///
/// # Errors
/// [`PublishError`] if it may not be stored.
pub(crate) async fn dead_letter(bus: &Bus, of: DeadLetter<'_>, now: Timestamp) -> Result<(), PublishError> {
    let DeadLetter { owner, delivery, dead, sent } = of;
    let (kind, reason) = (dead.kind(), dead.reason());
    let sequence = delivery.sequence;
    let headers = Headers::new()
        .with(headers::MESSAGE_ID, &format!("command-{sequence}"))
        .with(headers::REASON_KIND, kind)
        .with(headers::REASON, &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)])
        .with(headers::ORIGIN, &format!("{}/{sequence}/0", COMMANDS.name))
        .with_optional(headers::SUBJECT, Some(delivery.subject.as_str()).filter(|text| is_short(text)))
        .with(headers::PART, headers::PART_BODY)
        .with_optional(headers::MAY_BE_SENT, (sent == MayBeSent::Yes).then_some("true"))
        .with_optional(headers::BSP, owner.bsp().map(BspId::as_str))
        .with(headers::TIME, &now.to_string())
        .with_optional(headers::CONTENT_TYPE, delivery.headers.get_limited(headers::CONTENT_TYPE))
        .with_optional(headers::TRACEPARENT, traceparent(delivery));
    let mut letter = bus::dead_letters::DeadLetter { headers, payload: delivery.payload.clone() };
    let subject = Subject::DeadLetter(Origin::Command, owner.channel().cloned());
    match store_letter(bus, owner, &letter).await {
        // Its headers make it larger than the maximum message size. It is truncated, and COMMANDS has the whole message
        // for a day.
        Err(PublishError::TooLarge) => {
            let length = delivery.payload.len();
            letter.payload.truncate(length - LETTER_MARGIN.min(length));
            letter.headers = letter.headers.with(headers::PART, headers::PART_CUT);
            store_letter(bus, owner, &letter).await?;
        }
        stored => stored?,
    }
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

async fn store_letter(
    bus: &Bus,
    owner: Owner<'_>,
    letter: &bus::dead_letters::DeadLetter,
) -> Result<(), PublishError> {
    let mut room =
        bus.reserve_dead_letters(Origin::Command, owner.channel(), std::slice::from_ref(letter)).await?;
    bus.store_dead_letter(&mut room, letter).await?;
    Ok(())
}

/// Returns the `Nats-Msg-Id` that a command was published with; empty if it has none or one that is too long.
pub(crate) fn msg_id(delivery: &Delivery) -> &str {
    delivery.message_id().filter(|id| is_short(id)).unwrap_or_default()
}

fn is_short(value: &str) -> bool {
    value.len() <= headers::COPIED_LENGTH_MAX
}
