//! Keeps the lease of one lane: renews it while the lane is open, and releases it afterwards.

use bus::lease::{Lease, LeaseError, Leases, RETRY_PERIOD};
use bus::rate_limited_log::RateLimitedLog;
use tokio_util::sync::CancellationToken;

use crate::context::lane_lease::LaneLease;

static LANE_LEFT: RateLimitedLog = RateLimitedLog::new();

/// The lease of a lane, and how its task is stopped.
pub(super) struct LeaseKeeper {
    pub(super) leases: Leases,
    pub(super) lease: Lease,
    pub(super) ownership: LaneLease,
    /// Losing the lease cancels this: it closes the lane.
    pub(super) closing: CancellationToken,
    /// Canceled when the lane has ended.
    pub(super) ended: CancellationToken,
}

impl LeaseKeeper {
    /// Renews the lease until the lane has ended, and then releases it.
    pub(super) async fn run(self) {
        let Self { leases, mut lease, ownership, closing, ended } = self;
        let mut ticks = tokio::time::interval(RETRY_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut is_lost = false;
        while !is_lost {
            tokio::select! {
                () = ended.cancelled() => break,
                _ = ticks.tick() => {}
            }
            // On the heap, because a lease mostly waits for the next renewal.
            match Box::pin(leases.renew(&mut lease, ownership.value())).await {
                Ok(()) => ownership.renewed(&lease),
                Err(LeaseError::NotWritten(..)) if lease.is_held() => ticks.reset_after(RETRY_PERIOD / 5),
                // Another replica may own it, or will soon: the lane ends what is in progress and begins nothing new.
                Err(error) => {
                    if let Some(turn) = LANE_LEFT.next() {
                        tracing::warn!(function = "sender", "{error}: the lane is released{turn}");
                    }
                    is_lost = true;
                    closing.cancel();
                }
            }
        }
        ended.cancelled().await;
        if !is_lost {
            Box::pin(leases.release(lease)).await;
        }
    }
}
