//! Until when this process may rely on owning a lane.

use std::sync::{Arc, Mutex, PoisonError};

use bus::lease::{Lease, RENEW_DEADLINE};
use bytes::Bytes;

use crate::moment::Moment;
use lane_state::LaneState;

/// Whether this process still owns a lane. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LaneLease(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    /// Until when it is trusted, by both clocks: a suspended machine stops one of them.
    trusted_to: Mutex<Moment>,
    state: Mutex<LaneState>,
}

impl LaneLease {
    pub(crate) fn new(lease: &Lease, state: LaneState) -> Self {
        let owned = Owned { trusted_to: Mutex::new(trusted_to(lease)), state: Mutex::new(state) };
        Self(Arc::new(owned))
    }

    /// Whether a call may still be made.
    pub(crate) fn is_valid(&self) -> bool {
        let trusted_to = *self.0.trusted_to.lock().unwrap_or_else(PoisonError::into_inner);
        !trusted_to.has_come_at(Moment::now())
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
        *self.0.trusted_to.lock().unwrap_or_else(PoisonError::into_inner) = trusted_to(lease);
    }
}

fn trusted_to(lease: &Lease) -> Moment {
    let renewed_at = Moment { instant: lease.renewed_at(), unix_ms: lease.renewed_at_ms() };
    renewed_at.plus(RENEW_DEADLINE)
}
