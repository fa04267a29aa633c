//! Limit of the writes to a store that may be in flight: more while it acknowledges them quickly, fewer otherwise.
//! Pure; time is an argument. The caller decides who waits, and in which order.
//!
//! A store that receives more than it can write does not return an error. Its acks come later and later, until every
//! writer has given up and retries. So the time to an ack controls the number of writes: additive growth below a
//! target, a proportional cut above it (AIMD). The target is fixed, or follows the least time to an ack
//! ([`least_time`](crate::state::least_time)).

use std::time::Duration;

use tokio::time::Instant;

use crate::state::least_time::{LeastTime, Step};

/// Limit of the writes in flight at the start.
const LIMIT_INITIAL: f64 = 64.0;
/// Lowest limit of the writes in flight.
const LIMIT_MIN: f64 = 8.0;
/// Highest limit of the writes in flight: half of what the client takes before it refuses.
const LIMIT_MAX: f64 = 4096.0;
/// Highest target of the average time to an ack. Above the target the limit is lowered; below half of it the limit is raised. It is an
/// eighth of the age after which a sender makes no call behind an intent, and an eighth of the shortest deadline of a
/// BSP's webhook.
pub const TARGET: Duration = Duration::from_millis(250);
/// Shortest interval of two changes of the limit, so that the effect of one is seen before the next.
pub(crate) const CHANGE_EVERY: Duration = Duration::from_millis(20);
/// Time within which a burst of timeouts counts as one.
const TIME_OUT_EVERY: Duration = Duration::from_secs(1);
/// Growth of one change, as a share of the limit.
const GROWTH_SHARE: f64 = 0.125;
/// Smallest growth of one change, in writes in flight.
const GROWTH_LEAST: f64 = 4.0;
/// Share of the limit that one cut leaves at least.
const DECREASE_FACTOR_MIN: f64 = 0.5;
/// Share of the limit that a timeout leaves: it means that the store is several targets behind.
const TIMEOUT_FACTOR: f64 = 0.25;

/// Adaptive limit of the writes in flight of one store.
#[derive(Debug)]
pub struct AdaptiveLimit {
    limit: f64,
    in_flight: usize,
    changed_at: Instant,
    timed_out_at: Option<Instant>,
    seen: Acknowledged,
    /// What the target follows from; `None` if it is [`TARGET`].
    least: Option<LeastTime>,
}

/// What was observed since the last change.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    /// Number of acked writes.
    pub(crate) acknowledged: u32,
    /// Sum of their times to the ack.
    pub(crate) took: Duration,
    /// Whether the limit was reached.
    pub(crate) was_reached: bool,
}

impl AdaptiveLimit {
    /// A limiter without writes in flight, for writers that cost little while they wait: as many are let in as the store
    /// acknowledges within [`TARGET`].
    pub fn new(now: Instant) -> Self {
        Self {
            limit: LIMIT_INITIAL,
            in_flight: 0,
            changed_at: now,
            timed_out_at: None,
            seen: Acknowledged::default(),
            least: None,
        }
    }

    /// The same for writers that are costly: no more are let in than the store needs to be always busy.
    pub fn sparing(now: Instant) -> Self {
        Self { least: Some(LeastTime::new(TARGET, now)), ..Self::new(now) }
    }

    /// Current limit of the writes in flight.
    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// Writes in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether another write may begin.
    pub fn has_room(&self) -> bool {
        self.in_flight < self.limit()
    }

    /// Counts a write that begins. A write that must not wait may begin without room.
    pub fn begin(&mut self) {
        self.in_flight += 1;
        self.seen.was_reached |= !self.has_room();
    }

    /// Counts a write that is no longer in flight, without any statement about the store.
    pub fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Records the ack of a write that began `took` before `now`.
    pub fn acknowledged(&mut self, took: Duration, now: Instant) {
        self.observe(Acknowledged { acknowledged: 1, took, was_reached: false }, now);
    }

    /// The same for several writes, and for a caller that counts the writes in flight itself.
    pub(crate) fn observe(&mut self, seen: Acknowledged, now: Instant) {
        self.seen.acknowledged += seen.acknowledged;
        self.seen.took += seen.took;
        self.seen.was_reached |= seen.was_reached;
        if self.seen.acknowledged == 0 {
            return;
        }
        let average = self.seen.took / self.seen.acknowledged;
        if now.saturating_duration_since(self.changed_at) < CHANGE_EVERY.max(average) {
            return;
        }
        let step = self.least.as_mut().map(|least| least.observe(average, self.limit, now));
        match step.unwrap_or(Step::Adjust(TARGET)) {
            Step::Adjust(target) => self.adjust(average, target, now),
            Step::Set(limit) => self.limit = limit,
        }
        self.changed(now);
    }

    fn adjust(&mut self, average: Duration, target: Duration, now: Instant) {
        if average > target {
            let share = target.as_secs_f64() / average.as_secs_f64();
            self.limit *= share.max(DECREASE_FACTOR_MIN);
        } else if average < target / 2 && self.seen.was_reached {
            // The limit doubles soon if the store is so quick that it would ack twice as many within half of the
            // target.
            let since = now.saturating_duration_since(self.changed_at);
            let in_half =
                f64::from(self.seen.acknowledged) * (target / 2).as_secs_f64() / since.as_secs_f64();
            let share = if 2.0 * self.limit <= in_half { 1.0 } else { GROWTH_SHARE };
            self.limit += (self.limit * share).max(GROWTH_LEAST);
        }
    }

    /// Records a write without an ack in time.
    pub fn timed_out(&mut self, now: Instant) {
        if self.timed_out_at.is_some_and(|at| now.saturating_duration_since(at) < TIME_OUT_EVERY) {
            return;
        }
        self.timed_out_at = Some(now);
        if let Some(before) = self.least.as_mut().and_then(LeastTime::give_up) {
            self.limit = before;
        }
        self.limit *= TIMEOUT_FACTOR;
        self.changed(now);
    }

    fn changed(&mut self, now: Instant) {
        self.limit = self.limit.clamp(LIMIT_MIN, LIMIT_MAX);
        self.changed_at = now;
        self.seen = Acknowledged::default();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A store that begins with one write after another, each `each` after the one before, and acks it `base` later.
    #[derive(Clone, Copy)]
    struct Store {
        base: Duration,
        each: Duration,
    }

    impl Store {
        fn of_us(each_us: u64) -> Self {
            Self { base: Duration::ZERO, each: Duration::from_micros(each_us) }
        }
    }

    /// Simulates a store for `time`; the writer always has more. Returns the time to the last ack, and the number of acks.
    fn run(pace: &mut AdaptiveLimit, from: Instant, store: Store, time: Duration) -> (Duration, u32) {
        let (mut now, mut waiting) = (from, VecDeque::new());
        let (mut took, mut count) = (Duration::ZERO, 0);
        let mut begun_at = from;
        while now < from + time {
            while pace.has_room() {
                pace.begin();
                begun_at = begun_at.max(now) + store.each;
                waiting.push_back((now, begun_at + store.base));
            }
            let Some((begun, acked)) = waiting.pop_front() else {
                now += store.each;
                continue;
            };
            now = acked;
            took = now - begun;
            pace.end();
            pace.acknowledged(took, now);
            count += 1;
        }
        for _ in waiting {
            pace.end();
        }
        (took, count)
    }

    /// Simulates a store that commits up to 256 writes at once, each commit in `each`, for `time`. Returns the number of acks.
    fn run_batches(pace: &mut AdaptiveLimit, each: Duration, time: Duration) -> u32 {
        let from = Instant::now();
        let (mut now, mut waiting, mut count) = (from, VecDeque::new(), 0);
        let fill = |pace: &mut AdaptiveLimit, waiting: &mut VecDeque<Instant>, now: Instant| {
            while pace.has_room() {
                pace.begin();
                waiting.push_back(now);
            }
        };
        while now < from + time {
            if waiting.is_empty() {
                fill(pace, &mut waiting, now);
            }
            let committed: Vec<Instant> = waiting.drain(..waiting.len().min(256)).collect();
            // What comes now waits for the next commit.
            fill(pace, &mut waiting, now);
            now += each;
            for begun in committed {
                pace.end();
                pace.acknowledged(now - begun, now);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn acknowledgements_stay_near_the_target_whatever_the_store_can_do() {
        for each_us in [50, 300, 2_000, 20_000] {
            let now = Instant::now();
            let mut pace = AdaptiveLimit::new(now);
            let (took, count) = run(&mut pace, now, Store::of_us(each_us), Duration::from_secs(20));
            assert!(took <= TARGET * 3 / 2, "{each_us} µs each: {took:?}");
            assert!(count >= 20_000_000 / each_us as u32, "{each_us} µs each: the store was idle");
        }
    }

    #[test]
    fn a_sparing_limit_leaves_no_long_queue_and_the_store_is_not_idle() {
        // Longer than the interval at which the least time is measured: it does not grow with the queue.
        let time = Duration::from_secs(60);
        for (each_us, took_ms) in [(50, 80), (300, 80), (2_000, 80), (20_000, 375)] {
            let now = Instant::now();
            let mut pace = AdaptiveLimit::sparing(now);
            let (took, count) = run(&mut pace, now, Store::of_us(each_us), time);
            assert!(took <= Duration::from_millis(took_ms), "{each_us} µs each: {took:?}");
            assert!(count >= 59_000_000 / each_us as u32, "{each_us} µs each: {count}, the store was idle");
        }
    }

    #[test]
    fn a_sparing_limit_gives_a_store_with_a_long_way_what_it_needs() {
        let time = Duration::from_secs(60);
        let store = Store { base: Duration::from_millis(60), each: Duration::from_micros(200) };
        let now = Instant::now();
        let mut pace = AdaptiveLimit::sparing(now);
        let (took, count) = run(&mut pace, now, store, time);
        // 300 writes are on their way; with more they wait for one another.
        assert!(count >= 5_000 * 57 && took <= TARGET, "{count}, {took:?}, {}", pace.limit());
    }

    #[test]
    fn a_sparing_limit_lets_a_store_commit_whole_batches() {
        let time = Duration::from_secs(60);
        for each_ms in [5, 20, 50] {
            let each = Duration::from_millis(each_ms);
            let mut pace = AdaptiveLimit::sparing(Instant::now());
            let count = run_batches(&mut pace, each, time);
            let most = 256 * (60_000 / each_ms as u32);
            assert!(count >= most / 8 * 7, "{each_ms} ms each: {count} of {most}, {}", pace.limit());
        }
    }

    #[test]
    fn a_sparing_limit_finds_out_that_the_way_to_the_store_became_longer() {
        let (now, short) = (Instant::now(), Duration::from_secs(5));
        let store =
            |base_ms| Store { base: Duration::from_millis(base_ms), each: Duration::from_micros(200) };
        let mut pace = AdaptiveLimit::sparing(now);
        run(&mut pace, now, store(1), short);
        run(&mut pace, now + short, store(60), 2 * short);
        assert!(pace.limit() >= 300, "{}", pace.limit());
    }

    #[test]
    fn a_timeout_during_a_measurement_reduces_what_was_before_it() {
        let now = Instant::now();
        let mut pace = AdaptiveLimit::sparing(now);
        let later = now + Duration::from_secs(20);
        pace.acknowledged(Duration::from_millis(30), later);
        assert_eq!(pace.limit(), 8, "it is measured");
        pace.timed_out(later);
        assert_eq!(pace.limit(), 16, "a quarter of 64");
        pace.acknowledged(Duration::from_millis(10), later + Duration::from_secs(1));
        assert_eq!(pace.limit(), 16, "the measurement was given up");
    }

    #[test]
    fn a_store_that_becomes_slow_is_given_less_at_once_and_more_when_it_is_quick_again() {
        let now = Instant::now();
        let mut pace = AdaptiveLimit::new(now);
        let long = Duration::from_secs(10);
        run(&mut pace, now, Store::of_us(300), long);
        let quick = pace.limit();
        let (took, _) = run(&mut pace, now + long, Store::of_us(20_000), 2 * long);
        assert!(took <= TARGET * 3 / 2 && pace.limit() < quick / 10, "{took:?}, {}", pace.limit());
        run(&mut pace, now + 3 * long, Store::of_us(300), long);
        assert!(pace.limit() > quick / 2, "{}", pace.limit());
    }

    #[test]
    fn what_times_out_together_counts_once_and_the_limit_never_reaches_zero() {
        let now = Instant::now();
        let mut pace = AdaptiveLimit::new(now);
        for number in 0..100 {
            pace.timed_out(now + Duration::from_millis(number));
        }
        assert_eq!(pace.limit(), 16);
        for number in 2..10 {
            pace.timed_out(now + Duration::from_secs(number));
        }
        assert_eq!(pace.limit(), 8);
        assert!(pace.has_room());
    }

    #[test]
    fn a_quick_store_is_used_in_full_within_a_second() {
        let now = Instant::now();
        let mut pace = AdaptiveLimit::new(now);
        run(&mut pace, now, Store::of_us(20), Duration::from_secs(1));
        assert!(pace.limit() >= 2048, "{}", pace.limit());
    }

    #[test]
    fn a_limit_that_is_not_reached_does_not_grow() {
        let now = Instant::now();
        let mut pace = AdaptiveLimit::new(now);
        for number in 0..100 {
            pace.begin();
            pace.end();
            pace.acknowledged(Duration::from_millis(1), now + Duration::from_millis(100 * number));
        }
        assert_eq!(pace.limit(), 64);
    }
}
