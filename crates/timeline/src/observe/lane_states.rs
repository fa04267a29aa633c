//! Follows what the owners of lanes write into their leases: whether each lane sends, and what waits in it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bus::lease::Leases;
use lane_state::{LaneState, lane_of_lease};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::health::Lanes;

/// Interval of reading the leases, which their watch keeps current.
const INTERVAL: Duration = Duration::from_secs(2);

/// Follows the leases until the stop; `None` until they were read once.
pub(super) fn follow(leases: Leases, stop: CancellationToken) -> watch::Receiver<Option<Lanes>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        loop {
            if leases.is_synced() {
                sender.send_replace(Some(Arc::new(states(&leases))));
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    });
    receiver
}

fn states(leases: &Leases) -> HashMap<String, LaneState> {
    let held = leases.held().into_iter();
    let state = |(name, lease): (String, bus::lease::LeaseView)| {
        Some((lane_of_lease(&name)?.to_owned(), LaneState::from_bytes(&lease.value)?))
    };
    held.filter_map(state).collect()
}
