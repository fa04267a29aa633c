//! One atomic batch (NATS ADR-50): written, acknowledged, and halved when the server refuses it because of one message.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::{NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use async_nats::{Client, connection};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::client::publish_contexts::PublishContexts;
use crate::publish::error::{PublishError, server_code};
use crate::schema::stream_id::StreamId;
use crate::state::gathering::gain::Way;
use crate::state::gathering::select::Member;
use crate::state::gathering::{Answer, BATCH_MESSAGES_MIN, Gathering, Outgoing, Turn};
use crate::state::group_commit_metrics::{BatchMetrics, BatchOutcome};
use crate::state::sequence::Sequences;
use crate::state::stream_fill::StreamFill;

/// Most refused batches of one gathering: then the rest goes alone, because there are many messages at fault.
const REFUSALS_MAX: u32 = 6;
/// Shortest wait for a batch. With less time its messages go alone.
const WAIT_MIN: Duration = Duration::from_millis(250);
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
            PublishError::Refused(source) => match refusal_code(&*source) {
                Some(AT_FAULT) => Self::OneAtFault,
                Some(_) => Self::NotTaken,
                None => Self::Unknown,
            },
            PublishError::TooLarge | PublishError::Full => Self::NotTaken,
            _ => Self::Unknown,
        }
    }

    fn outcome(&self) -> BatchOutcome {
        match self {
            Self::Stored(_) => BatchOutcome::stored,
            Self::OneAtFault => BatchOutcome::halved,
            Self::NotTaken => BatchOutcome::refused,
            Self::Unknown => BatchOutcome::unknown,
        }
    }
}

/// Error of a batch of which one message is a duplicate (10201). Expectations that do not hold (10071, 10164) are
/// [`PublishError::WrongLastSequence`].
const AT_FAULT: ErrorCode = ErrorCode::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE;

/// The server's own code of a refusal.
fn refusal_code(source: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<ErrorCode> {
    server_code(source.downcast_ref()?)
}

/// Tells each message to go alone, all at the same time. The next ones wait for all of them.
pub(super) fn one_by_one(turn: &Turn, members: Vec<Member>) {
    for member in members {
        member.answer(|| Answer::Alone(Some(Gathering::another(turn))));
    }
}

/// Writes batches into one stream.
pub(super) struct BatchWriter {
    pub(super) client: Client,
    pub(super) publishers: PublishContexts,
    /// Number of times that the connection was established.
    pub(super) connections: watch::Receiver<u64>,
    pub(super) sequences: Arc<Sequences>,
    pub(super) fill: Arc<StreamFill>,
    pub(super) metrics: BatchMetrics,
    pub(super) stream: StreamId,
    /// Whether messages go one by one where that is quicker.
    pub(super) chooses: bool,
}

impl BatchWriter {
    /// Stores the messages of a turn and tells those who wait.
    pub(super) async fn store(&self, gathering: &Gathering, mut turn: Turn, mut members: Vec<Member>) {
        members.retain(Member::is_awaited);
        if self.chooses && Gathering::way(&mut turn, members.len(), Instant::now()) != Way::Batch {
            return one_by_one(&turn, members);
        }
        let (mut parts, mut refusals) = (vec![members], 0);
        while let Some(mut members) = parts.pop() {
            members.retain(Member::is_awaited);
            let limit = limit(&members);
            if refusals >= REFUSALS_MAX || limit < WAIT_MIN || !self.is_a_batch(gathering, &members) {
                one_by_one(&turn, members);
                continue;
            }
            let (connection, began) = (self.sequences.connection(), Instant::now());
            let result = self.commit(&mut members, limit).await;
            self.metrics.count(self.stream.name(), result.outcome(), members.len());
            match result {
                BatchResult::Stored(last) => {
                    let now = Instant::now();
                    gathering.batch_took(now.saturating_duration_since(began), now);
                    let first = last + 1 - members.len() as u64;
                    for (member, sequence) in members.into_iter().zip(first..) {
                        member.answer(|| Answer::Stored(sequence));
                    }
                }
                BatchResult::OneAtFault => {
                    refusals += 1;
                    // The header that commits stays on the last message, which is the last of its half too.
                    let second = members.split_off(members.len() / 2);
                    parts.push(second);
                    parts.push(members);
                }
                BatchResult::NotTaken | BatchResult::Unknown => {
                    // A server that was restarted in between does not know the beginning.
                    let is_same = self.sequences.connection() == connection;
                    let is_refused = result == BatchResult::NotTaken && is_same;
                    let pause = if is_refused { PAUSE_NOT_TAKEN } else { PAUSE_UNKNOWN };
                    let now = Instant::now();
                    if result == BatchResult::Unknown && is_same {
                        gathering.batch_was_late(now.saturating_duration_since(began), now);
                    }
                    gathering.pause(now, pause);
                    one_by_one(&turn, members);
                }
            }
        }
    }

    /// Whether messages are stored as a batch now.
    fn is_a_batch(&self, gathering: &Gathering, members: &[Member]) -> bool {
        members.len() >= BATCH_MESSAGES_MIN
            && self.client.connection_state() == connection::State::Connected
            && gathering.is_allowed(self.sequences.connection(), Instant::now())
    }

    /// Writes one batch, and waits for its acknowledgement.
    async fn commit(&self, members: &mut [Member], limit: Duration) -> BatchResult {
        let floor = self.sequences.place(self.stream).highest();
        let id = self.batch_id();
        let bytes = members.iter().map(|member| member.bytes).sum();
        let _in_flight = self.fill.write(self.stream, bytes);
        let count = members.len() as u64;
        let mut connections = self.connections.clone();
        connections.mark_unchanged();
        let answer = tokio::select! {
            biased;
            answer = timeout(limit, self.write(members, &id, limit)) => {
                answer.unwrap_or(Err(PublishError::TimedOut))
            }
            // The acknowledgement was lost with the connection.
            _ = connections.changed() => Err(PublishError::Disconnected),
        };
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

/// How long a batch is waited for: half of the time that its most impatient message has.
fn limit(members: &[Member]) -> Duration {
    let now = Instant::now();
    let deadline = members.iter().map(|member| member.deadline).min().unwrap_or(now);
    deadline.saturating_duration_since(now) / 2
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
        // No room for all of it, not enabled, incomplete, too many open.
        for not_taken in [10077, 10174, 10176, 10210] {
            assert_eq!(refusal(not_taken), BatchResult::NotTaken, "{not_taken}");
        }
    }
}
