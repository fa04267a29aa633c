//! Whether a batch is quicker than the same messages one by one, from the times that both have taken lately. Pure; time is an argument.
//!
//! A batch costs the server a fixed number of syncs (six on 2.15), also where it syncs single messages only from time to time: there a
//! batch is the slower way. No client can ask a server how it syncs, so the times decide.

use std::time::Duration;

use tokio::time::Instant;

use crate::state::gathering::{BATCH_MESSAGES_MAX, BATCH_MESSAGES_MIN};

/// Measurements of a way that say how long it takes: the least of the last ones, because what disturbs a measurement only makes it
/// longer.
pub(crate) const MEASUREMENTS: usize = 4;
/// Time for which the first measurements of a way count after the last of them. Then it is measured once more, because the first messages
/// of a process also wait for what a server and a connection do only once.
const FIRST_TTL: Duration = Duration::from_secs(1);
/// It doubles each time, up to this.
const LAST_TTL: Duration = Duration::from_secs(30);

/// How messages that wait are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As one batch.
    Batch,
    /// One by one, at the same time. The time that it takes is to be measured.
    Singles,
    /// One by one, and the next ones without waiting for others: also the most that waited lately are quicker so.
    NoGain,
}

/// What both ways have taken.
#[derive(Debug, Default)]
pub(crate) struct Gain {
    /// Time of one message of many that were stored one by one.
    single: Measured,
    /// Time of one batch. Its size makes little difference (`bench/measure/batches.py`).
    batch: Measured,
    /// The most messages that waited lately.
    most: usize,
}

impl Gain {
    /// The way for messages that wait.
    pub(crate) fn way(&mut self, messages: usize, now: Instant) -> Way {
        self.most = messages.max(self.most - self.most / 8);
        if messages < BATCH_MESSAGES_MIN {
            return Way::Singles;
        }
        let Some(single) = self.single.time(now) else { return Way::Singles };
        let Some(batch) = self.batch.time(now) else { return Way::Batch };
        if single * count(messages) > batch {
            return Way::Batch;
        }
        if single * count(self.most) > batch { Way::Singles } else { Way::NoGain }
    }

    /// Records the time of messages that were stored one by one, from the first that was written to the last that was acknowledged.
    /// The time of a few is mostly the way to the server and back, and does not count.
    pub(crate) fn singles_took(&mut self, messages: usize, time: Duration, now: Instant) {
        if messages >= BATCH_MESSAGES_MIN {
            self.single.add(time / count(messages), now);
        }
    }

    /// Records the time of a batch.
    pub(crate) fn batch_took(&mut self, time: Duration, now: Instant) {
        self.batch.add(time, now);
    }

    /// Records that a batch was not acknowledged within a time: it counts as no quicker than single messages, however many wait. Its
    /// messages are written twice, which must not be tried again soon.
    pub(crate) fn batch_was_late(&mut self, time: Duration, now: Instant) {
        let singles = self.single.time(now).unwrap_or_default() * count(BATCH_MESSAGES_MAX);
        self.batch = Measured::late(time.max(singles), now);
    }
}

fn count(messages: usize) -> u32 {
    u32::try_from(messages).unwrap_or(u32::MAX)
}

/// The last measurements of a way.
#[derive(Debug, Default)]
struct Measured {
    times: [Duration; MEASUREMENTS],
    /// How many there are.
    count: usize,
    /// Place of the next one.
    next: usize,
    /// Time of the last one, and how long they count after it.
    last: Option<Counting>,
}

#[derive(Debug, Clone, Copy)]
struct Counting {
    at: Instant,
    ttl: Duration,
}

impl Measured {
    /// A way that was stopped after a time. It counts as long as any measurement may.
    fn late(time: Duration, now: Instant) -> Self {
        let last = Some(Counting { at: now, ttl: LAST_TTL });
        Self { times: [time; MEASUREMENTS], count: MEASUREMENTS, next: 0, last }
    }

    /// The time that the way takes; `None` if it is to be measured.
    fn time(&self, now: Instant) -> Option<Duration> {
        let is_known = self.count == MEASUREMENTS && self.last?.counts(now);
        is_known.then(|| self.times.iter().min().copied().unwrap_or_default())
    }

    fn add(&mut self, time: Duration, now: Instant) {
        let ttl = match self.last {
            None => FIRST_TTL,
            Some(last) if last.counts(now) => last.ttl,
            Some(last) => LAST_TTL.min(last.ttl * 2),
        };
        self.times[self.next] = time;
        self.next = (self.next + 1) % MEASUREMENTS;
        self.count = MEASUREMENTS.min(self.count + 1);
        self.last = Some(Counting { at: now, ttl });
    }
}

impl Counting {
    fn counts(self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < self.ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: usize = 64;

    fn singles(gain: &mut Gain, single: Duration, now: Instant) {
        for _ in 0..MEASUREMENTS {
            gain.singles_took(MESSAGES, single * MESSAGES as u32, now);
        }
    }

    fn batches(gain: &mut Gain, batch: Duration, now: Instant) {
        for _ in 0..MEASUREMENTS {
            gain.batch_took(batch, now);
        }
    }

    fn measured(single_us: u64, batch_us: u64, now: Instant) -> Gain {
        let mut gain = Gain::default();
        singles(&mut gain, Duration::from_micros(single_us), now);
        batches(&mut gain, Duration::from_micros(batch_us), now);
        gain
    }

    #[test]
    fn both_ways_are_measured_first() {
        let (mut gain, now) = (Gain::default(), Instant::now());
        gain.singles_took(BATCH_MESSAGES_MIN - 1, Duration::from_secs(1), now);
        for _ in 0..MEASUREMENTS {
            assert_eq!(gain.way(MESSAGES, now), Way::Singles, "few messages do not count");
            gain.singles_took(MESSAGES, Duration::from_millis(16), now);
        }
        for _ in 0..MEASUREMENTS {
            assert_eq!(gain.way(MESSAGES, now), Way::Batch);
            gain.batch_took(Duration::from_millis(50), now);
        }
        assert_eq!(gain.way(MESSAGES, now), Way::NoGain);
    }

    #[test]
    fn a_server_that_syncs_every_message_is_given_batches_that_are_large_enough() {
        let now = Instant::now();
        let mut gain = measured(250, 5_000, now);
        assert_eq!(gain.way(MESSAGES, now), Way::Batch);
        assert_eq!(gain.way(BATCH_MESSAGES_MIN - 1, now), Way::Singles);
        // Lately more have waited: the next ones wait too.
        assert_eq!(gain.way(BATCH_MESSAGES_MIN, now), Way::Singles);
        assert_eq!(gain.way(256, now), Way::Batch);
    }

    #[test]
    fn a_server_that_does_not_sync_every_message_is_given_none() {
        let now = Instant::now();
        let mut gain = measured(20, 5_000, now);
        assert_eq!(gain.way(MESSAGES, now), Way::NoGain);
        // As many as one batch takes would be as quick in it.
        assert_eq!(gain.way(256, now), Way::Batch);
    }

    #[test]
    fn a_server_that_is_slow_for_each_message_of_a_batch_is_given_none() {
        let now = Instant::now();
        let mut gain = measured(20_000, 20_000 * MESSAGES as u64, now);
        assert_eq!(gain.way(MESSAGES, now), Way::NoGain);
    }

    #[test]
    fn a_disturbed_measurement_changes_nothing() {
        let now = Instant::now();
        let mut gain = Gain::default();
        for disturbed in [40, 0, 90] {
            gain.singles_took(MESSAGES, Duration::from_millis(2 + disturbed), now);
        }
        gain.singles_took(MESSAGES, Duration::from_millis(30), now);
        batches(&mut gain, Duration::from_millis(5), now);
        assert_eq!(gain.way(MESSAGES, now), Way::NoGain, "one by one, 64 took 2 ms without a disturbance");

        let mut gain = measured(250, 5_000, now);
        gain.batch_took(Duration::from_millis(30), now);
        assert_eq!(gain.way(MESSAGES, now), Way::Batch);
        batches(&mut gain, Duration::from_millis(30), now);
        assert_eq!(gain.way(MESSAGES, now), Way::NoGain);
    }

    /// What was slow at the start only is noticed while batches are used, which measure no single messages.
    #[test]
    fn the_first_measurements_count_for_a_short_time_and_later_ones_longer() {
        let mut now = Instant::now();
        let mut gain = Gain::default();
        singles(&mut gain, Duration::from_micros(700), now);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            batches(&mut gain, Duration::from_millis(5), now);
            assert_eq!(gain.way(MESSAGES, now), Way::Batch);
            now += Duration::from_secs(seconds);
            batches(&mut gain, Duration::from_millis(5), now - Duration::from_millis(1));
            assert_eq!(gain.way(MESSAGES, now - Duration::from_millis(1)), Way::Batch);
            assert_eq!(gain.way(MESSAGES, now), Way::Singles, "measured again after {seconds} s");
            gain.singles_took(MESSAGES, Duration::from_millis(100), now);
        }
        now += LAST_TTL;
        gain.singles_took(MESSAGES, Duration::from_millis(2), now);
        batches(&mut gain, Duration::from_millis(5), now);
        assert_eq!(gain.way(MESSAGES, now), Way::NoGain);
    }

    #[test]
    fn what_was_measured_is_measured_again_later() {
        let now = Instant::now();
        let mut gain = measured(20, 5_000, now);
        let later = now + LAST_TTL;
        assert_eq!(gain.way(MESSAGES, later), Way::Singles);
        singles(&mut gain, Duration::from_micros(250), later);
        assert_eq!(gain.way(MESSAGES, later), Way::Batch);
        batches(&mut gain, Duration::from_millis(5), later);
        assert_eq!(gain.way(MESSAGES, later), Way::Batch, "the server syncs every message now");
    }

    #[test]
    fn a_batch_that_was_not_acknowledged_in_time_is_not_tried_again_soon() {
        let now = Instant::now();
        let mut gain = Gain::default();
        singles(&mut gain, Duration::from_millis(20), now);
        assert_eq!(gain.way(MESSAGES, now), Way::Batch);
        gain.batch_was_late(Duration::from_secs(1), now);
        assert_eq!(gain.way(BATCH_MESSAGES_MAX, now), Way::NoGain);
        let later = now + LAST_TTL;
        singles(&mut gain, Duration::from_millis(20), later);
        assert_eq!(gain.way(MESSAGES, later), Way::Batch);
    }
}
