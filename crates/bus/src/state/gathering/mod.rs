//! Which messages of one stream wait to be stored together (group commit): those that come while the last store of this process is
//! under way. No timer gathers them, so that a message that comes alone goes alone, without waiting.
//!
//! A turn is the right to write to the stream. A message that finds no turn taken takes it. Others wait, and are selected when the last
//! turn is returned ([`select`]): many as one batch, few each with a turn. Storing them is the work of
//! [`crate::publish::group_commit`].
//!
//! Taking and returning a turn takes no lock. Waiting takes one, to join the queue.

pub(crate) mod seen_ids;
pub(crate) mod select;

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::state::gathering::seen_ids::SeenIds;
use crate::state::gathering::select::Member;

/// Most messages of a batch. The server takes 1,000 (nats-server 2.12, `streamMaxBatchSize`); more than this do not raise the rate.
pub(crate) const BATCH_MESSAGES_MAX: usize = 256;
/// Most bytes of a batch: the server holds them in memory until the commit.
pub(crate) const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Fewest messages of a batch: a batch of fewer takes longer than the same messages one by one (BENCHMARKS.md).
pub(crate) const BATCH_MESSAGES_MIN: usize = 16;
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
    /// The stream is full.
    Full,
    /// It is to be stored alone, with a turn if no batch had it. Otherwise it may have been stored.
    Alone(Option<Turn>),
}

/// The messages of one stream that wait, and the turns.
#[derive(Debug)]
pub(crate) struct Gathering {
    /// Turns that are taken.
    turns: AtomicUsize,
    /// Length of the queue, readable without its lock.
    waiting: AtomicUsize,
    queue: Mutex<VecDeque<Waiting>>,
    /// Called when a turn was taken for the messages that wait.
    wake: Arc<Notify>,
    /// Connection on which batches are allowed.
    allowed_on: AtomicU64,
    start: Instant,
    /// End of a pause, in milliseconds from `start`.
    paused_until_ms: AtomicU64,
    /// Whether batches are never allowed again.
    is_ended: AtomicBool,
    seen: OnceLock<SeenIds>,
    hasher: RandomState,
}

/// The right to write to the stream. Dropping it returns it.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Gathering>);

impl Turn {
    /// Remembers the id of a message that is written with it.
    pub(crate) fn saw(&self, id: Option<&str>) {
        id.into_iter().for_each(|id| self.0.saw(self.0.hash(id)));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.0.turns.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.pass_on();
        }
    }
}

impl Gathering {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            turns: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
            wake: Arc::default(),
            allowed_on: AtomicU64::new(NEVER),
            start: now,
            paused_until_ms: AtomicU64::new(0),
            is_ended: AtomicBool::new(false),
            seen: OnceLock::new(),
            hasher: RandomState::new(),
        }
    }

    /// Allows batches on a connection. Returns whether they were never allowed before, so that a task has to be started for
    /// [`wake`](Self::wake).
    pub(crate) fn allow(&self, connection: u64) -> bool {
        let is_first = self.seen.get().is_none();
        let _ = self.seen.get_or_init(SeenIds::default);
        self.allowed_on.store(connection, Ordering::Release);
        is_first
    }

    /// Allows no batches, until the next [`allow`](Self::allow).
    pub(crate) fn forbid(&self) {
        self.allowed_on.store(NEVER, Ordering::Release);
    }

    /// Allows no batches from now on.
    pub(crate) fn end(&self) {
        self.is_ended.store(true, Ordering::Relaxed);
    }

    /// Allows no batches for a while.
    pub(crate) fn pause(&self, now: Instant, pause: Duration) {
        let until = now.saturating_duration_since(self.start) + pause;
        self.paused_until_ms.store(until.as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether messages may gather on a connection.
    pub(crate) fn is_allowed(&self, connection: u64, now: Instant) -> bool {
        self.allowed_on.load(Ordering::Acquire) == connection
            && !self.is_ended.load(Ordering::Relaxed)
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

    /// Remembers an id that is written.
    fn saw(&self, id: u64) {
        if let Some(seen) = self.seen.get() {
            seen.insert(id);
        }
    }

    /// Takes a turn if none is taken.
    pub(crate) fn try_turn(self: &Arc<Self>) -> Option<Turn> {
        self.is_taken_now().then(|| Turn(Arc::clone(self)))
    }

    /// Lets a message wait for the turns that are taken.
    pub(crate) fn wait(&self, message: Waiting) {
        {
            let mut queue = self.queue();
            queue.push_back(message);
            self.waiting.store(queue.len(), Ordering::SeqCst);
        }
        // The last turn may have been returned before the message was in the queue.
        self.pass_on();
    }

    /// Wakes the task that stores what waits.
    pub(crate) fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// The turn of a task that was woken: it was taken for it.
    pub(crate) fn passed_on(self: &Arc<Self>) -> Turn {
        Turn(Arc::clone(self))
    }

    /// One more turn, for a message that goes alone at the same time as others.
    pub(crate) fn another(self: &Arc<Self>) -> Turn {
        self.turns.fetch_add(1, Ordering::SeqCst);
        Turn(Arc::clone(self))
    }

    /// Takes the next messages out of the queue: those that can be one batch.
    pub(crate) fn next(&self) -> Vec<Member> {
        let mut queue = self.queue();
        let members = select::select(&mut queue);
        self.waiting.store(queue.len(), Ordering::SeqCst);
        drop(queue);
        for id in members.iter().filter_map(|member| member.id) {
            self.saw(id);
        }
        members
    }

    /// Takes a turn for the messages that wait, unless one is taken.
    fn pass_on(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 && self.is_taken_now() {
            self.wake.notify_one();
        }
    }

    fn is_taken_now(&self) -> bool {
        self.turns.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        // The task ends when it finds that this is gone.
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn new() -> Arc<Gathering> {
        let gathering = Arc::new(Gathering::new(Instant::now()));
        assert!(gathering.allow(1), "the first time");
        gathering
    }

    fn waiting(subject: &str) -> (Waiting, oneshot::Receiver<Answer>) {
        let (answer, answered) = oneshot::channel();
        let message = Outgoing { subject: subject.into(), headers: HeaderMap::new(), payload: Bytes::new() };
        let deadline = Instant::now() + Duration::from_secs(3);
        (Waiting { message, bytes: 1, id: None, expectation: None, deadline, answer }, answered)
    }

    fn is_woken(gathering: &Gathering) -> bool {
        gathering.wake.notified().now_or_never().is_some()
    }

    #[tokio::test]
    async fn what_comes_during_a_turn_is_passed_on_when_the_last_turn_is_returned() {
        let gathering = new();
        let turn = gathering.try_turn().unwrap();
        assert!(gathering.try_turn().is_none());
        let (first, _first) = waiting("first");
        let (second, _second) = waiting("second");
        gathering.wait(first);
        gathering.wait(second);
        assert!(!is_woken(&gathering));
        let another = gathering.another();
        drop(turn);
        assert!(!is_woken(&gathering), "one turn is left");
        drop(another);
        assert!(is_woken(&gathering));
        let turn = gathering.passed_on();
        assert!(gathering.try_turn().is_none());
        assert_eq!(gathering.next().len(), 2);
        drop(turn);
        assert!(!is_woken(&gathering) && gathering.try_turn().is_some());
    }

    #[tokio::test]
    async fn a_message_that_waits_after_the_last_turn_was_returned_is_passed_on() {
        let gathering = new();
        drop(gathering.try_turn().unwrap());
        let (late, _late) = waiting("late");
        gathering.wait(late);
        assert!(is_woken(&gathering));
    }

    #[tokio::test]
    async fn batches_are_allowed_on_one_connection_except_in_a_pause_and_after_the_end() {
        let (gathering, now) = (new(), Instant::now());
        assert!(gathering.is_allowed(1, now) && !gathering.is_allowed(2, now));
        assert!(!gathering.allow(2), "not the first time");
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
        let gathering = new();
        let id = gathering.hash("id");
        let (mut member, _answered) = waiting("s");
        member.id = Some(id);
        gathering.wait(member);
        assert!(!gathering.has_seen(id));
        assert_eq!(gathering.next().len(), 1);
        assert!(gathering.has_seen(id));
    }
}
