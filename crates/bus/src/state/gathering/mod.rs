//! Which messages of one stream wait to be stored together (group commit): those that come while the last store of this process is
//! under way. No timer gathers them, so that a message that comes alone goes alone, without waiting.
//!
//! A turn is the right to write to the stream. A message that finds no turn taken takes it. Others wait, and are selected when the last
//! turn is returned ([`select`]): many as one batch, few each with a turn. Storing them is the work of
//! [`crate::publish::group_commit`]. A turn counts on the connection on which it was taken: what an earlier one has written is answered no
//! more. Which way is quicker, [`gain`] says, from the times that both took.
//!
//! Taking and returning a turn takes no lock, except that the last of many messages whose time is measured records it. Waiting takes one,
//! to join the queue.

pub(crate) mod gain;
pub(crate) mod seen_ids;
pub(crate) mod select;

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::state::gathering::gain::{Gain, Way};
use crate::state::gathering::seen_ids::SeenIds;
use crate::state::gathering::select::Member;

/// Most messages of a batch. The server takes 1,000 (nats-server 2.12, `streamMaxBatchSize`); more than this do not raise the rate.
pub(crate) const BATCH_MESSAGES_MAX: usize = 256;
/// Most bytes of a batch: the server holds them in memory until the commit.
pub(crate) const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Fewest messages of a batch: a batch of fewer takes longer than the same messages one by one
/// (`bench/measure/batches.py`).
pub(crate) const BATCH_MESSAGES_MIN: usize = 16;
/// Time for which messages do not wait for others because a batch is not quicker.
const PAUSE_NO_GAIN: Duration = Duration::from_secs(10);
/// Bytes of a message above which it never waits.
pub(crate) const MEMBER_BYTES_MAX: usize = 64 * 1024;
/// No connection: batches are not allowed.
const NEVER: u64 = u64::MAX;

/// A message as it is written.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) subject: async_nats::Subject,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

/// A message that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Its number in the queue.
    pub(crate) ticket: u64,
    pub(crate) message: Outgoing,
    /// Bytes that it takes in a batch.
    pub(crate) bytes: usize,
    /// Hash of its `Nats-Msg-Id`.
    pub(crate) id: Option<u64>,
    /// Hash of its subject, if it names the last sequence of that subject that it expects.
    pub(crate) expectation: Option<u64>,
    pub(crate) deadline: Instant,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// What became of a message that waited.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It was stored with this sequence, for its batch was acknowledged.
    Stored(u64),
    /// It is to be stored alone, with a turn if no batch had it. Otherwise it may have been stored.
    Alone(Option<Turn>),
}

/// The messages of one stream that wait, and the turns.
#[derive(Debug)]
pub(crate) struct Gathering {
    /// Turns that are taken, in the lower half; the connection on which they count, in the upper one.
    turns: AtomicU64,
    tickets: AtomicU64,
    /// Length of the queue, readable without its lock.
    waiting: AtomicUsize,
    queue: Mutex<VecDeque<Waiting>>,
    /// Receives a turn for the messages that wait.
    next_turns: mpsc::UnboundedSender<Turn>,
    /// Until the task that stores what waits is started.
    receiver: Mutex<Option<mpsc::UnboundedReceiver<Turn>>>,
    /// Connection on which batches are allowed.
    allowed_on: AtomicU64,
    start: Instant,
    /// End of a pause, in milliseconds from `start`.
    paused_until_ms: AtomicU64,
    /// Whether batches are never allowed again.
    is_ended: AtomicBool,
    seen: OnceLock<SeenIds>,
    hasher: RandomState,
    gain: Mutex<Gain>,
}

/// Messages that are stored one by one at the same time. Dropping it, with the turn of the last one, records the time that they took.
#[derive(Debug)]
struct Together {
    of: Arc<Gathering>,
    connection: u32,
    messages: usize,
    began: Instant,
}

impl Drop for Together {
    fn drop(&mut self) {
        // What was written on an earlier connection took as long as the connection was away.
        if self.of.allowed_on.load(Ordering::Acquire) as u32 == self.connection {
            let now = Instant::now();
            self.of.gain().singles_took(self.messages, now.saturating_duration_since(self.began), now);
        }
    }
}

/// The right to write to the stream. Dropping it returns it.
#[derive(Debug)]
pub(crate) struct Turn {
    of: Arc<Gathering>,
    connection: u32,
    /// The messages with which this one is stored.
    together: Option<Arc<Together>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Before the next messages get the turn: their way depends on it.
        drop(self.together.take());
        let one_less = |turns| {
            let (connection, count) = parts(turns);
            (connection == self.connection && count > 0).then(|| whole(connection, count - 1))
        };
        let before = self.of.turns.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        if before.is_ok_and(|before| parts(before).1 == 1) {
            self.of.pass_on();
        }
    }
}

fn parts(turns: u64) -> (u32, u32) {
    ((turns >> 32) as u32, turns as u32)
}

fn whole(connection: u32, count: u32) -> u64 {
    (u64::from(connection) << 32) | u64::from(count)
}

impl Gathering {
    pub(crate) fn new(now: Instant) -> Self {
        let (next_turns, receiver) = mpsc::unbounded_channel();
        Self {
            turns: AtomicU64::new(0),
            tickets: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
            next_turns,
            receiver: Mutex::new(Some(receiver)),
            allowed_on: AtomicU64::new(NEVER),
            start: now,
            paused_until_ms: AtomicU64::new(0),
            is_ended: AtomicBool::new(false),
            seen: OnceLock::new(),
            hasher: RandomState::new(),
            gain: Mutex::default(),
        }
    }

    /// Allows batches on a connection. Turns of an earlier one count no more. The first time it returns the turns that a task has to
    /// receive, each for the messages that wait then.
    pub(crate) fn allow(self: &Arc<Self>, connection: u64) -> Option<mpsc::UnboundedReceiver<Turn>> {
        let _ = self.seen.get_or_init(SeenIds::default);
        if self.allowed_on.swap(connection, Ordering::AcqRel) != connection {
            let reset = |turns| {
                let is_new = parts(turns).0 != connection as u32;
                is_new.then(|| whole(connection as u32, 0))
            };
            let _ = self.turns.fetch_update(Ordering::SeqCst, Ordering::SeqCst, reset);
            self.pass_on();
        }
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Allows no batches, until the next [`allow`](Self::allow).
    pub(crate) fn forbid(&self) {
        self.allowed_on.store(NEVER, Ordering::Release);
    }

    /// Allows no batches from now on. What waits is told to go alone.
    pub(crate) fn end(&self) {
        self.is_ended.store(true, Ordering::SeqCst);
        let waiting = {
            let mut queue = self.queue();
            self.waiting.store(0, Ordering::SeqCst);
            std::mem::take(&mut *queue)
        };
        for waiting in waiting {
            // An error says that the caller waits no more.
            let _ = waiting.answer.send(Answer::Alone(None));
        }
    }

    /// Allows no batches for a while.
    pub(crate) fn pause(&self, now: Instant, pause: Duration) {
        let until = now.saturating_duration_since(self.start) + pause;
        self.paused_until_ms.store(until.as_millis() as u64, Ordering::Relaxed);
    }

    /// The way for messages of a turn. If they go one by one, their time is measured from now on until the turn and all others that are
    /// made of it are returned. If batches are not quicker, there are none for a while.
    pub(crate) fn way(turn: &mut Turn, messages: usize, now: Instant) -> Way {
        let way = turn.of.gain().way(messages, now);
        if way == Way::NoGain {
            turn.of.pause(now, PAUSE_NO_GAIN);
        }
        if way != Way::Batch && messages >= BATCH_MESSAGES_MIN {
            let (of, connection) = (Arc::clone(&turn.of), turn.connection);
            turn.together = Some(Arc::new(Together { of, connection, messages, began: now }));
        }
        way
    }

    /// Records the time that a batch took.
    pub(crate) fn batch_took(&self, time: Duration, now: Instant) {
        self.gain().batch_took(time, now);
    }

    /// Records that a batch was not acknowledged within a time.
    pub(crate) fn batch_was_late(&self, time: Duration, now: Instant) {
        self.gain().batch_was_late(time, now);
    }

    fn gain(&self) -> MutexGuard<'_, Gain> {
        self.gain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether messages may gather on a connection.
    pub(crate) fn is_allowed(&self, connection: u64, now: Instant) -> bool {
        self.allowed_on.load(Ordering::Acquire) == connection
            && !self.is_ended.load(Ordering::SeqCst)
            && now.saturating_duration_since(self.start).as_millis() as u64
                >= self.paused_until_ms.load(Ordering::Relaxed)
    }

    /// Hash of a message id or a subject.
    pub(crate) fn hash(&self, text: &str) -> u64 {
        self.hasher.hash_one(text)
    }

    /// Whether an id was written lately. A batch with such an id would be refused, so that the message goes alone.
    pub(crate) fn has_seen(&self, id: u64) -> bool {
        self.seen.get().is_some_and(|seen| seen.contains(id))
    }

    /// Remembers the id of a message that is written, once batches were allowed.
    pub(crate) fn saw(&self, id: Option<&str>) {
        if let (Some(seen), Some(id)) = (self.seen.get(), id) {
            seen.insert(self.hash(id));
        }
    }

    /// Takes a turn if none is taken.
    pub(crate) fn try_turn(self: &Arc<Self>) -> Option<Turn> {
        let one = |turns| {
            let (connection, count) = parts(turns);
            (count == 0).then(|| whole(connection, 1))
        };
        let before = self.turns.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one).ok()?;
        Some(Turn { of: Arc::clone(self), connection: parts(before).0, together: None })
    }

    /// One more turn beside one that is held, for a message that goes alone at the same time as others.
    pub(crate) fn another(held: &Turn) -> Turn {
        let one_more = |turns| {
            let (connection, count) = parts(turns);
            (connection == held.connection).then(|| whole(connection, count + 1))
        };
        let _ = held.of.turns.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        Turn { of: Arc::clone(&held.of), connection: held.connection, together: held.together.clone() }
    }

    /// A number for a message that is to wait.
    pub(crate) fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets a message wait for the turns that are taken.
    pub(crate) fn wait(self: &Arc<Self>, message: Waiting) {
        {
            let mut queue = self.queue();
            queue.push_back(message);
            self.waiting.store(queue.len(), Ordering::SeqCst);
        }
        if self.is_ended.load(Ordering::SeqCst) {
            self.end();
        }
        // The last turn may have been returned before the message was in the queue.
        self.pass_on();
    }

    /// Takes a message out of the queue. Returns whether it was there: otherwise it is being stored.
    pub(crate) fn leave(&self, ticket: u64) -> bool {
        let mut queue = self.queue();
        let place = queue.iter().position(|waiting| waiting.ticket == ticket);
        let is_found = place.and_then(|place| queue.remove(place)).is_some();
        self.waiting.store(queue.len(), Ordering::SeqCst);
        is_found
    }

    /// Takes the next messages out of the queue: those that can be one batch.
    pub(crate) fn next(&self) -> Vec<Member> {
        let mut queue = self.queue();
        let members = select::select(&mut queue);
        self.waiting.store(queue.len(), Ordering::SeqCst);
        drop(queue);
        if let Some(seen) = self.seen.get() {
            members.iter().filter_map(|member| member.id).for_each(|id| seen.insert(id));
        }
        members
    }

    /// Takes a turn for the messages that wait, unless one is taken, and passes it to the task that stores them.
    fn pass_on(self: &Arc<Self>) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let Some(turn) = self.try_turn() else { return };
        if let Err(refused) = self.next_turns.send(turn) {
            // The task has ended. Nothing may wait for it.
            self.end();
            drop(refused);
        }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Turns = mpsc::UnboundedReceiver<Turn>;

    fn new() -> (Arc<Gathering>, Turns) {
        let gathering = Arc::new(Gathering::new(Instant::now()));
        let turns = gathering.allow(1).expect("the first time");
        (gathering, turns)
    }

    fn waiting(gathering: &Gathering, subject: &str) -> (Waiting, oneshot::Receiver<Answer>) {
        let (answer, answered) = oneshot::channel();
        let message = Outgoing { subject: subject.into(), headers: HeaderMap::new(), payload: Bytes::new() };
        let deadline = Instant::now() + Duration::from_secs(3);
        let ticket = gathering.ticket();
        (Waiting { ticket, message, bytes: 1, id: None, expectation: None, deadline, answer }, answered)
    }

    #[tokio::test]
    async fn what_comes_during_a_turn_is_passed_on_when_the_last_turn_is_returned() {
        let (gathering, mut turns) = new();
        let turn = gathering.try_turn().unwrap();
        assert!(gathering.try_turn().is_none());
        let (first, _first) = waiting(&gathering, "first");
        let (second, _second) = waiting(&gathering, "second");
        gathering.wait(first);
        gathering.wait(second);
        assert!(turns.try_recv().is_err());
        let another = Gathering::another(&turn);
        drop(turn);
        assert!(turns.try_recv().is_err(), "one turn is left");
        drop(another);
        let turn = turns.try_recv().unwrap();
        assert!(gathering.try_turn().is_none());
        assert_eq!(gathering.next().len(), 2);
        drop(turn);
        assert!(turns.try_recv().is_err() && gathering.try_turn().is_some());
    }

    #[tokio::test]
    async fn a_message_that_waits_after_the_last_turn_was_returned_is_passed_on() {
        let (gathering, mut turns) = new();
        drop(gathering.try_turn().unwrap());
        let (late, _late) = waiting(&gathering, "late");
        gathering.wait(late);
        assert!(turns.try_recv().is_ok());
    }

    #[tokio::test]
    async fn a_turn_of_an_earlier_connection_holds_up_nothing() {
        let (gathering, mut turns) = new();
        let lost = gathering.try_turn().unwrap();
        let (first, _first) = waiting(&gathering, "first");
        gathering.wait(first);
        assert!(gathering.allow(2).is_none(), "the task runs");
        let turn = turns.try_recv().unwrap();
        // Returned late, they change nothing.
        drop(Gathering::another(&lost));
        drop(lost);
        assert!(gathering.try_turn().is_none());
        drop(gathering.next());
        drop(turn);
        assert!(gathering.try_turn().is_some());
    }

    #[tokio::test]
    async fn a_message_leaves_the_queue_and_not_a_batch() {
        let (gathering, _turns) = new();
        let _turn = gathering.try_turn().unwrap();
        let (first, _first) = waiting(&gathering, "first");
        let (second, _second) = waiting(&gathering, "second");
        let tickets = [first.ticket, second.ticket];
        gathering.wait(first);
        gathering.wait(second);
        assert!(gathering.leave(tickets[0]) && !gathering.leave(tickets[0]));
        assert_eq!(gathering.next().len(), 1);
        assert!(!gathering.leave(tickets[1]), "it is being stored");
    }

    #[tokio::test]
    async fn messages_that_go_one_by_one_are_measured_until_the_last_turn_is_returned() {
        let ((gathering, _turns), now) = (new(), Instant::now());
        (1..gain::MEASUREMENTS).for_each(|_| gathering.gain().singles_took(16, Duration::ZERO, now));
        let way = |turn: &mut Turn| Gathering::way(turn, BATCH_MESSAGES_MIN, now);
        let mut turn = gathering.try_turn().unwrap();
        assert_eq!(way(&mut turn), Way::Singles, "the first are measured");
        let another = Gathering::another(&turn);
        drop(turn);
        let mut second = Gathering::another(&another);
        assert_eq!(way(&mut second), Way::Singles, "one is in flight");
        drop(another);
        assert_eq!(way(&mut second), Way::Batch);
        (0..gain::MEASUREMENTS).for_each(|_| gathering.batch_took(Duration::from_secs(60), now));
        assert!(gathering.is_allowed(1, now));
        assert_eq!(way(&mut second), Way::NoGain);
        assert!(!gathering.is_allowed(1, now) && gathering.is_allowed(1, now + PAUSE_NO_GAIN));
    }

    #[tokio::test]
    async fn the_time_of_messages_on_an_earlier_connection_does_not_count() {
        let ((gathering, _turns), now) = (new(), Instant::now());
        (1..gain::MEASUREMENTS).for_each(|_| gathering.gain().singles_took(16, Duration::ZERO, now));
        let mut turn = gathering.try_turn().unwrap();
        Gathering::way(&mut turn, BATCH_MESSAGES_MIN, now);
        gathering.allow(2);
        drop(turn);
        let mut turn = gathering.try_turn().unwrap();
        assert_eq!(Gathering::way(&mut turn, BATCH_MESSAGES_MIN, now), Way::Singles, "still not measured");
    }

    #[tokio::test]
    async fn nothing_waits_after_the_end_or_for_a_task_that_has_ended() {
        let (gathering, turns) = new();
        let turn = gathering.try_turn().unwrap();
        let (first, mut told) = waiting(&gathering, "first");
        gathering.wait(first);
        drop(turns);
        drop(turn);
        assert!(matches!(told.try_recv(), Ok(Answer::Alone(None))));
        assert!(!gathering.is_allowed(1, Instant::now()));
        let (second, mut told) = waiting(&gathering, "second");
        gathering.wait(second);
        assert!(matches!(told.try_recv(), Ok(Answer::Alone(None))));
    }

    #[tokio::test]
    async fn batches_are_allowed_on_one_connection_except_in_a_pause_and_after_the_end() {
        let ((gathering, _turns), now) = (new(), Instant::now());
        assert!(gathering.is_allowed(1, now) && !gathering.is_allowed(2, now));
        gathering.allow(2);
        assert!(gathering.is_allowed(2, now));
        gathering.pause(now, Duration::from_secs(1));
        assert!(!gathering.is_allowed(2, now) && gathering.is_allowed(2, now + Duration::from_secs(2)));
        gathering.forbid();
        assert!(!gathering.is_allowed(2, now + Duration::from_secs(2)));
        gathering.allow(2);
        gathering.end();
        assert!(!gathering.is_allowed(2, now + Duration::from_secs(2)));
    }

    #[tokio::test]
    async fn an_id_is_seen_once_it_is_written() {
        let (gathering, _turns) = new();
        let _turn = gathering.try_turn().unwrap();
        let (mut member, _answered) = waiting(&gathering, "s");
        member.id = Some(gathering.hash("id"));
        gathering.wait(member);
        assert!(!gathering.has_seen(gathering.hash("id")));
        assert_eq!(gathering.next().len(), 1);
        assert!(gathering.has_seen(gathering.hash("id")));
        gathering.saw(Some("other"));
        assert!(gathering.has_seen(gathering.hash("other")));
    }
}
