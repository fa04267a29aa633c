//! Which replicas are running, by a lease that each holds, and how many lanes each may own.

use std::collections::HashSet;
use std::sync::Arc;

use bus::lease::{Lease, Leases, RETRY_PERIOD};
use bytes::Bytes;

use crate::account::AccountName;
use crate::bsp_client::message_log::ReplicaCount;
use lane_state::LaneState;

/// Beginning of the name of a replica's lease.
const PREFIX: &str = "replica.";

/// The lease that shows the other replicas that this one is running.
pub(super) struct Presence {
    leases: Leases,
    name: String,
    lease: Option<Lease>,
}

impl Presence {
    /// Creates it for this replica. [`Presence::announce`] acquires the lease.
    pub(super) fn new(leases: Leases, replica: &str) -> Self {
        Self { leases, name: format!("{PREFIX}{replica}"), lease: None }
    }

    /// Acquires the lease, or renews it when that is due.
    pub(super) async fn announce(&mut self) {
        let value = || Bytes::from_static(b"{}");
        let renewed = match &mut self.lease {
            None => self.leases.acquire(&self.name, value()).await.map(Some),
            Some(lease) if lease.renewed_at().elapsed() < RETRY_PERIOD => return,
            Some(lease) => self.leases.renew(lease, value()).await.map(|()| None),
        };
        match renewed {
            Ok(Some(lease)) => self.lease = Some(lease),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(function = "sender", "{error}");
                if self.lease.as_ref().is_some_and(|lease| !lease.is_held()) {
                    self.lease = None;
                }
            }
        }
    }

    /// Releases the lease.
    pub(super) async fn release(self) {
        if let Some(lease) = self.lease {
            self.leases.release(lease).await;
        }
    }

    /// Returns this replica's share of this number of lanes, rounded up so that every lane has an owner.
    pub(super) fn share(&self, lanes: usize) -> usize {
        let held = self.leases.held();
        let others = held.iter().filter(|(name, _)| name.starts_with(PREFIX) && *name != self.name);
        lanes.div_ceil(others.count() + 1)
    }
}

/// Returns a function that counts the replicas that own lanes of an account, from their leases.
pub(crate) fn replicas_of(leases: &Leases) -> ReplicaCount {
    let leases = leases.clone();
    Arc::new(move |name: &AccountName| {
        let mut owners = HashSet::new();
        for (_, seen) in leases.held() {
            if let Some(state) = LaneState::from_bytes(&seen.value)
                && state.account == name.0
            {
                owners.insert(state.owner);
            }
        }
        u32::try_from(owners.len()).unwrap_or(u32::MAX)
    })
}
