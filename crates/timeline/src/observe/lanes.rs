//! Follows why lanes send nothing: their owners write it into their leases.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bus::lease::Leases;
use lane_state::{LaneState, lane_of_lease};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Interval of looking at the leases, which the watch keeps current.
const INTERVAL: Duration = Duration::from_secs(5);

/// Follows the leases until the stop: the reason in words, by channel. A lane that sends is left out.
pub(super) fn follow(
    leases: Leases,
    stop: CancellationToken,
) -> watch::Receiver<Arc<HashMap<String, String>>> {
    let (sender, receiver) = watch::channel(Arc::default());
    tokio::spawn(async move {
        loop {
            let halted = leases.held().into_iter().filter_map(|(name, lease)| {
                let why = LaneState::from_bytes(&lease.value)?.why();
                (!why.is_empty()).then(|| Some((lane_of_lease(&name)?.to_owned(), why)))?
            });
            sender.send_replace(Arc::new(halted.collect()));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    });
    receiver
}
