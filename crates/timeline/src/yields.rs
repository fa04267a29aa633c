//! Yields the CPU between the steps of a batch, so that the path of messages does not wait until a batch is read or written.
//!
//! Linux seldom interrupts a thread that runs, also one with nice 10, for one that wakes up: it may run on for milliseconds. A thread
//! that yields (`sched_yield(2)`) goes on at once where no other waits for its CPU.

use std::thread;
use std::time::Instant;

/// The yields of one batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Yields {
    until: Instant,
}

impl Yields {
    /// Until the time by which the batch should be done. Where other programs use all CPUs, each yield takes milliseconds: after that
    /// time the batch goes on with the share of the CPU that its priority gives it.
    pub(crate) fn until(until: Instant) -> Self {
        Self { until }
    }

    /// To be called between two steps, which should take less than 0.1 ms.
    pub(crate) fn step(self) {
        if Instant::now() < self.until {
            thread::yield_now();
        }
    }
}
