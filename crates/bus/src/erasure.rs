//! What the erasure of a customer needs of the bus: stored messages are overwritten one by one, and the owner of a lane is asked to
//! settle commands. It leaves to others which messages those are (`timeline`), and what the owner does (`sender`).
//!
//! A request to a lane is a plain message of NATS with a reply, and no stream stores it: the owner of the lane is subscribed for as
//! long as it has the lane, and the eraser asks again until everything is settled. Without an owner the server says so.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::DeleteMessageErrorKind;
use async_nats::{Request, Subscriber};
use bsp::ChannelId;
use bytes::Bytes;
use futures_util::StreamExt;

use crate::client::connect::Bus;
use crate::consume::delivery::Delivery;
use crate::read::ReadError;
use crate::schema::streams::StreamDefinition;

/// Timeout of the answer of a lane's owner, which reads the ledger for every command of a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Beginning of every subject to which an answer may go: the requester chooses it, and the server does not check it.
const INBOX: &str = "_INBOX_";

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A request of an erasure failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct ErasureError {
    what: String,
    #[source]
    source: Source,
}

impl ErasureError {
    fn new(what: impl Into<String>, source: impl Into<Source>) -> Self {
        Self { what: what.into(), source: source.into() }
    }
}

/// What became of a message that was to be overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwritten {
    /// The server has overwritten it with random bytes and removed it.
    Now,
    /// The stream did not hold it any more.
    Gone,
}

/// Overwrites and removes a message (`STREAM.MSG.DELETE`).
///
/// # Errors
/// [`ErasureError`] if the server does not answer, does not permit it, or cannot do it.
pub async fn overwrite(
    bus: &Bus,
    stream: &'static StreamDefinition,
    sequence: u64,
) -> Result<Overwritten, ErasureError> {
    let fail = |source: Source| {
        ErasureError::new(format!("cannot overwrite message {sequence} of stream {}", stream.name), source)
    };
    let found = bus.jetstream.get_stream_no_info(stream.name).await.map_err(|error| fail(error.into()))?;
    match found.delete_message(sequence).await {
        Ok(_) => Ok(Overwritten::Now),
        Err(error) if is_gone(&error.kind()) => Ok(Overwritten::Gone),
        Err(error) => Err(fail(error.into())),
    }
}

/// Whether the server says that there is no such message.
fn is_gone(error: &DeleteMessageErrorKind) -> bool {
    let DeleteMessageErrorKind::JetStream(error) = error else { return false };
    match error.error_code() {
        ErrorCode::NO_MESSAGE_FOUND | ErrorCode::SEQUENCE_NOT_FOUND => true,
        // Servers of every version answer so, with the reason in words.
        ErrorCode::STREAM_MESSAGE_DELETE_FAILED => {
            let words = error.to_string();
            words.contains("no message found") || words.contains("deleted message")
        }
        _ => false,
    }
}

/// The first message of a stream with a sequence of at least `from`, read without a consumer; `None` after the last one.
///
/// # Errors
/// [`ReadError`] when the stream is unavailable.
pub async fn next_stored(
    bus: &Bus,
    stream: &'static StreamDefinition,
    from: u64,
) -> Result<Option<Delivery>, ReadError> {
    use async_nats::jetstream::stream::RawMessageErrorKind;
    let fail = |error: Source| ReadError::new(stream.name, error);
    let found = bus.jetstream.get_stream_no_info(stream.name).await.map_err(|error| fail(error.into()))?;
    match found.raw_message_builder().sequence(from.max(1)).next_by_subject(">").send().await {
        Ok(message) => Ok(Some(Delivery::stored(message))),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(fail(error.into())),
    }
}

/// What a request to the owner of a lane led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneAnswer {
    /// Its answer.
    Said(Bytes),
    /// No process owns the lane.
    NoOwner,
}

/// Subject of the requests to the owner of a channel's lane.
fn subject(channel: &ChannelId) -> String {
    format!("imchannel.erase.{channel}")
}

/// Asks the owner of a lane.
///
/// # Errors
/// [`ErasureError`] if the owner does not answer in time, or the server does not permit it.
pub async fn ask_lane(bus: &Bus, channel: &ChannelId, request: Bytes) -> Result<LaneAnswer, ErasureError> {
    let request = Request::new().payload(request).timeout(Some(ANSWER_TIMEOUT));
    match bus.client.send_request(subject(channel), request).await {
        Ok(message) => Ok(LaneAnswer::Said(message.payload)),
        Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(LaneAnswer::NoOwner),
        Err(error) => Err(ErasureError::new(format!("the owner of lane {channel} did not answer"), error)),
    }
}

/// The requests to the owner of a lane, without end. Dropping it ends the subscription.
#[derive(Debug)]
pub struct LaneRequests {
    bus: Bus,
    inner: Subscriber,
}

/// A request to the owner of a lane.
#[derive(Debug)]
pub struct LaneRequest {
    bus: Bus,
    /// What is asked.
    pub payload: Bytes,
    reply: async_nats::Subject,
}

/// Listens for requests to the owner of a lane.
///
/// # Errors
/// [`ErasureError`] if the client is closed.
pub async fn lane_requests(bus: &Bus, channel: &ChannelId) -> Result<LaneRequests, ErasureError> {
    let inner = Box::pin(bus.client.subscribe(subject(channel))).await;
    let inner =
        inner.map_err(|error| ErasureError::new(format!("cannot listen for lane {channel}"), error))?;
    Ok(LaneRequests { bus: bus.clone(), inner })
}

impl LaneRequests {
    /// The next request; `None` when the client is closed.
    pub async fn next(&mut self) -> Option<LaneRequest> {
        loop {
            let message = self.inner.next().await?;
            // The answer to another subject could be a call of this process's rights.
            let Some(reply) = message.reply.filter(|reply| reply.starts_with(INBOX)) else { continue };
            return Some(LaneRequest { bus: self.bus.clone(), payload: message.payload, reply });
        }
    }
}

impl LaneRequest {
    /// Answers it. If the answer is lost, the request is repeated.
    pub async fn answer(self, answer: Bytes) {
        // On the heap, because the client's future has 4 KiB, and a lane mostly waits.
        let _ = Box::pin(self.bus.client.publish(self.reply, answer)).await;
    }
}
