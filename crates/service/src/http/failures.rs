//! Failed credentials, counted by the caller's address and their target. Beyond a limit, the response is
//! delayed and the connection is closed, which slows down guessing. A valid credential is never counted or
//! delayed, even from an address that has failed often, so no one can lock a BSP out.
//!
//! It uses no lock and a fixed amount of memory. Callers may share a counter by chance, under hashes whose
//! key is random in every process. The only effect is that a wrong credential is delayed. Counters of addresses
//! are apart from those of addresses and targets, so that the targets of a caller do not raise its own count.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bus::rate_limited_log::RateLimitedLog;

use crate::http::addresses::{AddressKey, LogAddresses};
use crate::http::caller::Caller;
use crate::http::limits::PortMetrics;

/// Number of counters of each kind: 128 KiB of memory together.
const COUNTERS: usize = 8 * 1024;
/// Period in which failures are counted together.
const PERIOD: Duration = Duration::from_secs(60);
/// Failures of one address for one channel in a period that are answered without delay.
const AT_ONCE_MAX: u32 = 10;
/// The same for all channels together, so that a caller gains nothing by changing the channel.
const AT_ONCE_ALL_MAX: u32 = 100;
/// Delay of the response to each further failure. BSPs wait longer than this, and receive 401.
const DELAY: Duration = Duration::from_secs(2);
/// Bits of a counter that hold the count. The bits above hold the period.
const COUNT_BITS: u32 = 32;

static DELAYED: RateLimitedLog = RateLimitedLog::new();

/// When the response to a failed credential is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseDelay {
    /// Without delay.
    AtOnce,
    /// After [`ResponseDelay::wait`]. The connection is then closed.
    Delayed,
}

impl ResponseDelay {
    /// Waits until the response may be sent.
    pub async fn wait(self) {
        if self == Self::Delayed {
            tokio::time::sleep(DELAY).await;
        }
    }
}

/// Counts the failed credentials of a port's callers.
#[derive(Debug)]
pub struct FailedCredentials {
    hasher: RandomState,
    by_target: Box<[AtomicU64]>,
    by_address: Box<[AtomicU64]>,
    began: Instant,
    metrics: PortMetrics,
    log: LogAddresses,
}

impl FailedCredentials {
    /// Counters at zero. Delayed responses are counted in the metrics of the port.
    pub fn new(metrics: PortMetrics, log: LogAddresses) -> Self {
        Self::with_counters(COUNTERS, metrics, log)
    }

    fn with_counters(count: usize, metrics: PortMetrics, log: LogAddresses) -> Self {
        let counters = || (0..count).map(|_| AtomicU64::new(0)).collect();
        let (by_target, by_address) = (counters(), counters());
        Self { hasher: RandomState::new(), by_target, by_address, began: Instant::now(), metrics, log }
    }

    /// Counts a failure of a caller. `target` is the target of the credential as the caller names it, whether
    /// it exists or not: the response must not reveal which channels exist.
    pub fn count(&self, caller: &Caller, target: impl Hash) -> ResponseDelay {
        let address = AddressKey::of(caller.address());
        let period = u32::try_from(self.began.elapsed().as_secs() / PERIOD.as_secs()).unwrap_or(u32::MAX);
        let delay = self.delay(address, target, period);
        if delay == ResponseDelay::Delayed {
            self.metrics.failed_credentials.inc();
            if let Some(turn) = DELAYED.next() {
                tracing::warn!(
                    function = "http",
                    "responses to failed credentials of {} are delayed by {} s, and the connections are closed: more than \
                     {AT_ONCE_MAX} failed for one channel, or {AT_ONCE_ALL_MAX} for all channels, within a minute{turn}",
                    self.log.show(caller.address()),
                    DELAY.as_secs()
                );
            }
        }
        delay
    }

    fn delay(&self, address: AddressKey, target: impl Hash, period: u32) -> ResponseDelay {
        let of_target = self.add(&self.by_target, (address, target), period);
        let of_address = self.add(&self.by_address, address, period);
        if of_target > AT_ONCE_MAX || of_address > AT_ONCE_ALL_MAX {
            ResponseDelay::Delayed
        } else {
            ResponseDelay::AtOnce
        }
    }

    /// Adds one to the counter of a key. The counter restarts with every period.
    fn add(&self, counters: &[AtomicU64], key: impl Hash, period: u32) -> u32 {
        let position = usize::try_from(self.hasher.hash_one(key) % counters.len() as u64).unwrap_or(0);
        let counter = &counters[position];
        let next = |old: u64| {
            let is_same = old >> COUNT_BITS == u64::from(period);
            let count = if is_same { old & u64::from(u32::MAX) } else { 0 };
            u64::from(period) << COUNT_BITS | (count + 1).min(u64::from(u32::MAX))
        };
        let old = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(next(old)));
        u32::try_from(next(old.unwrap_or_else(|old| old)) & u64::from(u32::MAX)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failures_of_a_period_are_answered_without_delay() {
        // With this many counters, no two keys share one by chance.
        let failed =
            FailedCredentials::with_counters(64 * COUNTERS, PortMetrics::default(), LogAddresses::Masked);
        let address = |last: u8| AddressKey::of([192, 0, 2, last].into());
        for period in [0, 1, 7] {
            for _ in 0..AT_ONCE_MAX {
                assert_eq!(failed.delay(address(1), "c-1", period), ResponseDelay::AtOnce);
            }
            assert_eq!(failed.delay(address(1), "c-1", period), ResponseDelay::Delayed);
            assert_eq!(failed.delay(address(1), "c-2", period), ResponseDelay::AtOnce, "another channel");
            assert_eq!(failed.delay(address(2), "c-1", period), ResponseDelay::AtOnce, "another address");
        }
    }

    /// However few the counters are: a caller that uses another channel each time is delayed exactly at the limit.
    #[test]
    fn the_targets_of_a_caller_do_not_raise_the_count_of_its_address() {
        for _ in 0..20 {
            let failed = FailedCredentials::with_counters(256, PortMetrics::default(), LogAddresses::Masked);
            let address = AddressKey::of([192, 0, 2, 3].into());
            let at_once = |number: &u32| failed.delay(address, number, 8) == ResponseDelay::AtOnce;
            assert_eq!((0..2 * AT_ONCE_ALL_MAX).filter(at_once).count(), AT_ONCE_ALL_MAX as usize);
        }
    }
}
