//! Group commit: messages of one stream that come while the last store is under way are stored as one atomic batch (NATS ADR-50),
//! which a server syncs once. [`crate::state::gathering`] decides which messages wait and which of them are one batch.
//!
//! Nothing rests on a batch being all or nothing: a power loss may leave a part of it. An acknowledgement counts only if it names the
//! batch and the number of its messages; after anything else each message is stored alone, under its id.
//!
//! [`crate::publish::batch`] stores one batch.

use std::sync::{Arc, Weak};

use async_nats::jetstream::stream::Info;
use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use crate::client::connect::Bus;
use crate::client::options::GroupCommit;
use crate::client::versions::{ONE_SYNC_A_BATCH, holders};
use crate::publish::batch::{BatchWriter, one_by_one};
use crate::publish::error::PublishError;
use crate::publish::{Stored, Target};
use crate::schema::headers::{EXPECTED_LAST_SUBJECT_SEQUENCE, Headers, MESSAGE_ID};
use crate::schema::stream_id::StreamId;
use crate::state::gathering::{
    Answer, BATCH_MESSAGES_MIN, Gathering, MEMBER_BYTES_MAX, Outgoing, Turn, Waiting,
};

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
        if let Some(turn) = gathering.try_turn() {
            return Err(Some(turn));
        }
        let headers = headers();
        let id = headers.get(MESSAGE_ID).map(|id| gathering.hash(id));
        let bytes = target.subject.len() + headers.wire_length() + payload.len() + BATCH_HEADERS;
        if bytes > MEMBER_BYTES_MAX || id.is_some_and(|id| gathering.has_seen(id)) {
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
        gathering.wait(Waiting { message, bytes, id, expectation, deadline, answer });
        Ok(answered)
    }

    /// Decides after a look at a stream whether it takes batches on the current connection: it allows them, and every server that holds
    /// it syncs a batch once.
    pub(crate) async fn note_batches(&self, stream: StreamId, info: &Info) {
        self.batch_metrics.show(stream.name());
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
