//! Limits and orders the writes to a store for all lanes of this process: as many writes are in flight as the store
//! acknowledges quickly ([`bus::adaptive_limit`]), outcomes go before intents, and lanes take turns.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bsp::ChannelId;
use bus::adaptive_limit::AdaptiveLimit;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use service::Histogram;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Most writes of one lane that wait for their permit before the lane begins no more. Each may hold a permit of the
/// throttle, so this is the burst that the BSP sees after the store was stalled.
const LANE_WAITING_MAX: usize = 16;

/// Metrics of a limit.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoreMetrics {
    pub(crate) in_flight: Gauge,
    pub(crate) limit: Gauge,
    pub(crate) time: Histogram,
    pub(crate) timed_out: Counter,
}

/// How urgent a write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// It writes an outcome: only this process has it, and others wait for it.
    Ends,
    /// It begins a send.
    Begins,
}

/// Limit of one store. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct StoreLimit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    metrics: StoreMetrics,
}

#[derive(Debug)]
struct State {
    pace: AdaptiveLimit,
    ending: VecDeque<oneshot::Sender<StorePermit>>,
    /// Lanes in the order of their turns, each with its waiting writes.
    beginning: VecDeque<(ChannelId, VecDeque<oneshot::Sender<StorePermit>>)>,
}

/// Permit for one write in flight, returned when it is dropped.
#[derive(Debug)]
pub(crate) struct StorePermit {
    /// `None` once it is returned.
    limit: Option<StoreLimit>,
}

impl StoreLimit {
    pub(crate) fn new(metrics: StoreMetrics, now: Instant) -> Self {
        // Every write belongs to a command in progress, which holds memory and connections.
        let pace = AdaptiveLimit::sparing(now);
        metrics.limit.set(pace.limit() as i64);
        let state = State { pace, ending: VecDeque::new(), beginning: VecDeque::new() };
        Self(Arc::new(Shared { state: Mutex::new(state), metrics }))
    }

    /// Waits for a permit. Dropping the future leaves the queue.
    pub(crate) async fn permit(&self, lane: &ChannelId, urgency: Urgency) -> StorePermit {
        let waiting = {
            let mut state = self.state();
            if state.is_next(urgency) && state.pace.has_room() {
                return self.give(&mut state);
            }
            let (sender, receiver) = oneshot::channel();
            state.enter(lane, urgency, sender);
            receiver
        };
        // The sender is only dropped together with this limit.
        waiting.await.expect("the limit outlives the writes that wait for it")
    }

    /// Whether a lane may begin more sends: those it has begun are not waiting here.
    pub(crate) fn takes_more(&self, lane: &ChannelId) -> bool {
        let state = self.state();
        let mut lanes = state.beginning.iter();
        lanes.find(|(name, _)| name == lane).is_none_or(|(_, waiting)| {
            waiting.iter().filter(|write| !write.is_closed()).count() < LANE_WAITING_MAX
        })
    }

    fn give(&self, state: &mut State) -> StorePermit {
        state.pace.begin();
        self.0.metrics.in_flight.set(state.pace.in_flight() as i64);
        StorePermit { limit: Some(self.clone()) }
    }

    /// Gives permits to waiting writes while there are any.
    fn serve(&self, state: &mut State) {
        while state.pace.has_room()
            && let Some(next) = state.next()
        {
            let permit = self.give(state);
            if let Err(mut permit) = next.send(permit) {
                // It does not wait any more. Dropping the permit would lock again, so it is disarmed; the lock is held
                // here.
                permit.limit = None;
                state.pace.end();
            }
        }
        self.0.metrics.in_flight.set(state.pace.in_flight() as i64);
        self.0.metrics.limit.set(state.pace.limit() as i64);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether no waiting write goes before one of this urgency, or at the same time.
    fn is_next(&self, urgency: Urgency) -> bool {
        self.ending.is_empty() && (urgency == Urgency::Ends || self.beginning.is_empty())
    }

    fn enter(&mut self, lane: &ChannelId, urgency: Urgency, sender: oneshot::Sender<StorePermit>) {
        if urgency == Urgency::Ends {
            return self.ending.push_back(sender);
        }
        match self.beginning.iter_mut().find(|(name, _)| name == lane) {
            Some((_, waiting)) => waiting.push_back(sender),
            None => self.beginning.push_back((lane.clone(), VecDeque::from([sender]))),
        }
    }

    /// Removes the next waiting write: outcomes first, then one of each lane in turn.
    fn next(&mut self) -> Option<oneshot::Sender<StorePermit>> {
        if let Some(first) = self.ending.pop_front() {
            return Some(first);
        }
        let (lane, mut waiting) = self.beginning.pop_front()?;
        let first = waiting.pop_front();
        if !waiting.is_empty() {
            self.beginning.push_back((lane, waiting));
        }
        first
    }
}

impl StorePermit {
    /// Records that the store acknowledged the write that began at `began`.
    pub(crate) fn acknowledged(&self, began: Instant, now: Instant) {
        let took = now.saturating_duration_since(began);
        let Some(limit) = &self.limit else { return };
        limit.state().pace.acknowledged(took, now);
        limit.0.metrics.time.observe(took);
    }

    /// Records that the store did not acknowledge it in time. The permit is kept: the store may still have the write in
    /// its queue.
    pub(crate) fn timed_out(&self, now: Instant) {
        let Some(limit) = &self.limit else { return };
        limit.state().pace.timed_out(now);
        limit.0.metrics.timed_out.inc();
    }
}

impl Drop for StorePermit {
    fn drop(&mut self) {
        let Some(limit) = self.limit.take() else { return };
        let mut state = limit.state();
        state.pace.end();
        limit.serve(&mut state);
    }
}

/// Returns the delay before the next attempt at a store that did not answer. It doubles.
pub(crate) fn pause_after(failures: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(8);
    (FIRST * 2_u32.pow(failures.saturating_sub(1).min(8))).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn lane(name: &str) -> ChannelId {
        ChannelId::parse(name).unwrap()
    }

    /// Returns a limit without free permits.
    fn full() -> (StoreLimit, Vec<StorePermit>) {
        let limit = StoreLimit::new(StoreMetrics::default(), Instant::now());
        let taken = || limit.permit(&lane("taken"), Urgency::Begins).now_or_never();
        let places = std::iter::from_fn(taken).collect();
        (limit, places)
    }

    #[tokio::test]
    async fn outcomes_go_first_and_lanes_take_turns() {
        let (limit, mut places) = full();
        let mut waiting = Vec::new();
        for (name, urgency) in
            [("a", Urgency::Begins), ("a", Urgency::Begins), ("b", Urgency::Begins), ("c", Urgency::Ends)]
        {
            let (limit, lane) = (limit.clone(), lane(name));
            let mut place = Box::pin(async move { limit.permit(&lane, urgency).await });
            assert!((&mut place).now_or_never().is_none());
            waiting.push((name, place));
        }
        let mut order = Vec::new();
        let mut given = Vec::new();
        while !waiting.is_empty() {
            drop(places.pop());
            waiting.retain_mut(|(name, place)| {
                let Some(place) = place.now_or_never() else { return true };
                order.push(*name);
                given.push(place);
                false
            });
        }
        assert_eq!(order, ["c", "a", "b", "a"]);
    }

    #[tokio::test]
    async fn a_permit_whose_waiter_is_gone_is_not_lost() {
        let (limit, mut places) = full();
        let all = places.len();
        for is_given in [false, true] {
            let lane = lane("a");
            let mut place = Box::pin(limit.permit(&lane, Urgency::Begins));
            assert!((&mut place).now_or_never().is_none());
            // One leaves the queue before its turn, the other when its permit is already on its way.
            if is_given {
                drop(places.pop());
            }
            drop(place);
        }
        drop(places);
        let (place, mut free) = (|| limit.permit(&lane("b"), Urgency::Begins).now_or_never(), Vec::new());
        free.extend(std::iter::from_fn(place));
        assert_eq!(free.len(), all);
    }

    #[tokio::test]
    async fn a_lane_whose_writes_wait_begins_no_more_and_others_do() {
        let (limit, _places) = full();
        let name = lane("a");
        let mut waiting: Vec<_> =
            (0..LANE_WAITING_MAX).map(|_| Box::pin(limit.permit(&name, Urgency::Begins))).collect();
        assert!(limit.takes_more(&name));
        for place in &mut waiting {
            assert!(place.now_or_never().is_none());
        }
        assert!(!limit.takes_more(&name) && limit.takes_more(&lane("b")));
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        let seconds: Vec<f64> = (1..=6).map(|failures| pause_after(failures).as_secs_f64()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]);
    }
}
