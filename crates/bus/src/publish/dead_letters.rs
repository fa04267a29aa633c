//! Stores dead letters, so that those of one channel never use more than a quarter of DEADLETTERS.
//!
//! While the whole stream is far below a quarter of its limit, so is every channel, and one check of the stream is
//! enough. Above that, the bytes of a channel are its number of messages, which the server counts by subject, times
//! their average size, which the server does not report. So every dead letter has a header with the number and bytes of
//! the dead letters that were written under its subject ([`headers::WRITTEN`]), and the first and the last stored one
//! give the average. A check takes a few requests, however many are stored, and needs no state of earlier writes by
//! this process or another one.
//!
//! A process sees the writes of others at its next check. Until then it adds its own writes, and these are limited to a
//! part of the free bytes that it saw. So as many replicas as there are parts may store at the same time.

use std::time::Duration;

use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio::time::{Instant, timeout};

use crate::client::connect::Bus;
use crate::consume::delivery::Delivery;
use crate::publish::{PublishError, Stored};
use crate::schema::headers::{self, Headers};
use crate::schema::stream_id::StreamId;
use crate::schema::streams::DEADLETTERS;
use crate::schema::subject::{Origin, Subject};
pub use crate::state::dead_letter_quotas::Reservation;
use crate::state::dead_letter_quotas::{ChannelFull, FAR_BELOW, Seen, Written};

/// Divisor of the stream's bytes that gives the share of one channel: a quarter.
const PART_OF_STREAM: u64 = 4;
/// Timeout of one check of the stream.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// Timeout of reading one dead letter.
const READ_LIMIT: Duration = Duration::from_secs(1);
/// Timeout of storing one dead letter.
const STORE_LIMIT: Duration = Duration::from_secs(5);
/// Bytes that the server's file store adds to a message with headers: lengths, sequence, time and checksum (nats-server
/// 2.9 to 2.15, `fileStoreMsgSize`).
const RECORD_BYTES: u64 = 22 + 4 + 8;
/// Bytes of the header `Imchannel-Written` with its value and separators.
const WRITTEN_BYTES: u64 = 64;

/// A dead letter to store.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Its headers, with a `Nats-Msg-Id`.
    pub headers: Headers,
    /// Its payload.
    pub payload: Bytes,
}

impl DeadLetter {
    /// Returns the bytes that it needs in the stream.
    fn size(&self, subject: &str) -> u64 {
        size(subject, &self.headers, &self.payload) + WRITTEN_BYTES
    }
}

fn size(subject: &str, headers: &Headers, payload: &Bytes) -> u64 {
    RECORD_BYTES + (subject.len() + headers.wire_length() + payload.len()) as u64
}

impl From<ChannelFull> for PublishError {
    fn from(_: ChannelFull) -> Self {
        Self::ChannelFull
    }
}

/// Position at which reading a subject begins.
#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

impl Bus {
    /// Reserves room for all dead letters of one message, or for none of them, so that retries of a message do not
    /// store some of them again each time.
    ///
    /// # Errors
    /// [`PublishError::Full`] while the stream is full, [`PublishError::ChannelFull`] if the channel has used its
    /// quarter, and the error if the bus cannot be read.
    pub async fn reserve_dead_letters(
        &self,
        origin: Origin,
        channel: Option<&bsp::ChannelId>,
        letters: &[DeadLetter],
    ) -> Result<Reservation, PublishError> {
        let subject = Subject::DeadLetter(origin, channel.cloned());
        if self.fill.is_full(StreamId::DeadLetters) {
            return Err(PublishError::Full);
        }
        let text = subject.to_text();
        let bytes = letters.iter().map(|letter| letter.size(&text)).sum();
        if let Some(reserved) = self.letters.reserve(&subject, bytes, Instant::now()) {
            return Ok(reserved?);
        }
        if !self.is_connected() {
            return Err(PublishError::Disconnected);
        }
        let looking = async {
            let _one = self.letters.looking.lock().await;
            if let Some(reserved) = self.letters.reserve(&subject, bytes, Instant::now()) {
                return Ok(reserved?);
            }
            let stored = self.letters.stored(subject.channel_token());
            let seen = self.look_at_letters(&subject).await.ok_or(PublishError::TimedOut)?;
            self.letters.looked(subject.channel_token(), seen, stored, Instant::now());
            Ok(self.letters.reserve_seen(&subject, bytes)?)
        };
        timeout(LOOK_LIMIT, looking).await.unwrap_or(Err(PublishError::TimedOut))
    }

    /// Stores one of the dead letters for which room was reserved.
    ///
    /// # Errors
    /// The last attempt's [`PublishError`].
    pub async fn store_dead_letter(
        &self,
        room: &mut Reservation,
        letter: &DeadLetter,
    ) -> Result<Stored, PublishError> {
        let bytes = letter.size(&room.subject.to_text());
        let written = self.letters.write(room.subject.channel_token(), bytes);
        let written = written.map(|written| format!("{}/{}", written.letters, written.bytes));
        let headers = || letter.headers.clone().with_optional(headers::WRITTEN, written.as_deref());
        let stored = self.store_once_permitted(&room.subject, headers, &letter.payload, STORE_LIMIT).await?;
        if !stored.is_duplicate() {
            room.stored += bytes;
        }
        Ok(stored)
    }

    /// Checks a channel; `None` if the server does not respond.
    async fn look_at_letters(&self, subject: &Subject) -> Option<Seen> {
        let stream = self.jetstream.get_stream(DEADLETTERS.name).await.ok()?;
        let (state, config) = (&stream.cached_info().state, &stream.cached_info().config);
        let part = u64::try_from(config.max_bytes).ok().filter(|bytes| *bytes > 0);
        let part = part.map(|bytes| bytes / PART_OF_STREAM);
        let last = self.read_letter(&stream, &subject.to_text(), End::Last).await;
        let written = match &last {
            Read::Letter(letter) => Some(Written::of(&letter.headers).unwrap_or_default()),
            Read::None => Some(Written::default()),
            Read::NoAnswer => None,
        };
        let is_exact = part.is_some_and(|part| state.bytes > part / FAR_BELOW);
        let bytes = if is_exact { self.bytes_of_channel(&stream, subject).await? } else { state.bytes };
        Some(Seen { bytes, is_exact, part, written })
    }

    /// Returns the bytes of a channel's dead letters, of both origins.
    async fn bytes_of_channel(&self, stream: &Stream, subject: &Subject) -> Option<u64> {
        let state = &stream.cached_info().state;
        let average_of_all = state.bytes.checked_div(state.messages).unwrap_or_default();
        let filter = format!("imchannel.deadletter.*.{}", subject.channel_token());
        let counts = stream.info_with_subjects(filter).await.ok()?;
        let counts: Vec<(String, usize)> = counts.try_collect().await.ok()?;
        let mut bytes = 0;
        for (subject, count) in counts {
            let first = self.read_letter(stream, &subject, End::First).await;
            let last = self.read_letter(stream, &subject, End::Last).await;
            bytes += match (first, last) {
                (Read::Letter(first), Read::Letter(last)) => {
                    bytes_between(&first, &last, count as u64, average_of_all)
                }
                // They were deleted in between, or must not be read.
                _ => average_of_all * count as u64,
            };
        }
        Some(bytes)
    }

    async fn read_letter(&self, stream: &Stream, subject: &str, end: End) -> Read {
        if self.letters.is_blind(Instant::now()) {
            return Read::NoAnswer;
        }
        let request = stream.raw_message_builder();
        let request = match end {
            End::First => request.sequence(1).next_by_subject(subject),
            End::Last => request.last_by_subject(subject),
        };
        match timeout(READ_LIMIT, request.send()).await {
            Ok(Ok(message)) => Read::Letter(Box::new(Delivery::stored(message))),
            Ok(Err(error)) if error.kind() == RawMessageErrorKind::NoMessageFound => Read::None,
            Ok(Err(_)) | Err(_) => {
                self.letters.set_blind(Instant::now());
                Read::NoAnswer
            }
        }
    }
}

/// Result of reading a dead letter.
enum Read {
    Letter(Box<Delivery>),
    None,
    NoAnswer,
}

/// Returns the bytes of `count` dead letters of a subject, from the first and the last of them.
fn bytes_between(first: &Delivery, last: &Delivery, count: u64, average_of_all: u64) -> u64 {
    let of = |letter: &Delivery| size(&letter.subject, &letter.headers, &letter.payload);
    if first.sequence == last.sequence {
        return of(last) * count;
    }
    if count <= 2 {
        return of(first) + of(last);
    }
    let written = match (Written::of(&first.headers), Written::of(&last.headers)) {
        (Some(first), Some(last)) => {
            let letters = last.letters.checked_sub(first.letters);
            letters.zip(last.bytes.checked_sub(first.bytes)).filter(|(letters, _)| *letters > 0)
        }
        _ => None,
    };
    match written {
        // Some of them may be deleted. The others count with the average size of all.
        Some((letters, bytes)) => {
            let others = u128::from(bytes) * u128::from(count - 1) / u128::from(letters);
            of(first) + u64::try_from(others).unwrap_or(u64::MAX / 2)
        }
        // A version that wrote no totals, or two processes that did not see each other's writes.
        None => average_of_all * count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(sequence: u64, written: Option<&str>, payload_bytes: usize) -> Delivery {
        Delivery {
            subject: "imchannel.deadletter.webhook.c".to_owned(),
            headers: Headers::new().with_optional(headers::WRITTEN, written),
            payload: vec![0; payload_bytes].into(),
            sequence,
            attempt: 0,
            stored_at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_bytes_of_a_channel_are_its_letters_times_their_average() {
        let (first, last) = (letter(5, Some("100/50000"), 400), letter(900, Some("300/250000"), 100));
        let of_first = size(&first.subject, &first.headers, &first.payload);
        assert_eq!(bytes_between(&first, &last, 201, 7), of_first + 200_000);
        // Half of them were removed.
        assert_eq!(bytes_between(&first, &last, 101, 7), of_first + 100_000);
        let of_last = size(&last.subject, &last.headers, &last.payload);
        assert_eq!(bytes_between(&first, &last, 2, 7), of_first + of_last);
        assert_eq!(bytes_between(&last, &last, 1, 7), of_last);
        // Without totals, or with inconsistent ones.
        assert_eq!(bytes_between(&letter(1, None, 9), &last, 10, 7), 70);
        assert_eq!(bytes_between(&last, &letter(901, Some("12/900"), 9), 10, 7), 70);
        assert_eq!(Written::parse("17/x"), None);
    }
}
