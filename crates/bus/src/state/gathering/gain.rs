//! Whether a batch is quicker than the same messages one by one, from the times that both have taken lately. Pure; time is an argument.
//!
//! A batch costs the server a fixed number of syncs (six on 2.15), also where it syncs single messages only from time to time: there a
//! batch is the slower way. No client can ask a server how it syncs, so the times decide.

use std::time::Duration;

use tokio::time::Instant;

use crate::state::gathering::{BATCH_MESSAGES_MAX, BATCH_MESSAGES_MIN};

/// Time for which a measurement counts. Then the way is tried again.
const MEASUREMENT_TTL: Duration = Duration::from_secs(30);
/// Weight of a new measurement in the average: one divided by this.
const AVERAGE_OF: u32 = 4;

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
    single: Option<Measured>,
    /// Time of one batch. Its size makes little difference (`bench/measure/batches.py`).
    batch: Option<Measured>,
    /// The most messages that waited lately.
    most: usize,
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    average: Duration,
    at: Instant,
}

impl Gain {
    /// The way for messages that wait.
    pub(crate) fn way(&mut self, messages: usize, now: Instant) -> Way {
        self.most = messages.max(self.most - self.most / 8);
        if messages < BATCH_MESSAGES_MIN {
            return Way::Singles;
        }
        let Some(single) = valid(self.single, now) else { return Way::Singles };
        let Some(batch) = valid(self.batch, now) else { return Way::Batch };
        if single * count(messages) > batch {
            return Way::Batch;
        }
        if single * count(self.most) > batch { Way::Singles } else { Way::NoGain }
    }

    /// Records the time of messages that were stored one by one, from the first that was written to the last that was acknowledged.
    /// The time of a few is mostly the way to the server and back, and does not count.
    pub(crate) fn singles_took(&mut self, messages: usize, time: Duration, now: Instant) {
        if messages >= BATCH_MESSAGES_MIN {
            record(&mut self.single, time / count(messages), now);
        }
    }

    /// Records the time of a batch.
    pub(crate) fn batch_took(&mut self, time: Duration, now: Instant) {
        record(&mut self.batch, time, now);
    }

    /// Records that a batch was not acknowledged within a time: it counts as no quicker than single messages, however many wait. Its
    /// messages are written twice, which must not be tried again soon.
    pub(crate) fn batch_was_late(&mut self, time: Duration, now: Instant) {
        let singles = valid(self.single, now).unwrap_or_default() * count(BATCH_MESSAGES_MAX);
        self.batch = Some(Measured { average: time.max(singles), at: now });
    }
}

fn count(messages: usize) -> u32 {
    u32::try_from(messages).unwrap_or(u32::MAX)
}

fn valid(measured: Option<Measured>, now: Instant) -> Option<Duration> {
    let measured = measured?;
    (now.saturating_duration_since(measured.at) < MEASUREMENT_TTL).then_some(measured.average)
}

fn record(measured: &mut Option<Measured>, time: Duration, now: Instant) {
    let average = match valid(*measured, now) {
        Some(average) => (average * (AVERAGE_OF - 1) + time) / AVERAGE_OF,
        None => time,
    };
    *measured = Some(Measured { average, at: now });
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: usize = 64;

    fn measured(single_us: u64, batch_us: u64, now: Instant) -> Gain {
        let mut gain = Gain::default();
        gain.singles_took(MESSAGES, Duration::from_micros(single_us) * MESSAGES as u32, now);
        gain.batch_took(Duration::from_micros(batch_us), now);
        gain
    }

    #[test]
    fn both_ways_are_measured_first() {
        let (mut gain, now) = (Gain::default(), Instant::now());
        assert_eq!(gain.way(MESSAGES, now), Way::Singles);
        gain.singles_took(BATCH_MESSAGES_MIN - 1, Duration::from_secs(1), now);
        assert_eq!(gain.way(MESSAGES, now), Way::Singles, "few do not count");
        gain.singles_took(MESSAGES, Duration::from_millis(16), now);
        assert_eq!(gain.way(MESSAGES, now), Way::Batch);
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
    fn what_was_measured_is_measured_again_later() {
        let now = Instant::now();
        let mut gain = measured(20, 5_000, now);
        let later = now + MEASUREMENT_TTL;
        assert_eq!(gain.way(MESSAGES, later), Way::Singles);
        gain.singles_took(MESSAGES, Duration::from_millis(16), later);
        assert_eq!(gain.way(MESSAGES, later), Way::Batch);
        gain.batch_took(Duration::from_millis(5), later);
        assert_eq!(gain.way(MESSAGES, later), Way::Batch, "the server syncs every message now");
    }

    #[test]
    fn a_batch_that_was_not_acknowledged_in_time_is_not_tried_again_soon() {
        let now = Instant::now();
        let mut gain = Gain::default();
        gain.singles_took(MESSAGES, Duration::from_millis(20) * MESSAGES as u32, now);
        assert_eq!(gain.way(MESSAGES, now), Way::Batch);
        gain.batch_was_late(Duration::from_secs(1), now);
        assert_eq!(gain.way(BATCH_MESSAGES_MAX, now), Way::NoGain);
        gain.singles_took(MESSAGES, Duration::from_millis(20) * MESSAGES as u32, now + MEASUREMENT_TTL);
        assert_eq!(gain.way(MESSAGES, now + MEASUREMENT_TTL), Way::Batch);
    }

    #[test]
    fn one_slow_batch_changes_little() {
        let now = Instant::now();
        let mut gain = measured(250, 5_000, now);
        gain.batch_took(Duration::from_millis(30), now);
        assert_eq!(gain.way(MESSAGES, now), Way::Batch);
        for _ in 0..8 {
            gain.batch_took(Duration::from_millis(30), now);
        }
        assert_eq!(gain.way(MESSAGES, now), Way::NoGain);
    }
}
