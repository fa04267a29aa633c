//! Follows how far the normalizer and the back end have acknowledged their streams.

use std::time::Duration;

use bus::streams::{AICC, NORMALIZER};
use bus::{Bus, lag};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::life::Floors;

/// Interval of reading the ack floors.
const INTERVAL: Duration = Duration::from_secs(5);

/// Follows the ack floors until the stop. A floor that cannot be read keeps its last value.
pub(super) fn follow(bus: Bus, stop: CancellationToken) -> watch::Receiver<Floors> {
    let (sender, receiver) = watch::channel(Floors::default());
    tokio::spawn(async move {
        loop {
            let (normalizer, aicc) =
                tokio::join!(lag::ack_floor(&bus, &NORMALIZER), lag::ack_floor(&bus, &AICC));
            sender.send_modify(|floors| {
                floors.normalizer = normalizer.ok().or(floors.normalizer);
                floors.aicc = aicc.ok().or(floors.aicc);
            });
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    });
    receiver
}
