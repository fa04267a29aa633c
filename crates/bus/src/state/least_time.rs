//! How long a store takes to acknowledge a write when few are in flight, and the target for the time of many that follows from it. Pure;
//! time is an argument.
//!
//! A store that writes one message after another acknowledges later with every write that waits beside it, and stores no more. What it
//! needs for itself (the way to it, a disk's sync, a batch) is the least time. While many writes are in flight, nothing shows it, so it
//! is measured at intervals with an eighth of them.

use std::time::Duration;

use tokio::time::Instant;

/// Time to an ack that is never too long. More writes in flight than a store acknowledges within it would not raise its rate: it is the
/// time of several batches and of a slow disk's sync.
const QUICK: Duration = Duration::from_millis(20);
/// Multiple of the least time above which an ack has waited for others for too long. Up to half of it the limit grows: there a write waits
/// for as long as the store needs for itself, and the store is never idle.
const WAIT_MAX: u32 = 4;
/// Interval of measuring the least time.
const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// The same after [`CUTS`] reductions of the limit in a row: the store itself may have become slower.
const MEASURE_EVERY_CUT: Duration = Duration::from_secs(1);
/// Reductions of the limit in a row after which the least time is in doubt.
const CUTS: u32 = 2;
/// Share of the limit that is let in while it is measured. It must be less than one divided by [`WAIT_MAX`]: otherwise a store that writes
/// one after another would seem to need the whole time of a queue of any length.
const SHARE: f64 = 0.125;
const _: () = assert!(SHARE * (WAIT_MAX as f64) < 1.0);

/// The least time to an ack.
#[derive(Debug)]
pub(super) struct LeastTime {
    /// The highest target.
    target_max: Duration,
    least: Option<Duration>,
    measured_at: Instant,
    /// Intervals in a row whose time was above the target.
    cuts: u32,
    measuring: Option<Measuring>,
}

/// A measurement that has begun.
#[derive(Debug, Clone, Copy)]
struct Measuring {
    /// The limit before it.
    limit: f64,
    /// Whether all writes that began before it are acknowledged.
    is_settled: bool,
}

/// What follows from the acks of one interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// The limit is adjusted to this target of the average time to an ack.
    Adjust(Duration),
    /// The limit is this: a measurement goes on, or has ended.
    Set(f64),
}

impl LeastTime {
    /// Nothing is known yet.
    pub(super) fn new(target_max: Duration, now: Instant) -> Self {
        Self { target_max, least: None, measured_at: now, cuts: 0, measuring: None }
    }

    /// Records the average time of the acks of an interval that was at least as long, while `limit` writes could be in flight.
    pub(super) fn observe(&mut self, average: Duration, limit: f64, now: Instant) -> Step {
        match self.measuring.take() {
            None => {}
            // Of these acks some are of writes that began before.
            Some(begun) if !begun.is_settled => {
                self.measuring = Some(Measuring { is_settled: true, ..begun });
                return Step::Set(limit);
            }
            Some(begun) => {
                (self.least, self.measured_at, self.cuts) = (Some(average), now, 0);
                return Step::Set(begun.limit);
            }
        }
        let least = self.least.map_or(average, |least| least.min(average));
        self.least = Some(least);
        let target = (least * WAIT_MAX).clamp(2 * QUICK, self.target_max);
        self.cuts = if average > target { self.cuts + 1 } else { 0 };
        if self.is_due(average, now) {
            self.measuring = Some(Measuring { limit, is_settled: false });
            return Step::Set(limit * SHARE);
        }
        Step::Adjust(target)
    }

    fn is_due(&self, average: Duration, now: Instant) -> bool {
        let every = if self.cuts >= CUTS { MEASURE_EVERY_CUT } else { MEASURE_EVERY };
        average > QUICK && now.saturating_duration_since(self.measured_at) >= every
    }

    /// Ends a measurement without a result. Returns the limit before it.
    pub(super) fn give_up(&mut self) -> Option<f64> {
        self.measuring.take().map(|begun| begun.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET_MAX: Duration = Duration::from_millis(250);

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn the_target_is_a_multiple_of_the_least_time_within_limits() {
        let now = Instant::now();
        for (average_ms, target_ms) in [(1, 40), (10, 40), (20, 80), (50, 200), (90, 250), (900, 250)] {
            let mut time = LeastTime::new(TARGET_MAX, now);
            assert_eq!(time.observe(ms(average_ms), 64.0, now), Step::Adjust(ms(target_ms)), "{average_ms}");
        }
        let mut time = LeastTime::new(TARGET_MAX, now);
        for average_ms in [30, 25, 60] {
            time.observe(ms(average_ms), 64.0, now);
        }
        assert_eq!(time.observe(ms(90), 64.0, now), Step::Adjust(ms(100)), "of the least of them");
    }

    #[test]
    fn the_least_time_is_measured_with_few_in_flight_and_then_the_limit_is_as_before() {
        let (now, later) = (Instant::now(), Instant::now() + 2 * MEASURE_EVERY);
        let mut time = LeastTime::new(TARGET_MAX, now);
        time.observe(ms(30), 400.0, now);
        assert_eq!(time.observe(ms(90), 400.0, later), Step::Set(50.0));
        assert_eq!(time.observe(ms(90), 50.0, later), Step::Set(50.0), "acks of writes from before");
        assert_eq!(time.observe(ms(50), 50.0, later), Step::Set(400.0));
        assert_eq!(time.observe(ms(90), 400.0, later), Step::Adjust(ms(200)));
        // A quick store need not be measured.
        assert!(matches!(time.observe(QUICK, 400.0, later + 2 * MEASURE_EVERY), Step::Adjust(_)));
    }

    #[test]
    fn a_store_that_stays_slow_after_the_limit_was_reduced_is_measured_soon() {
        let now = Instant::now();
        let mut time = LeastTime::new(TARGET_MAX, now);
        time.observe(ms(5), 400.0, now);
        let soon = now + MEASURE_EVERY_CUT;
        assert_eq!(time.observe(ms(80), 400.0, soon), Step::Adjust(ms(40)));
        assert_eq!(time.observe(ms(80), 200.0, soon), Step::Set(25.0));
        time.observe(ms(80), 25.0, soon);
        assert_eq!(time.observe(ms(80), 25.0, soon), Step::Set(200.0));
        assert_eq!(time.observe(ms(80), 200.0, soon), Step::Adjust(TARGET_MAX));
    }

    #[test]
    fn a_measurement_that_is_given_up_has_no_result() {
        let (now, later) = (Instant::now(), Instant::now() + 2 * MEASURE_EVERY);
        let mut time = LeastTime::new(TARGET_MAX, now);
        assert_eq!(time.give_up(), None);
        time.observe(ms(30), 400.0, now);
        time.observe(ms(90), 400.0, later);
        assert_eq!(time.give_up(), Some(400.0));
        assert_eq!(time.observe(ms(40), 400.0, now), Step::Adjust(ms(120)));
    }
}
