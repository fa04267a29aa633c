//! One atomic batch (NATS ADR-50): written, acknowledged, and halved when the server refuses it because of one message.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::header::{NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use tokio::time::{Instant, timeout_at};

use crate::client::publish_contexts::PublishContexts;
use crate::publish::error::{PublishError, server_code};
use crate::schema::stream_id::StreamId;
use crate::state::gathering::select::Member;
use crate::state::gathering::{Answer, BATCH_MESSAGES_MIN, Gathering, Outgoing};
use crate::state::group_commit_metrics::{BatchMetrics, BatchOutcome};
use crate::state::sequence::Sequences;
use crate::state::stream_fill::StreamFill;

/// Time without batches after one whose outcome is unknown: a slow server answers single messages sooner.
const PAUSE_UNKNOWN: Duration = Duration::from_secs(1);
/// Time without batches after one that the server did not take. On a full disk every such batch may leave a file until the server is
/// started again (seen on 2.14.0 to 2.15.3).
const PAUSE_NOT_TAKEN: Duration = Duration::from_secs(30);

/// What came of a batch.
#[derive(Debug, PartialEq, Eq)]
enum BatchResult {
    /// All of it was stored; the sequence of its last message.
    Stored(u64),
    /// One of its messages is at fault, and nothing was stored.
    OneAtFault,
    /// The stream is full.
    Full,
    /// The server takes no batches, or not this one.
    NotTaken,
    /// It is not known what was stored.
    Unknown,
}

impl BatchResult {
    /// The answer to the last message of a batch.
    fn of(answer: Result<PublishAck, PublishError>, id: &str, count: u64) -> Self {
        let error = match answer {
            Ok(ack) => {
                let is_whole = ack.batch_id.as_deref() == Some(id) && ack.batch_size == Some(count);
                return if is_whole && ack.sequence >= count {
                    Self::Stored(ack.sequence)
                } else {
                    Self::Unknown
                };
            }
            Err(error) => error,
        };
        match error {
            PublishError::WrongLastSequence | PublishError::Uncommitted => Self::OneAtFault,
            PublishError::Full => Self::Full,
            PublishError::Refused(source) => match refusal_code(&*source) {
                Some(code) if AT_FAULT.contains(&code) => Self::OneAtFault,
                Some(_) => Self::NotTaken,
                None => Self::Unknown,
            },
            PublishError::TooLarge => Self::NotTaken,
            _ => Self::Unknown,
        }
    }

    /// Time without batches after it.
    fn pause(&self) -> Duration {
        match self {
            Self::NotTaken => PAUSE_NOT_TAKEN,
            _ => PAUSE_UNKNOWN,
        }
    }

    fn outcome(&self) -> BatchOutcome {
        match self {
            Self::Stored(_) => BatchOutcome::stored,
            Self::OneAtFault => BatchOutcome::halved,
            Self::Full | Self::NotTaken => BatchOutcome::refused,
            Self::Unknown => BatchOutcome::unknown,
        }
    }
}

/// Errors of a batch of which one message is at fault: a duplicate (10201), and an expectation that does not hold. The last message's own
/// (10071) has a kind in the client.
const AT_FAULT: [ErrorCode; 2] =
    [ErrorCode::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE, ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT];

/// The server's own code of a refusal.
fn refusal_code(source: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<ErrorCode> {
    server_code(source.downcast_ref()?)
}

/// Tells each message to go alone, all at the same time. The next ones wait for all of them.
pub(super) fn one_by_one(gathering: &Arc<Gathering>, members: Vec<Member>) {
    for member in members {
        member.answer(|| Answer::Alone(Some(gathering.another())));
    }
}

/// Writes batches into one stream.
pub(super) struct BatchWriter {
    pub(super) client: Client,
    pub(super) publishers: PublishContexts,
    pub(super) sequences: Arc<Sequences>,
    pub(super) fill: Arc<StreamFill>,
    pub(super) metrics: BatchMetrics,
    pub(super) stream: StreamId,
}

impl BatchWriter {
    /// Stores the messages and tells those who wait.
    pub(super) async fn store(&self, gathering: &Arc<Gathering>, members: Vec<Member>) {
        let mut parts = vec![members];
        while let Some(mut members) = parts.pop() {
            if members.len() < BATCH_MESSAGES_MIN {
                one_by_one(gathering, members);
                continue;
            }
            let result = self.commit(&mut members).await;
            self.metrics.count(self.stream.name(), result.outcome(), members.len());
            match result {
                BatchResult::Stored(last) => {
                    let first = last + 1 - members.len() as u64;
                    for (member, sequence) in members.into_iter().zip(first..) {
                        member.answer(|| Answer::Stored(sequence));
                    }
                }
                BatchResult::OneAtFault => {
                    let second = members.split_off(members.len() / 2);
                    parts.push(second);
                    parts.push(members);
                }
                BatchResult::Full => members.into_iter().for_each(|member| member.answer(|| Answer::Full)),
                BatchResult::NotTaken | BatchResult::Unknown => {
                    gathering.pause(Instant::now(), result.pause());
                    members.into_iter().for_each(|member| member.answer(|| Answer::Alone(None)));
                }
            }
        }
    }

    /// Writes one batch, and waits for half of the time that its most impatient member has.
    async fn commit(&self, members: &mut [Member]) -> BatchResult {
        let now = Instant::now();
        let deadline = members.iter().map(|member| member.deadline).min().unwrap_or(now);
        let limit = deadline.saturating_duration_since(now) / 2;
        let floor = self.sequences.place(self.stream).highest();
        let id = self.batch_id();
        let bytes = members.iter().map(|member| member.bytes).sum();
        let _in_flight = self.fill.write(self.stream, bytes);
        let acked = self.write(members, &id, limit);
        let answer = match timeout_at(now + limit, acked).await {
            Ok(answer) => answer,
            Err(_) => Err(PublishError::TimedOut),
        };
        let count = members.len() as u64;
        match BatchResult::of(answer, &id, count) {
            BatchResult::Stored(last) => {
                let is_above = self.sequences.acknowledged(self.stream, floor, last + 1 - count)
                    && self.sequences.acknowledged(self.stream, floor, last);
                // Alone, each message finds that the stream's sequence has gone back.
                if is_above { BatchResult::Stored(last) } else { BatchResult::Unknown }
            }
            other => other,
        }
    }

    async fn write(
        &self,
        members: &mut [Member],
        id: &str,
        limit: Duration,
    ) -> Result<PublishAck, PublishError> {
        let count = members.len();
        for (member, position) in members.iter_mut().zip(1..) {
            let Outgoing { subject, headers, payload } = &mut member.message;
            headers.insert(NATS_BATCH_ID, id);
            headers.insert(NATS_BATCH_SEQUENCE, position.to_string());
            if position < count {
                let (subject, headers, payload) = (subject.clone(), headers.clone(), payload.clone());
                let written = self.client.publish_with_headers(subject, headers, payload).await;
                written.map_err(|_| PublishError::Disconnected)?;
                continue;
            }
            headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
            let jetstream = self.publishers.beyond(limit);
            let sent = jetstream.publish_with_headers(subject.clone(), headers.clone(), payload.clone());
            return Ok(sent.await?.await?);
        }
        Err(PublishError::Disconnected)
    }

    /// A unique name, from the client's own names of inboxes.
    fn batch_id(&self) -> String {
        let inbox = self.client.new_inbox();
        inbox.rsplit('.').next().unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::context::PublishErrorKind;

    use super::*;

    /// The result of the answers of nats-server to a batch `b1` of three messages.
    fn result(answer: &str) -> BatchResult {
        let refused = |kind, error: async_nats::jetstream::Error| {
            Err(async_nats::jetstream::context::PublishError::with_source(kind, error).into())
        };
        let answer = match serde_json::from_str(answer).unwrap() {
            async_nats::jetstream::response::Response::Ok(ack) => Ok(ack),
            async_nats::jetstream::response::Response::Err { error } => match error.error_code() {
                ErrorCode::STREAM_WRONG_LAST_SEQUENCE => refused(PublishErrorKind::WrongLastSequence, error),
                _ => refused(PublishErrorKind::Other, error),
            },
        };
        BatchResult::of(answer, "b1", 3)
    }

    /// The answer of a server to a refused batch.
    fn refusal(code: u64) -> BatchResult {
        result(&format!(
            r#"{{"error":{{"code":400,"err_code":{code},"description":"why"}},"stream":"S","seq":0}}"#
        ))
    }

    #[test]
    fn an_acknowledgement_counts_with_the_batch_and_its_number_of_messages() {
        assert_eq!(result(r#"{"stream":"S","seq":9,"batch":"b1","count":3}"#), BatchResult::Stored(9));
        for other in [
            r#"{"stream":"S","seq":9,"batch":"b1","count":2}"#,
            r#"{"stream":"S","seq":9,"batch":"b0","count":3}"#,
            r#"{"stream":"S","seq":2,"batch":"b1","count":3}"#,
            // 2.9 and 2.10, which store each message alone.
            r#"{"stream":"S", "seq":9}"#,
            r#"{"stream":"S", "seq":9,"duplicate": true}"#,
        ] {
            assert_eq!(result(other), BatchResult::Unknown, "{other}");
        }
        assert_eq!(BatchResult::of(Err(PublishError::TimedOut), "b1", 3), BatchResult::Unknown);
        assert_eq!(BatchResult::of(Err(PublishError::Disconnected), "b1", 3), BatchResult::Unknown);
    }

    #[test]
    fn a_refusal_says_whether_one_message_is_at_fault() {
        for one_at_fault in [10201, 10071, 10164, 10158] {
            assert_eq!(refusal(one_at_fault), BatchResult::OneAtFault, "{one_at_fault}");
        }
        assert_eq!(refusal(10077), BatchResult::Full);
        // Not enabled, incomplete, too many open.
        for not_taken in [10174, 10176, 10210] {
            assert_eq!(refusal(not_taken), BatchResult::NotTaken, "{not_taken}");
        }
    }
}
