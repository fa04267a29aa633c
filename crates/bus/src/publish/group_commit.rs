//! Group commit: messages of one stream that come while the last store is under way are stored as one atomic batch (NATS ADR-50),
//! which a server syncs once. [`crate::state::gathering`] decides which messages wait and which of them are one batch.
//!
//! Nothing rests on a batch being all or nothing: a power loss may leave a part of it. An acknowledgement counts only if it names the
//! batch and the number of its messages; after anything else each message is stored alone, under its id.
//!
//! A refusal does not say which message is at fault. The batch is halved and each half stored again, down to the size below which
//! messages go alone.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::Client;
use async_nats::header::{NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::stream::Info;
use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::client::connect::Bus;
use crate::client::options::GroupCommit;
use crate::client::publish_contexts::PublishContexts;
use crate::client::versions::{ServerVersion, holders};
use crate::publish::{PublishError, Stored, Target, server_code};
use crate::schema::headers::{EXPECTED_LAST_SUBJECT_SEQUENCE, Headers, MESSAGE_ID};
use crate::schema::stream_id::StreamId;
use crate::state::gathering::select::Member;
use crate::state::gathering::{
    Answer, BATCH_MESSAGES_MIN, Gathering, MEMBER_BYTES_MAX, Outgoing, Turn, Waiting,
};
use crate::state::group_commit_metrics::{BatchMetrics, BatchOutcome};
use crate::state::sequence::Sequences;
use crate::state::stream_fill::StreamFill;

/// First version of nats-server that syncs an atomic batch once with `sync_interval: always` (pull request 8539). Seen with strace:
/// 2.12.1 to 2.15.0-RC.1 sync each of 100 messages, 2.15.0 to 2.15.3 sync six times, whatever the size. 2.12 also acknowledges a batch of
/// which a full disk has lost messages.
pub(crate) const ONE_SYNC_A_BATCH: ServerVersion = ServerVersion::new(2, 15, 0);
/// Time without batches after one whose outcome is unknown: a slow server answers single messages sooner.
const PAUSE_UNKNOWN: Duration = Duration::from_secs(1);
/// Time without batches after one that the server did not take. On a full disk every such batch may leave a file until the server is
/// started again (seen on 2.14.0 to 2.15.3).
const PAUSE_NOT_TAKEN: Duration = Duration::from_secs(30);
/// Bytes that the headers of a batch add to a message, at most.
const BATCH_HEADERS: usize = 110;

/// What became of a message that may be stored with others.
#[derive(Debug)]
pub(super) enum Gathered {
    /// It was stored in a batch.
    Stored(Stored),
    /// The server refused it.
    Refused(PublishError),
    /// It is to be stored alone, while the turn is held if there is one.
    Alone(Option<Turn>),
}

impl Bus {
    /// From now on every message is stored alone: a stop waits for no batch.
    pub fn stop_group_commit(&self) {
        for gathering in &*self.gatherings {
            gathering.end();
        }
    }

    /// Waits for the store that is under way into the stream and for a batch after it. A message that finds none is to be stored alone
    /// at once, and so is one whose batch takes longer than half of the time that it has.
    pub(super) async fn gather(
        &self,
        target: Target<'_>,
        headers: &impl Fn() -> Headers,
        payload: &Bytes,
        deadline: Instant,
    ) -> Gathered {
        let now = Instant::now();
        let answered = match self.join(target, headers, payload, deadline) {
            Ok(answered) => answered,
            Err(turn) => return Gathered::Alone(turn),
        };
        let limit = deadline.saturating_duration_since(now) / 2;
        // On the heap, because the future of every publish would have room for it.
        match Box::pin(timeout(limit, answered)).await {
            Ok(Ok(Answer::Stored(sequence))) => Gathered::Stored(Stored { sequence, duplicate: false }),
            Ok(Ok(Answer::Full)) => Gathered::Refused(PublishError::Full),
            Ok(Ok(Answer::Alone(turn))) => Gathered::Alone(turn),
            // The runtime ends, or nothing came in time.
            Ok(Err(_)) | Err(_) => Gathered::Alone(None),
        }
    }

    /// Joins the messages that wait. If it is not to wait, returns the turn with which it is stored alone, if it has one.
    fn join(
        &self,
        target: Target<'_>,
        headers: &impl Fn() -> Headers,
        payload: &Bytes,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Answer>, Option<Turn>> {
        let gathering = &self.gatherings[target.stream as usize];
        if !gathering.is_allowed(self.sequences.connection(), Instant::now()) {
            return Err(None);
        }
        let headers = headers();
        let id = headers.get(MESSAGE_ID).map(|id| gathering.hash(id));
        if let Some(turn) = gathering.try_turn() {
            id.inspect(|id| gathering.saw(*id));
            return Err(Some(turn));
        }
        let bytes = target.subject.len() + headers.wire_length() + payload.len() + BATCH_HEADERS;
        if bytes > MEMBER_BYTES_MAX || id.is_some_and(|id| gathering.has_seen(id)) {
            return Err(None);
        }
        let expected = headers.get(EXPECTED_LAST_SUBJECT_SEQUENCE);
        let expectation = expected.map(|_| gathering.hash(target.subject.as_str()));
        let message =
            Outgoing { subject: target.subject.clone(), headers: headers.0, payload: payload.clone() };
        let (answer, answered) = oneshot::channel();
        gathering.wait(Waiting { message, bytes, id, expectation, deadline, answer });
        Ok(answered)
    }

    /// Decides after a look at a stream whether it takes batches on the current connection: it allows them, and every server that holds
    /// it syncs a batch once.
    pub(crate) async fn note_batches(&self, stream: StreamId, info: &Info) {
        let gathering = &self.gatherings[stream as usize];
        let connection = self.sequences.connection();
        // With replicas a server syncs what is written at the same time together, in its Raft log.
        let has_gain = info.config.allow_atomic_publish && info.config.num_replicas == 1;
        if !has_gain || self.group_commit == GroupCommit::Off {
            gathering.forbid();
            return;
        }
        let holders = holders(info);
        let versions = self.server_versions(&holders).await;
        let is_new = |name: &String| versions.get(name).is_some_and(|version| *version >= ONE_SYNC_A_BATCH);
        // A server that runs alone may name no holder.
        let are_new = !versions.is_empty() && versions.values().all(|version| *version >= ONE_SYNC_A_BATCH);
        if !(are_new && holders.iter().all(is_new)) {
            gathering.forbid();
            return;
        }
        if gathering.allow(connection) {
            let writer = BatchWriter {
                client: self.client.clone(),
                publishers: self.publishers.clone(),
                sequences: Arc::clone(&self.sequences),
                fill: Arc::clone(&self.fill),
                metrics: self.batch_metrics.clone(),
                stream,
            };
            tokio::spawn(store_what_waits(Arc::downgrade(gathering), gathering.wake(), writer));
        }
    }
}

/// Stores what waits, whenever the last turn was returned, until the bus is dropped.
async fn store_what_waits(gathering: Weak<Gathering>, wake: Arc<Notify>, writer: BatchWriter) {
    loop {
        wake.notified().await;
        let Some(gathering) = gathering.upgrade() else { return };
        let turn = gathering.passed_on();
        let members = gathering.next();
        if members.len() < BATCH_MESSAGES_MIN {
            one_by_one(&gathering, members);
        } else {
            writer.store(&gathering, members).await;
        }
        // The next ones are woken by it.
        drop(turn);
    }
}

/// Tells each message to go alone, all at the same time. The next ones wait for all of them.
fn one_by_one(gathering: &Arc<Gathering>, members: Vec<Member>) {
    for member in members {
        member.answer(|| Answer::Alone(Some(gathering.another())));
    }
}

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

/// Writes batches into one stream.
struct BatchWriter {
    client: Client,
    publishers: PublishContexts,
    sequences: Arc<Sequences>,
    fill: Arc<StreamFill>,
    metrics: BatchMetrics,
    stream: StreamId,
}

impl BatchWriter {
    /// Stores the messages and tells those who wait.
    async fn store(&self, gathering: &Arc<Gathering>, members: Vec<Member>) {
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
