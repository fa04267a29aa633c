//! What a connection is doing: how many of its requests have begun and ended, and since when it is idle.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// How many requests of a connection have begun and ended. Between a beginning and its end, what is read is a body;
/// after a beginning, the head that was on the way has come.
#[derive(Debug, Clone)]
pub(crate) struct Requests(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Since when the connection may be closed for another one, in milliseconds after [`began`]; or [`BUSY`], or [`LEAVING`].
    idle_since_ms: AtomicU64,
}

/// Value of a connection with a request in progress.
const BUSY: u64 = u64::MAX;
/// Value of a connection that is being closed. None of its requests begins any more.
const LEAVING: u64 = u64::MAX - 1;

/// The first use in this process.
fn began() -> std::time::Instant {
    static BEGAN: OnceLock<std::time::Instant> = OnceLock::new();
    *BEGAN.get_or_init(std::time::Instant::now)
}

fn now_ms() -> u64 {
    u64::try_from(began().elapsed().as_millis()).unwrap_or(0)
}

impl Default for Requests {
    fn default() -> Self {
        let idle_since_ms = AtomicU64::new(now_ms());
        Self(Arc::new(Counts { begun: AtomicU64::new(0), ended: AtomicU64::new(0), idle_since_ms }))
    }
}

impl Requests {
    /// Says whether the request may go on: not when its connection is being closed for another one.
    #[must_use]
    pub(crate) fn begin(&self) -> bool {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        self.0.idle_since_ms.swap(BUSY, Ordering::Relaxed) != LEAVING
    }

    pub(crate) fn end(&self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        self.0.idle_since_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// The connection may be closed for another one although its request has not ended.
    pub(crate) fn give_up_place(&self) {
        let _ = self.0.idle_since_ms.compare_exchange(BUSY, now_ms(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Since when the connection may be closed for another one, if it may, in milliseconds after a fixed time.
    pub(crate) fn idle_since(&self) -> Option<u64> {
        Some(self.0.idle_since_ms.load(Ordering::Relaxed)).filter(|since| *since < LEAVING)
    }

    /// Lets no request begin any more, if the connection is idle since then. Says whether it was.
    pub(crate) fn leave(&self, idle_since_ms: u64) -> bool {
        let (relaxed, since) = (Ordering::Relaxed, idle_since_ms);
        self.0.idle_since_ms.compare_exchange(since, LEAVING, relaxed, relaxed).is_ok()
    }

    pub(crate) fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.begun() != self.0.ended.load(Ordering::Relaxed)
    }
}
