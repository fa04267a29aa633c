//! Group commit: messages of one stream that come while the last store is under way are stored as one atomic batch (NATS ADR-50),
//! which a server syncs once. [`crate::state::gathering`] decides which messages wait and which of them are one batch.
//!
//! Nothing rests on a batch being all or nothing: a power loss may leave a part of it. An acknowledgement counts only if it names the
//! batch and the number of its messages; after anything else each message is stored alone, under its id.
//!
//! [`crate::publish::batch`] stores one batch.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::jetstream::stream::Info;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::client::connect::Bus;
use crate::client::options::GroupCommit;
use crate::client::versions::{ONE_SYNC_A_BATCH, holders};
use crate::publish::batch::BatchWriter;
use crate::publish::{Stored, Target};
use crate::schema::headers::{EXPECTED_LAST_SUBJECT_SEQUENCE, Headers, MESSAGE_ID};
use crate::schema::stream_id::StreamId;
use crate::state::gathering::{
    Answer, BATCH_MESSAGES_MIN, Gathering, MEMBER_BYTES_MAX, Outgoing, Turn, Waiting,
};

/// Bytes that the headers of a batch add to a message, at most.
const BATCH_HEADERS: usize = 110;
/// Time before its deadline from which a message never waits. A batch waits for half of what its most impatient message has left, and one
/// that waits too shortly helps none of them.
const TIME_LEFT_MIN: Duration = Duration::from_secs(1);

/// What became of a message that may be stored with others.
#[derive(Debug)]
pub(super) enum Gathered {
    /// It was stored in a batch.
    Stored(Stored),
    /// It is to be stored alone, while the turn is held if there is one.
    Alone(Option<Turn>),
}

/// A message that waits with others.
struct Joined {
    ticket: u64,
    answered: oneshot::Receiver<Answer>,
}

impl Joined {
    /// Waits for half of the time until the deadline, and longer only for the batch that it is in.
    async fn answered(mut self, gathering: &Gathering, deadline: Instant) -> Gathered {
        let half = deadline.saturating_duration_since(Instant::now()) / 2;
        let answer = match timeout(half, &mut self.answered).await {
            Ok(answer) => answer.ok(),
            Err(_) if gathering.leave(self.ticket) => None,
            Err(_) => timeout_at(deadline, self.answered).await.ok().and_then(Result::ok),
        };
        match answer {
            Some(Answer::Stored(sequence)) => Gathered::Stored(Stored { sequence, duplicate: false }),
            Some(Answer::Alone(turn)) => Gathered::Alone(turn),
            None => Gathered::Alone(None),
        }
    }
}

impl Bus {
    /// From now on every message is stored alone: a stop waits for no batch.
    pub fn stop_group_commit(&self) {
        for gathering in &*self.gatherings {
            gathering.end();
        }
    }

    /// Waits for the store that is under way into the stream and for a batch after it. A message that finds none is to be stored alone
    /// at once, and so is one that is in no batch after half of the time that it has.
    pub(super) async fn gather(
        &self,
        target: Target<'_>,
        headers: &impl Fn() -> Headers,
        payload: &Bytes,
        deadline: Instant,
    ) -> Gathered {
        match self.join(target, headers, payload, deadline) {
            // On the heap, because the future of every publish would have room for it.
            Ok(joined) => Box::pin(joined.answered(&self.gatherings[target.stream as usize], deadline)).await,
            Err(turn) => Gathered::Alone(turn),
        }
    }

    /// Joins the messages that wait. If it is not to wait, returns the turn with which it is stored alone, if it has one.
    fn join(
        &self,
        target: Target<'_>,
        headers: &impl Fn() -> Headers,
        payload: &Bytes,
        deadline: Instant,
    ) -> Result<Joined, Option<Turn>> {
        let gathering = &self.gatherings[target.stream as usize];
        if !gathering.is_allowed(self.sequences.connection(), Instant::now()) {
            return Err(None);
        }
        if let Some(turn) = gathering.try_turn() {
            return Err(Some(turn));
        }
        let headers = headers();
        let id = headers.get(MESSAGE_ID).map(|id| gathering.hash(id));
        let bytes = target.subject.len() + headers.wire_length() + payload.len() + BATCH_HEADERS;
        let is_late = deadline.saturating_duration_since(Instant::now()) < TIME_LEFT_MIN;
        if is_late || bytes > MEMBER_BYTES_MAX || id.is_some_and(|id| gathering.has_seen(id)) {
            return Err(None);
        }
        let expected = headers.get(EXPECTED_LAST_SUBJECT_SEQUENCE);
        let expectation = expected.map(|_| gathering.hash(target.subject.as_str()));
        let message = Outgoing {
            subject: target.subject.clone(),
            headers: headers.into_map(),
            payload: payload.clone(),
        };
        let (answer, answered) = oneshot::channel();
        let ticket = gathering.ticket();
        gathering.wait(Waiting { ticket, message, bytes, id, expectation, deadline, answer });
        Ok(Joined { ticket, answered })
    }

    /// Decides after a look at a stream, which was made on that connection, whether it takes batches: it allows them, and every server
    /// that holds it syncs a batch once.
    pub(crate) async fn note_batches(&self, stream: StreamId, info: &Info, connection: u64) {
        self.batch_metrics.show(stream.name());
        let gathering = &self.gatherings[stream as usize];
        let is_possible = self.group_commit != GroupCommit::Off && self.has_gain(info).await;
        let chooses = self.group_commit == GroupCommit::WhereQuicker;
        if stream.bucket_name().is_none() {
            // Fewer in flight could never be a batch.
            let least = if is_possible && !chooses { 2 * BATCH_MESSAGES_MIN + 1 } else { 0 };
            self.in_flight(stream).set_least(least, Instant::now());
        }
        if !is_possible {
            gathering.forbid();
            return;
        }
        if let Some(turns) = gathering.allow(connection) {
            let writer = BatchWriter {
                client: self.client.clone(),
                publishers: self.publishers.clone(),
                connections: self.connections(),
                sequences: Arc::clone(&self.sequences),
                fill: Arc::clone(&self.fill),
                metrics: self.batch_metrics.clone(),
                stream,
                chooses,
            };
            tokio::spawn(store_what_waits(turns, Arc::downgrade(gathering), writer));
        }
    }

    /// Whether a stream gains by batches: it allows them, and its only server syncs a batch once. With replicas a server syncs what is
    /// written at the same time together, in its Raft log.
    async fn has_gain(&self, info: &Info) -> bool {
        if !info.config.allow_atomic_publish || info.config.num_replicas != 1 {
            return false;
        }
        let holders = holders(info);
        let versions = self.server_versions(&holders).await;
        let is_new = |name: &String| versions.get(name).is_some_and(|version| *version >= ONE_SYNC_A_BATCH);
        // A server that runs alone may name no holder.
        let are_new = !versions.is_empty() && versions.values().all(|version| *version >= ONE_SYNC_A_BATCH);
        are_new && holders.iter().all(is_new)
    }
}

/// Stores what waits, whenever the last turn was returned, until the bus is dropped.
async fn store_what_waits(
    mut turns: mpsc::UnboundedReceiver<Turn>,
    gathering: Weak<Gathering>,
    writer: BatchWriter,
) {
    // The next ones come when a turn is dropped.
    while let Some(turn) = turns.recv().await {
        let Some(gathering) = gathering.upgrade() else { return };
        let members = gathering.next();
        writer.store(&gathering, turn, members).await;
    }
}
