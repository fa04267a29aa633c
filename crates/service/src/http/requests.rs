//! The state of a connection: how many of its requests have begun and ended, and since when it is idle.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Counts the requests of a connection that have begun and ended. Bytes that arrive between the beginning and
/// the end of a request belong to a body. When a request has begun, its head is complete.
#[derive(Debug, Clone)]
pub(crate) struct Requests(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
    /// The time from which the connection may be closed for another one, in milliseconds after [`started_at`]; or
    /// [`BUSY`], or [`CLOSING`].
    idle_since_ms: AtomicU64,
}

/// Value of a connection with a request in progress.
const BUSY: u64 = u64::MAX;
/// Value of a connection that is being closed. It begins no further request.
const CLOSING: u64 = u64::MAX - 1;

/// The first use of the clock in this process.
fn started_at() -> std::time::Instant {
    static STARTED_AT: OnceLock<std::time::Instant> = OnceLock::new();
    *STARTED_AT.get_or_init(std::time::Instant::now)
}

fn now_ms() -> u64 {
    u64::try_from(started_at().elapsed().as_millis()).unwrap_or(0)
}

impl Default for Requests {
    fn default() -> Self {
        let idle_since_ms = AtomicU64::new(now_ms());
        Self(Arc::new(Counts { begun: AtomicU64::new(0), ended: AtomicU64::new(0), idle_since_ms }))
    }
}

impl Requests {
    /// Returns whether the request may continue. It may not if its connection is being closed for another
    /// one.
    #[must_use]
    pub(crate) fn begin(&self) -> bool {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        self.0.idle_since_ms.swap(BUSY, Ordering::Relaxed) != CLOSING
    }

    pub(crate) fn end(&self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        self.0.idle_since_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// Allows the connection to be closed for another one although its request has not ended.
    pub(crate) fn release_permit(&self) {
        let _ = self.0.idle_since_ms.compare_exchange(BUSY, now_ms(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The time from which the connection may be closed for another one, in milliseconds after a fixed time;
    /// `None` while it may not.
    pub(crate) fn idle_since(&self) -> Option<u64> {
        Some(self.0.idle_since_ms.load(Ordering::Relaxed)).filter(|since| *since < CLOSING)
    }

    /// If the connection has been idle since this time, lets no further request begin. Returns whether it was
    /// idle.
    pub(crate) fn close_if_idle(&self, idle_since_ms: u64) -> bool {
        let (relaxed, since) = (Ordering::Relaxed, idle_since_ms);
        self.0.idle_since_ms.compare_exchange(since, CLOSING, relaxed, relaxed).is_ok()
    }

    pub(crate) fn started(&self) -> u64 {
        self.0.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.started() != self.0.ended.load(Ordering::Relaxed)
    }
}
