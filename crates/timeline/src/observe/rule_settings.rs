//! The times of the rules: `report_after` of the channels, and how long each lane usually takes, learned from the rows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::registry::Snapshots;
use channel::Channels;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::row::Row;
use crate::rules::{LaneTimes, RuleSettings, RuleTimes};

/// Interval of taking over what was learned of the lanes.
const INTERVAL: Duration = Duration::from_secs(5);

/// What was learned of the lanes. The readers of commands and of events add to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Lanes(Arc<Mutex<LaneTimes>>);

impl Lanes {
    pub(super) fn observe<'r>(&self, rows: impl Iterator<Item = &'r Row>) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.for_each(|row| times.observe(row));
    }

    fn settings(&self, times: RuleTimes, channels: &Channels) -> RuleSettings {
        let result_after = self.0.lock().unwrap_or_else(PoisonError::into_inner).result_after();
        let report_after = channels.iter().filter_map(|channel| {
            let seconds = channel.report_after_s?;
            Some((channel.id.to_string(), Duration::from_secs(seconds.into())))
        });
        RuleSettings { times, report_after: report_after.collect(), result_after }
    }
}

/// Follows the times until the stop: when the channels change, and at intervals.
pub(super) fn follow(
    times: RuleTimes,
    lanes: Lanes,
    mut channels: Snapshots,
    stop: CancellationToken,
) -> watch::Receiver<Arc<RuleSettings>> {
    let (sender, receiver) = watch::channel(Arc::new(RuleSettings { times, ..RuleSettings::default() }));
    tokio::spawn(async move {
        loop {
            let current = channels.borrow_and_update().clone().unwrap_or_default();
            sender.send_replace(Arc::new(lanes.settings(times, &current)));
            tokio::select! {
                () = stop.cancelled() => return,
                changed = channels.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    });
    receiver
}
