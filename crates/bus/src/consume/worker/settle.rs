//! Completes a message by its disposition: ack, nak with a delay, or nak while the worker pauses.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::message::Acker;
use tokio::time::Instant;

use crate::consume::delivery::Disposition;
use crate::consume::worker::metrics::WorkerMetrics;
use crate::rate_limited_log::RateLimitedLog;

/// Nak delay of [`Disposition::Postpone`].
pub const POSTPONE_DELAY: Duration = Duration::from_secs(60);
/// Most messages of a process that wait with this delay at the same time.
pub const POSTPONED_MAX: usize = 1_000;
/// Nak delays of a message that is retried, in seconds, by the number of its attempts. The last one repeats.
const RETRY_DELAYS_S: [u64; 7] = [1, 2, 5, 10, 20, 40, 60];

static REDELIVERED: RateLimitedLog = RateLimitedLog::new();

/// When the messages were nakked that wait now.
#[derive(Default)]
pub(super) struct Postponed(Mutex<VecDeque<Instant>>);

impl Postponed {
    /// Adds a message, unless the limit is reached.
    fn takes(&self, now: Instant) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.front().is_some_and(|since| now - *since >= POSTPONE_DELAY) {
            waiting.pop_front();
        }
        if waiting.len() >= POSTPONED_MAX {
            return false;
        }
        waiting.push_back(now);
        true
    }
}

/// One delivery of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    /// The message's sequence in the stream.
    pub(super) sequence: u64,
    /// Number of the delivery, from 1.
    pub(super) number: u64,
}

/// Context of completing a message.
#[derive(Clone, Copy)]
pub(super) struct Settling<'l> {
    pub(super) metrics: &'l WorkerMetrics,
    pub(super) postponed: &'l Postponed,
}

/// Acks or naks a message, and returns whether a pause is requested. If the ack is lost, the message is redelivered,
/// which every handler supports.
pub(super) async fn settle(
    acker: &Acker,
    attempt: Attempt,
    disposition: Disposition,
    settling: Settling<'_>,
) -> bool {
    let Settling { metrics, postponed } = settling;
    let Attempt { sequence, number } = attempt;
    let mut delay = retry_delay(attempt);
    let (reason, asks_for_pause) = match disposition {
        Disposition::Done => {
            let _ = acker.ack().await;
            metrics.processed.inc();
            return false;
        }
        Disposition::Retry { reason } => (reason, false),
        Disposition::Postpone { reason } if postponed.takes(Instant::now()) => {
            delay = POSTPONE_DELAY;
            (reason, false)
        }
        Disposition::Postpone { reason } | Disposition::Pause { reason } => (reason, true),
    };
    let _ = acker.ack_with(AckKind::Nak(Some(delay))).await;
    metrics.retried.inc();
    let next = if asks_for_pause { "; pausing" } else { "" };
    if let Some(turn) = REDELIVERED.next() {
        tracing::warn!(
            function = "worker",
            stream_sequence = sequence,
            "message {sequence} will be redelivered in {:.1} s after attempt {number}: {reason}{next}{turn}",
            delay.as_secs_f32()
        );
    }
    asks_for_pause
}

/// Returns a delay that grows with the attempts and differs by up to a fifth between messages, so that messages that
/// failed together are not redelivered together.
fn retry_delay(attempt: Attempt) -> Duration {
    let step = usize::try_from(attempt.number.saturating_sub(1)).unwrap_or(usize::MAX);
    let base = Duration::from_secs(RETRY_DELAYS_S[step.min(RETRY_DELAYS_S.len() - 1)]);
    let spread = attempt.sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    base + base.mul_f64(spread as f64 / f64::from(u32::MAX) / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_postponed_messages_is_limited() {
        let (postponed, now) = (Postponed::default(), Instant::now());
        for _ in 0..POSTPONED_MAX {
            assert!(postponed.takes(now));
        }
        assert!(!postponed.takes(now + POSTPONE_DELAY / 2));
        assert!(postponed.takes(now + POSTPONE_DELAY));
    }

    #[test]
    fn delays_grow_and_stay_bounded() {
        let mut before = Duration::ZERO;
        for attempt in 1..=7 {
            let delay = retry_delay(Attempt { sequence: 12_345, number: attempt });
            assert!(delay > before, "attempt {attempt}");
            before = delay;
        }
        for attempt in [0, 8, 1_000, u64::MAX] {
            for sequence in [0, 1, u64::MAX] {
                assert!(retry_delay(Attempt { sequence, number: attempt }) <= Duration::from_secs(72));
            }
        }
    }
}
