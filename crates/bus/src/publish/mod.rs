//! Publishing that reports a message as stored only when JetStream has acknowledged it.

pub(crate) mod batch;
pub mod dead_letters;
mod error;
pub(crate) mod group_commit;

use std::time::Duration;

use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;
use tokio::time::Instant;

use crate::client::connect::Bus;
use crate::client::publish_contexts::ACK_TIMEOUT_MIN_MS;
pub use crate::publish::error::PublishError;
use crate::publish::group_commit::Gathered;
use crate::schema::headers::{Headers, MESSAGE_ID};
use crate::schema::stream_id::StreamId;
use crate::schema::subject::Subject;
use crate::state::adaptive_limit::TARGET;
use crate::state::gathering::Outgoing;
use crate::state::in_flight::Permit;

/// Delay between two attempts to store the same message.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Time before its deadline from which a message without a permit is not written: its ack, which takes about [`TARGET`]
/// on a busy stream, would come too late.
const PERMIT_MARGIN: Duration = TARGET.saturating_mul(2);
/// Time before the deadline from which an attempt has the deadline itself as its timeout.
const LAST_ATTEMPT: Duration = Duration::from_millis(2 * ACK_TIMEOUT_MIN_MS + 100);

/// Destination of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'t> {
    pub(crate) stream: StreamId,
    pub(crate) subject: &'t async_nats::Subject,
}

/// Deadline of storing a message, and how it is used.
#[derive(Debug, Clone, Copy)]
struct Time {
    deadline: Instant,
    attempts: RetryMode,
    persistence: Persistence,
    grouping: Grouping,
}

/// When a message is given up before its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Persistence {
    /// Never: an outage and a full stream are waited out.
    UntilDeadline,
    /// When the stream is known to accept nothing for now.
    WhileAvailable,
}

impl Time {
    fn of_two_attempts(deadline: Instant) -> Self {
        let (attempts, persistence) = (RetryMode::Two, Persistence::UntilDeadline);
        Self { deadline, attempts, persistence, grouping: Grouping::Allowed }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RetryMode {
    /// An attempt, and another if the server dies before the first one's ack.
    Two,
    /// One attempt: the stream is slow, and a second one would only wait behind the first.
    One,
}

/// Whether a message may be stored in one batch with others ([`group_commit`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grouping {
    /// If others are being stored.
    Allowed,
    /// Never: an attempt was made before.
    Alone,
}

/// What came of a publish with a reply subject that is used again.
#[derive(Debug)]
enum Reused {
    Stored(Stored),
    /// The message is to be published with a new subject: it has no id, no subject was free, or its answer was not clear. It may be stored then,
    /// and its id keeps it from being stored twice. The sequence is that of an acknowledgement of this message or an earlier one.
    Unknown(Option<u64>),
}

/// Proof that JetStream stored a message. Only publishing creates one.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    sequence: u64,
    duplicate: bool,
}

impl Stored {
    /// The message's sequence in the stream; for a duplicate, that of the first one.
    pub fn sequence(self) -> u64 {
        self.sequence
    }

    /// Whether the stream already held a message with this id.
    pub fn is_duplicate(self) -> bool {
        self.duplicate
    }
}

/// Whether the server has stored the message that it acknowledges.
///
/// A leader of nats-server 2.10 notes a message's id before it has stored the message, with sequence 0. Where it then cannot
/// store it (its disk is full, or too few servers are left), it calls the next attempt a duplicate all the same. Servers from
/// 2.11 on answer error 10158 instead (nats-server pull requests 5827 and 6486), and 2.9 notes nothing. The message may still
/// be stored later, so that the next attempt goes under the same id.
fn committed(ack: PublishAck) -> Result<PublishAck, PublishError> {
    if ack.duplicate && ack.sequence == 0 {
        return Err(PublishError::Uncommitted);
    }
    Ok(ack)
}

impl Bus {
    /// Stores a message, retrying until `deadline`: across a reconnection, and while a full stream is being purged.
    /// `headers` is called once per attempt and must return the same `Nats-Msg-Id` each time, so that a message whose
    /// ack was lost is not stored twice.
    ///
    /// While the stream acks slowly, the message waits for a permit. It is not written if the permit comes too late for
    /// an ack before the deadline.
    ///
    /// # Errors
    /// The last attempt's [`PublishError`]; [`PublishError::Overloaded`] if no permit came.
    ///
    /// # Examples
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use bus::{Bus, Headers, Priority, Subject, headers};
    /// use tokio::time::Instant;
    ///
    /// # async fn example(bus: &Bus) -> Result<(), Box<dyn std::error::Error>> {
    /// let subject = Subject::Command(Priority::Interactive, bsp::ChannelId::parse("sales")?);
    /// let headers = || Headers::new().with(headers::MESSAGE_ID, "sales.c-1");
    /// let deadline = Instant::now() + Duration::from_secs(5);
    /// let stored = bus.store(&subject, headers, &b"{}".as_slice().into(), deadline).await?;
    /// println!("stored with sequence {}", stored.sequence());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn store(
        &self,
        subject: &Subject,
        headers: impl Fn() -> Headers,
        payload: &Bytes,
        deadline: Instant,
    ) -> Result<Stored, PublishError> {
        self.store_persistently(subject, headers, payload, deadline, Persistence::UntilDeadline).await
    }

    /// Like [`store`](Bus::store) for a message that the caller stores elsewhere if the bus does not: it is given up
    /// immediately when the bus is known to be away ([`Bus::is_away`]) or the stream to be full, or when the stream has
    /// acknowledged nothing for half a second. While that lasts, one message at a time is tried.
    ///
    /// # Errors
    /// As [`store`](Bus::store). The message may have been stored, also if the error is [`PublishError::Disconnected`] or
    /// [`PublishError::TimedOut`].
    pub async fn store_while_available(
        &self,
        subject: &Subject,
        headers: impl Fn() -> Headers,
        payload: &Bytes,
        deadline: Instant,
    ) -> Result<Stored, PublishError> {
        if let Some(error) = self.unavailable(subject.stream()) {
            return Err(error);
        }
        let storing =
            self.store_persistently(subject, headers, payload, deadline, Persistence::WhileAvailable);
        tokio::select! {
            biased;
            outcome = storing => outcome,
            () = self.away.begins() => Err(PublishError::Disconnected),
            () = self.in_flight(subject.stream()).stalls() => Err(PublishError::TimedOut),
        }
    }

    /// Why a stream is known to accept nothing now; `None` if it may.
    fn unavailable(&self, stream: StreamId) -> Option<PublishError> {
        if self.is_away() {
            Some(PublishError::Disconnected)
        } else if self.fill.is_full(stream) {
            Some(PublishError::Full)
        } else if self.in_flight(stream).is_stalled(Instant::now()) {
            Some(PublishError::TimedOut)
        } else {
            self.sequences.place(stream).is_refused().then_some(PublishError::GoneBack)
        }
    }

    /// Waits while a stream is known to accept nothing.
    pub async fn available(&self, stream: StreamId) {
        while self.unavailable(stream).is_some() {
            self.away.ends().await;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn store_persistently(
        &self,
        subject: &Subject,
        headers: impl Fn() -> Headers,
        payload: &Bytes,
        deadline: Instant,
        persistence: Persistence,
    ) -> Result<Stored, PublishError> {
        let stream = subject.stream();
        // No permit is held while the server is unreachable.
        if !self.is_connected() && tokio::time::timeout_at(deadline, self.connected()).await.is_err() {
            return Err(PublishError::Disconnected);
        }
        let in_flight = self.in_flight(stream);
        if let Some(permit) = in_flight.try_permit() {
            let time = Time { deadline, attempts: RetryMode::Two, persistence, grouping: Grouping::Allowed };
            return self.store_now(&permit, subject, headers, payload, time).await;
        }
        let last_moment = deadline.checked_sub(PERMIT_MARGIN).unwrap_or(deadline);
        let Ok(permit) = tokio::time::timeout_at(last_moment, in_flight.permit()).await else {
            return Err(if self.fill.is_full(stream) {
                PublishError::Full
            } else {
                PublishError::Overloaded
            });
        };
        let time = Time { deadline, attempts: RetryMode::One, persistence, grouping: Grouping::Allowed };
        self.store_now(&permit, subject, headers, payload, time).await
    }

    /// Like [`store`](Bus::store) for a message that can wait for its permit without limit. `limit` counts from the
    /// permit.
    ///
    /// # Errors
    /// The last attempt's [`PublishError`].
    pub async fn store_once_permitted(
        &self,
        subject: &Subject,
        headers: impl Fn() -> Headers,
        payload: &Bytes,
        limit: Duration,
    ) -> Result<Stored, PublishError> {
        let permit = self.in_flight(subject.stream()).permit().await;
        let time = Time::of_two_attempts(Instant::now() + limit);
        self.store_now(&permit, subject, headers, payload, time).await
    }

    async fn store_now(
        &self,
        permit: &Permit,
        subject: &Subject,
        headers: impl Fn() -> Headers,
        payload: &Bytes,
        mut time: Time,
    ) -> Result<Stored, PublishError> {
        let stream = subject.stream();
        let place = self.sequences.place(stream);
        let subject = async_nats::Subject::from(subject.to_text());
        loop {
            let began = Instant::now();
            // Checked before the server's own limit: an old server would delete unread messages to make room.
            let outcome = if self.fill.is_full(stream) {
                Err(PublishError::Full)
            } else if !self.sequences.looked_at_by(stream, time.deadline).await {
                Err(PublishError::Disconnected)
            } else if place.is_refused() {
                // After the wait for the check, which may have found it.
                Err(PublishError::GoneBack)
            } else {
                let target = Target { stream, subject: &subject };
                let outcome = self.attempt(target, &headers, payload, time).await;
                time.grouping = Grouping::Alone;
                outcome
            };
            // A duplicate does not show the current sequence, and may be a message that was stored below it.
            let outcome = if place.is_refused() { outcome.and(Err(PublishError::GoneBack)) } else { outcome };
            let now = Instant::now();
            let error = match outcome {
                Ok(stored) => {
                    permit.acknowledged(now - began, now);
                    return Ok(stored);
                }
                Err(error) => error,
            };
            // An unreachable server does not count as a slow one.
            if matches!(error, PublishError::TimedOut) && self.is_connected() {
                permit.timed_out(now);
            }
            let is_given_up = time.persistence == Persistence::WhileAvailable && error.is_unavailable();
            if is_given_up || !error.is_transient() || now + RETRY_PAUSE >= time.deadline {
                return Err(error);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Makes one attempt, without a permit and without a retry.
    pub(crate) async fn store_once(
        &self,
        target: Target<'_>,
        headers: impl Fn() -> Headers,
        payload: &Bytes,
        deadline: Instant,
    ) -> Result<Stored, PublishError> {
        self.attempt(target, &headers, payload, Time::of_two_attempts(deadline)).await
    }

    async fn connected_by(&self, deadline: Instant) -> Result<(), PublishError> {
        if !self.is_connected() && tokio::time::timeout_at(deadline, self.connected()).await.is_err() {
            return Err(PublishError::Disconnected);
        }
        Ok(())
    }

    /// Makes an attempt with a reply subject that is used again ([`crate::client::reply_subjects`]).
    async fn store_with_reused_reply(
        &self,
        target: Target<'_>,
        headers: &impl Fn() -> Headers,
        payload: &Bytes,
        time: Time,
    ) -> Result<Reused, PublishError> {
        let headers = headers();
        let Some(id) = headers.get(MESSAGE_ID) else { return Ok(Reused::Unknown(None)) };
        let Some(mut reply) = self.replies.take(self.sequences.connection()) else {
            return Ok(Reused::Unknown(None));
        };
        let place = self.sequences.place(target.stream);
        // After the subject was taken, so that it is not below what was acknowledged on it.
        let floor = place.highest();
        self.gatherings[target.stream as usize].saw(Some(id));
        let bytes = target.subject.len() + headers.wire_length() + payload.len();
        let _in_flight = self.fill.write(target.stream, bytes);
        let left = time.deadline.saturating_duration_since(Instant::now());
        let limit = match time.attempts {
            RetryMode::Two => left / 2,
            RetryMode::One => left,
        };
        let subject = target.subject.clone();
        let message = Outgoing { subject, headers: headers.into_map(), payload: payload.clone() };
        let publish = reply.publish(&self.client, message, target.stream);
        let answer = tokio::time::timeout(limit, publish).await.map_err(|_| PublishError::TimedOut)??;
        let Some(sequence) = answer.filter(|sequence| *sequence > floor) else {
            return Ok(Reused::Unknown(answer));
        };
        place.raise(sequence);
        reply.reuse();
        Ok(Reused::Stored(Stored { sequence, duplicate: false }))
    }

    async fn attempt(
        &self,
        target: Target<'_>,
        headers: &impl Fn() -> Headers,
        payload: &Bytes,
        time: Time,
    ) -> Result<Stored, PublishError> {
        let Time { deadline, grouping, .. } = time;
        // While disconnected, the client would queue the message and send it later, even after the caller has given up.
        self.connected_by(deadline).await?;
        // Held until the message is acknowledged: others wait for it meanwhile.
        let _turn = match grouping {
            Grouping::Alone => None,
            Grouping::Allowed => match self.gather(target, headers, payload, deadline).await {
                Gathered::Stored(stored) => return Ok(stored),
                Gathered::Alone(turn) => turn,
            },
        };
        // It may have waited with others meanwhile.
        self.connected_by(deadline).await?;
        match self.store_with_reused_reply(target, headers, payload, time).await? {
            Reused::Stored(stored) => Ok(stored),
            // On the heap, because it is rare and the future of every publish would have room for it.
            Reused::Unknown(low) => {
                Box::pin(self.store_with_new_reply(target, headers, payload, time, low)).await
            }
        }
    }

    /// Makes an attempt with a new reply subject. `low` is the sequence of an acknowledgement on another subject.
    async fn store_with_new_reply(
        &self,
        target: Target<'_>,
        headers: &impl Fn() -> Headers,
        payload: &Bytes,
        time: Time,
        low: Option<u64>,
    ) -> Result<Stored, PublishError> {
        let Time { deadline, attempts, .. } = time;
        let left = deadline.saturating_duration_since(Instant::now());
        let jetstream = match attempts {
            // Half of the remaining time: if the server dies with the ack, there is time for another attempt.
            RetryMode::Two => self.publishers.within(left / 2),
            RetryMode::One => self.publishers.beyond(left),
        };
        let floor = self.sequences.place(target.stream).highest();
        let headers = headers();
        self.gatherings[target.stream as usize].saw(headers.get(MESSAGE_ID));
        let bytes = target.subject.len() + headers.wire_length() + payload.len();
        let _in_flight = self.fill.write(target.stream, bytes);
        let publish = async {
            let sent = jetstream
                .publish_with_headers(target.subject.clone(), headers.into_map(), payload.clone())
                .await?;
            Ok::<_, PublishError>(sent.await?)
        };
        // A separate timer only if the client's timeout, which counts twice, could last too long.
        let ack = if left < LAST_ATTEMPT || attempts == RetryMode::One {
            tokio::time::timeout_at(deadline, publish).await.map_err(|_| PublishError::TimedOut)??
        } else {
            publish.await?
        };
        let ack = committed(ack)?;
        // A duplicate of what this attempt itself has stored, at a sequence that is too low, is no duplicate.
        let is_first = !ack.duplicate || low == Some(ack.sequence);
        if is_first && !self.sequences.acknowledged(target.stream, floor, ack.sequence) {
            return Err(PublishError::GoneBack);
        }
        Ok(Stored { sequence: ack.sequence, duplicate: !is_first })
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream;
    use async_nats::jetstream::context::PublishErrorKind;

    use super::*;

    /// The answers of leaders that do not reach the other servers, to the second attempt under one id.
    #[test]
    fn a_duplicate_of_what_is_not_stored_is_not_stored() {
        let of = |answer: &str| committed(serde_json::from_str(answer).unwrap());
        let not_stored = of(r#"{"stream":"WEBHOOKS","seq":0,"duplicate": true}"#);
        assert!(matches!(not_stored, Err(PublishError::Uncommitted)), "2.10.27");
        assert!(PublishError::Uncommitted.is_transient());
        assert_eq!(of(r#"{"stream":"WEBHOOKS","seq":7,"duplicate": true}"#).unwrap().sequence, 7);
        assert_eq!(of(r#"{"stream":"WEBHOOKS","seq":7}"#).unwrap().sequence, 7);

        let answer = r#"{"code":409,"err_code":10158,"description":"duplicate message id is in process"}"#;
        let error: jetstream::Error = serde_json::from_str(answer).unwrap();
        let error = jetstream::context::PublishError::with_source(PublishErrorKind::Other, error);
        assert!(matches!(PublishError::from(error), PublishError::Uncommitted), "2.15.1");
    }
}
