//! Until when this process may rely on owning a lane.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bus::lease::{Lease, RENEW_DEADLINE};
use bytes::Bytes;
use tokio::time::Instant;

use crate::lane_state::LaneState;

/// Whether this process still owns a lane. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LaneLease(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    began: Instant,
    trusted_to_ms: AtomicU64,
    state: Mutex<LaneState>,
}

impl LaneLease {
    pub(crate) fn new(lease: &Lease, state: LaneState) -> Self {
        let owned =
            Owned { began: Instant::now(), trusted_to_ms: AtomicU64::new(0), state: Mutex::new(state) };
        let ownership = Self(Arc::new(owned));
        ownership.renewed(lease);
        ownership
    }

    /// Whether a call may still be made.
    pub(crate) fn is_valid(&self) -> bool {
        let now_ms = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        now_ms < self.0.trusted_to_ms.load(Ordering::Acquire)
    }

    /// Sets the state that the next renewals write. Owner and account stay the same.
    pub(crate) fn set_state(&self, now: LaneState) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (owner, account) = (std::mem::take(&mut state.owner), std::mem::take(&mut state.account));
        *state = LaneState { owner, account, ..now };
    }

    /// Returns the value that the next renewal writes.
    pub(crate) fn value(&self) -> Bytes {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_vec(&*state).expect("it has no map").into()
    }

    /// Records a renewal.
    pub(crate) fn renewed(&self, lease: &Lease) {
        let trusted_to = lease.renewed_at() + RENEW_DEADLINE;
        let to_ms = trusted_to.saturating_duration_since(self.0.began).as_millis();
        self.0.trusted_to_ms.store(u64::try_from(to_ms).unwrap_or(0), Ordering::Release);
    }
}
