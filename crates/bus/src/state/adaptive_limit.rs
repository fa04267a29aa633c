//! Limit of the writes to a store that may be in flight: more while it acknowledges them quickly, fewer otherwise.
//! Pure; time is an argument. The caller decides who waits, and in which order.
//!
//! A store that receives more than it can write does not return an error. Its acks come later and later, until every
//! writer has given up and retries. So the time to an ack controls the number of writes: additive growth below a
//! target, a proportional cut above it (AIMD).

use std::time::Duration;

use tokio::time::Instant;

/// Limit of the writes in flight at the start.
const LIMIT_INITIAL: f64 = 64.0;
/// Lowest limit of the writes in flight.
const LIMIT_MIN: f64 = 8.0;
/// Highest limit of the writes in flight: half of what the client takes before it refuses.
const LIMIT_MAX: f64 = 4096.0;
/// Target of the average time to an ack. Above it the limit is lowered; below half of it the limit is raised. It is an
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
    /// A limiter without writes in flight.
    pub fn new(now: Instant) -> Self {
        Self {
            limit: LIMIT_INITIAL,
            in_flight: 0,
            changed_at: now,
            timed_out_at: None,
            seen: Acknowledged::default(),
        }
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
        if average > TARGET {
            let share = TARGET.as_secs_f64() / average.as_secs_f64();
            self.limit *= share.max(DECREASE_FACTOR_MIN);
        } else if average < TARGET / 2 && self.seen.was_reached {
            // The limit doubles soon if the store is so quick that it would ack twice as many within half of the
            // target.
            let since = now.saturating_duration_since(self.changed_at);
            let in_half =
                f64::from(self.seen.acknowledged) * (TARGET / 2).as_secs_f64() / since.as_secs_f64();
            let share = if 2.0 * self.limit <= in_half { 1.0 } else { GROWTH_SHARE };
            self.limit += (self.limit * share).max(GROWTH_LEAST);
        }
        self.changed(now);
    }

    /// Records a write without an ack in time.
    pub fn timed_out(&mut self, now: Instant) {
        if self.timed_out_at.is_some_and(|at| now.saturating_duration_since(at) < TIME_OUT_EVERY) {
            return;
        }
        self.timed_out_at = Some(now);
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

    /// Simulates a store that acks one write after another, each after `each`, for `time`; the writer always has more.
    /// Returns the time to the last ack, and the number of acks.
    fn run(pace: &mut AdaptiveLimit, from: Instant, each: Duration, time: Duration) -> (Duration, u32) {
        let (mut now, mut waiting) = (from, VecDeque::new());
        let (mut took, mut count) = (Duration::ZERO, 0);
        while now < from + time {
            while pace.has_room() {
                pace.begin();
                waiting.push_back(now);
            }
            now += each;
            let Some(begun) = waiting.pop_front() else { continue };
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

    #[test]
    fn acknowledgements_stay_near_the_target_whatever_the_store_can_do() {
        for each_us in [50, 300, 2_000, 20_000] {
            let (now, each) = (Instant::now(), Duration::from_micros(each_us));
            let mut pace = AdaptiveLimit::new(now);
            let (took, count) = run(&mut pace, now, each, Duration::from_secs(20));
            assert!(took <= TARGET * 3 / 2, "{each_us} µs each: {took:?}");
            assert!(count >= 20_000_000 / each_us as u32, "{each_us} µs each: the store was idle");
        }
    }

    #[test]
    fn a_store_that_becomes_slow_is_given_less_at_once_and_more_when_it_is_quick_again() {
        let now = Instant::now();
        let mut pace = AdaptiveLimit::new(now);
        let long = Duration::from_secs(10);
        run(&mut pace, now, Duration::from_micros(300), long);
        let quick = pace.limit();
        let (took, _) = run(&mut pace, now + long, Duration::from_millis(20), 2 * long);
        assert!(took <= TARGET * 3 / 2 && pace.limit() < quick / 10, "{took:?}, {}", pace.limit());
        run(&mut pace, now + 3 * long, Duration::from_micros(300), long);
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
        run(&mut pace, now, Duration::from_micros(20), Duration::from_secs(1));
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
