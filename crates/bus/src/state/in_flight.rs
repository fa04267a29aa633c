//! The stores of one stream that are in flight in this process: as many as the stream acknowledges quickly
//! ([`crate::state::adaptive_limit`]). Others wait for a permit, first come, first served. A waiting message is not written yet, so
//! giving up costs the stream nothing.
//!
//! While permits are free, acquiring and returning one and recording an ack take no lock, because every webhook does
//! this.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::state::adaptive_limit::{Acknowledged, AdaptiveLimit, CHANGE_EVERY};

/// Time without an acknowledgment, although stores are in flight, after which a stream is stalled.
const STALLED_AFTER: Duration = Duration::from_millis(500);
/// Interval of the checks for stores in flight that wait for a stall ([`InFlight::stalls`]).
const STALL_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Checks in a row that must find a stall: a process that was suspended has acknowledgments that it has not read.
const STALL_CHECKS: u32 = 2;
/// Time without a least limit after the stream was too slow for it.
const LEAST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabels {
    stream: &'static str,
}

/// Metrics of the limits of writes in flight, by stream.
#[derive(Debug, Clone, Default)]
pub struct InFlightMetrics {
    limit: Family<StreamLabels, Gauge>,
    waiting: Family<StreamLabels, Gauge>,
}

impl InFlightMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Limit of this process's stores in flight into a stream; it is lower while the stream acknowledges slowly";
        registry.register("publishes_in_flight_limit", help, self.limit.clone());
        let help = "Messages that wait to be stored because the limit of stores in flight is reached";
        registry.register("publishes_pending", help, self.waiting.clone());
    }

    fn of(&self, stream: &'static str) -> Shown {
        let labels = StreamLabels { stream };
        Shown {
            limit: self.limit.get_or_create(&labels).clone(),
            waiting: self.waiting.get_or_create(&labels).clone(),
        }
    }
}

#[derive(Debug)]
struct Shown {
    limit: Gauge,
    waiting: Gauge,
}

/// The stores in flight of one stream.
#[derive(Debug)]
pub(crate) struct InFlight {
    stores: AtomicUsize,
    limit: AtomicUsize,
    /// The limit is never below it.
    least: AtomicUsize,
    /// Since when there may be a least limit again, in µs after the start of `seen`.
    least_from_us: AtomicU64,
    /// Length of `queue.waiting`, readable without its lock.
    waiting: AtomicUsize,
    seen: SharedCounts,
    queue: Mutex<Queue>,
    shown: Shown,
    /// Whether stores in flight were given up because of a stall, and none was acknowledged since.
    has_stalled: AtomicBool,
    /// Whether it is stalled, for stores in flight. The first one that waits for it starts the checks.
    stalled: OnceLock<watch::Receiver<bool>>,
}

#[derive(Debug)]
struct Queue {
    pace: AdaptiveLimit,
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

/// What was observed since the limit was last adjusted.
#[derive(Debug)]
struct SharedCounts {
    start: Instant,
    looked_at_us: AtomicU64,
    /// When a store was last acknowledged, or begun while none was in flight.
    progress_us: AtomicU64,
    acknowledged: AtomicU64,
    took_us: AtomicU64,
    was_reached: AtomicBool,
}

/// Permit for one store in flight, returned when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    /// `None` once it is returned.
    of: Option<Arc<InFlight>>,
}

impl InFlight {
    pub(crate) fn new(stream: &'static str, metrics: &InFlightMetrics, now: Instant) -> Arc<Self> {
        let pace = AdaptiveLimit::new(now);
        let shown = metrics.of(stream);
        shown.limit.set(pace.limit() as i64);
        let seen = SharedCounts {
            start: now,
            looked_at_us: AtomicU64::new(0),
            progress_us: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            took_us: AtomicU64::new(0),
            was_reached: AtomicBool::new(false),
        };
        Arc::new(Self {
            stores: AtomicUsize::new(0),
            limit: AtomicUsize::new(pace.limit()),
            least: AtomicUsize::new(0),
            least_from_us: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            seen,
            queue: Mutex::new(Queue { pace, waiting: VecDeque::new() }),
            shown,
            has_stalled: AtomicBool::new(false),
            stalled: OnceLock::new(),
        })
    }

    /// Whether stores are in flight and none was acknowledged for half a second. It ends with an acknowledgment, or when all of
    /// them are given up, so that another tries. After a stall one tries at a time, until one is acknowledged.
    pub(crate) fn is_stalled(&self, now: Instant) -> bool {
        let is_trying = self.stores.load(Ordering::Relaxed) > 0 && self.has_stalled.load(Ordering::Relaxed);
        is_trying || self.is_silent(now)
    }

    /// Whether the stores in flight have waited for half a second for an acknowledgment of any of them.
    fn is_silent(&self, now: Instant) -> bool {
        let quiet_us = self.seen.at(now).saturating_sub(self.seen.progress_us.load(Ordering::Relaxed));
        self.stores.load(Ordering::Relaxed) > 0 && quiet_us > STALLED_AFTER.as_micros() as u64
    }

    /// Waits until the stream is stalled, for a store in flight.
    pub(crate) async fn stalls(self: &Arc<Self>) {
        let mut stalled = self.stalled.get_or_init(|| watch_stalls(Arc::downgrade(self))).clone();
        // The last check may be older than a store that began after it.
        let is_stalled = |stalled: &bool| *stalled && self.is_silent(Instant::now());
        if stalled.wait_for(is_stalled).await.is_err() {
            // The runtime ends.
            std::future::pending::<()>().await;
        }
    }

    /// Sets what the limit is never below, so that enough wait for a batch. It does not hold for a while after the limit had to be lowered
    /// below it: such a stream stores the messages of a batch one after another, and more in flight only wait longer.
    pub(crate) fn set_least(&self, least: usize, now: Instant) {
        let is_paused = self.seen.at(now) < self.least_from_us.load(Ordering::Relaxed);
        self.least.store(if is_paused { 0 } else { least }, Ordering::Relaxed);
    }

    /// Returns a permit if one is free now.
    pub(crate) fn try_permit(self: &Arc<Self>) -> Option<Permit> {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            return None;
        }
        self.take()
    }

    /// Waits for a permit. Dropping the future leaves the queue.
    pub(crate) async fn permit(self: &Arc<Self>) -> Permit {
        if let Some(permit) = self.try_permit() {
            return permit;
        }
        self.seen.was_reached.store(true, Ordering::Relaxed);
        let receiver = {
            let (sender, receiver) = oneshot::channel();
            let mut queue = self.queue();
            queue.waiting.push_back(sender);
            // A permit that is returned from here on finds a waiting task; this line finds one that was returned
            // before.
            self.waiting.store(queue.waiting.len(), Ordering::SeqCst);
            self.serve(&mut queue);
            receiver
        };
        receiver.await.expect("the queue outlives its waiting tasks")
    }

    fn take(self: &Arc<Self>) -> Option<Permit> {
        let limit = self.limit.load(Ordering::SeqCst).max(self.least.load(Ordering::Relaxed));
        let one_more = |stores: usize| (stores < limit).then_some(stores + 1);
        let before = self.stores.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok()?;
        if before == 0 {
            self.seen.progressed(Instant::now());
        }
        Some(Permit { of: Some(Arc::clone(self)) })
    }

    /// Gives free permits to waiting tasks.
    fn serve(self: &Arc<Self>, queue: &mut Queue) {
        while !queue.waiting.is_empty()
            && let Some(permit) = self.take()
            && let Some(next) = queue.waiting.pop_front()
        {
            if let Err(mut permit) = next.send(permit) {
                // It does not wait any more. Dropping the permit would lock again, and the lock is held here.
                permit.of = None;
                self.stores.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.waiting.store(queue.waiting.len(), Ordering::SeqCst);
        self.shown.waiting.set(queue.waiting.len() as i64);
    }

    fn acknowledged(self: &Arc<Self>, took: Duration, now: Instant) {
        let seen = &self.seen;
        seen.acknowledged.fetch_add(1, Ordering::Relaxed);
        seen.took_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
        let now_us = seen.progressed(now);
        if self.has_stalled.load(Ordering::Relaxed) {
            self.has_stalled.store(false, Ordering::Relaxed);
        }
        let looked_at_us = seen.looked_at_us.load(Ordering::Relaxed);
        if now_us.saturating_sub(looked_at_us) < CHANGE_EVERY.as_micros() as u64 {
            return;
        }
        // Of all tasks that see that it is time, one adjusts the limit.
        let mine =
            seen.looked_at_us.compare_exchange(looked_at_us, now_us, Ordering::Relaxed, Ordering::Relaxed);
        if mine.is_ok() {
            self.change(|pace| pace.observe(seen.take(), now));
        }
    }

    fn change(self: &Arc<Self>, change: impl FnOnce(&mut AdaptiveLimit)) {
        let mut queue = self.queue();
        let before = queue.pace.limit();
        change(&mut queue.pace);
        if queue.pace.limit() < before.min(self.least.load(Ordering::Relaxed)) {
            self.least_from_us.store(self.seen.at(Instant::now() + LEAST_PAUSE), Ordering::Relaxed);
            self.least.store(0, Ordering::Relaxed);
        }
        self.limit.store(queue.pace.limit(), Ordering::SeqCst);
        self.shown.limit.set(queue.pace.limit() as i64);
        self.serve(&mut queue);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks for stalls until the stores are dropped. One timer for all of them costs less than one for each.
fn watch_stalls(stores: Weak<InFlight>) -> watch::Receiver<bool> {
    let (stalled, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let mut ticks = interval(STALL_CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent_checks = 0;
        loop {
            ticks.tick().await;
            let Some(stores) = stores.upgrade() else { return };
            silent_checks = if stores.is_silent(Instant::now()) { silent_checks + 1 } else { 0 };
            let is_stalled = silent_checks >= STALL_CHECKS;
            if is_stalled {
                stores.has_stalled.store(true, Ordering::Relaxed);
            }
            let _ = stalled.send_if_modified(|known| std::mem::replace(known, is_stalled) != is_stalled);
        }
    });
    receiver
}

impl SharedCounts {
    fn at(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_micros() as u64
    }

    /// Records progress. Returns its time.
    fn progressed(&self, now: Instant) -> u64 {
        let now_us = self.at(now);
        self.progress_us.store(now_us, Ordering::Relaxed);
        now_us
    }

    fn take(&self) -> Acknowledged {
        Acknowledged {
            acknowledged: self.acknowledged.swap(0, Ordering::Relaxed) as u32,
            took: Duration::from_micros(self.took_us.swap(0, Ordering::Relaxed)),
            was_reached: self.was_reached.swap(false, Ordering::Relaxed),
        }
    }
}

impl Permit {
    /// Records that the stream acknowledged the store, `took` after it was begun.
    pub(crate) fn acknowledged(&self, took: Duration, now: Instant) {
        if let Some(of) = &self.of {
            of.acknowledged(took, now);
        }
    }

    /// Records that the stream did not acknowledge it in time.
    pub(crate) fn timed_out(&self, now: Instant) {
        if let Some(of) = &self.of {
            of.change(|pace| pace.timed_out(now));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(of) = self.of.take() else { return };
        of.stores.fetch_sub(1, Ordering::SeqCst);
        if of.waiting.load(Ordering::SeqCst) > 0 {
            let mut queue = of.queue();
            of.serve(&mut queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn new() -> Arc<InFlight> {
        InFlight::new("TEST", &InFlightMetrics::default(), Instant::now())
    }

    fn limit(stores: &InFlight) -> usize {
        stores.limit.load(Ordering::SeqCst)
    }

    fn in_flight(stores: &InFlight) -> usize {
        stores.stores.load(Ordering::SeqCst)
    }

    fn all(stores: &Arc<InFlight>) -> Vec<Permit> {
        std::iter::from_fn(|| stores.try_permit()).collect()
    }

    #[tokio::test]
    async fn waiting_tasks_are_served_in_order_and_before_others() {
        let stores = new();
        let mut taken = all(&stores);
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(stores.permit())).collect();
        for permit in &mut waiting {
            assert!(permit.now_or_never().is_none());
        }
        // The second leaves the queue: the third follows the first.
        drop(waiting.remove(1));
        taken.pop();
        assert!(stores.try_permit().is_none());
        let first = (&mut waiting[0]).now_or_never().unwrap();
        assert!((&mut waiting[1]).now_or_never().is_none());
        drop(first);
        assert!((&mut waiting[1]).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_permit_for_a_task_that_stopped_waiting_is_not_lost() {
        let stores = new();
        let mut taken = all(&stores);
        let most = taken.len();
        let mut waiting = Box::pin(stores.permit());
        assert!((&mut waiting).now_or_never().is_none());
        taken.pop();
        drop(waiting);
        drop(taken);
        assert_eq!(in_flight(&stores), 0);
        assert_eq!(all(&stores).len(), most);
    }

    #[tokio::test]
    async fn the_limit_follows_what_is_acknowledged_also_while_permits_are_out() {
        let (now, stores) = (Instant::now(), new());
        let taken = all(&stores);
        let first = taken.len();
        taken[0].timed_out(now);
        assert!(stores.try_permit().is_none());
        drop(taken);
        let taken = all(&stores);
        assert_eq!(taken.len(), first / 4);

        // A waiting task gets the permit by which the limit grows.
        let mut waiting = Box::pin(stores.permit());
        assert!((&mut waiting).now_or_never().is_none());
        for tenth in 1..=3 {
            taken[0].acknowledged(Duration::from_millis(1), now + Duration::from_millis(150 * tenth));
        }
        assert!((&mut waiting).now_or_never().is_some(), "{}", limit(&stores));
        assert!(limit(&stores) > first / 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_least_limit_does_not_hold_for_a_while_after_the_stream_was_too_slow_for_it() {
        let stores = new();
        stores.set_least(limit(&stores) / 2, Instant::now());
        let taken = all(&stores);
        taken[0].timed_out(Instant::now());
        drop(taken);
        let is_lower = |stores: &Arc<InFlight>| all(stores).len() == limit(stores);
        assert!(is_lower(&stores));
        stores.set_least(50, Instant::now());
        assert!(is_lower(&stores), "it is set again with each look at the stream");
        tokio::time::advance(LEAST_PAUSE).await;
        stores.set_least(50, Instant::now());
        assert_eq!(all(&stores).len(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_stalled_while_nothing_is_acknowledged() {
        let stores = new();
        let later = |times| Instant::now() + times * STALLED_AFTER;
        assert!(!stores.is_stalled(later(9)), "nothing is in flight");
        let permits = [stores.try_permit().unwrap(), stores.try_permit().unwrap()];
        assert!(!stores.is_stalled(later(1)) && stores.is_stalled(later(2)));
        permits[0].acknowledged(2 * STALLED_AFTER, later(2));
        assert!(!stores.is_stalled(later(3)) && stores.is_stalled(later(4)));
        drop(permits);
        assert!(!stores.is_stalled(later(9)));
        tokio::time::advance(20 * STALLED_AFTER).await;
        let _next = stores.try_permit();
        assert!(!stores.is_stalled(later(1)), "it counts from the first store after that");
    }

    #[tokio::test(start_paused = true)]
    async fn stores_in_flight_learn_of_a_stall_and_then_one_tries_at_a_time() {
        let stores = new();
        let permit = stores.try_permit().unwrap();
        let began = Instant::now();
        stores.stalls().await;
        let took = began.elapsed();
        assert!(took > STALLED_AFTER && took <= STALLED_AFTER + 3 * STALL_CHECK_INTERVAL, "{took:?}");
        drop(permit);
        assert!(!stores.is_stalled(Instant::now()), "one may try");
        let permit = stores.try_permit().unwrap();
        assert!(stores.is_stalled(Instant::now()), "one tries");
        assert!(stores.stalls().now_or_never().is_none(), "it has time of its own");
        permit.acknowledged(Duration::ZERO, Instant::now());
        assert!(!stores.is_stalled(Instant::now()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_permit_is_lost_between_threads() {
        let stores = new();
        let mut tasks = Vec::new();
        for _ in 0..256 {
            let stores = Arc::clone(&stores);
            tasks.push(tokio::spawn(async move {
                for _ in 0..200 {
                    let permit = stores.permit().await;
                    assert!(in_flight(&stores) <= limit(&stores));
                    tokio::task::yield_now().await;
                    drop(permit);
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(in_flight(&stores), 0);
    }
}
