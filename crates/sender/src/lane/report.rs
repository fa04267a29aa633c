//! The state of a lane and the reason why it waits: for metrics, and for its lease, which the command line reads.

use bus::Priority;
use jiff::Timestamp;
use tokio::time::Instant;

use super::LaneWorker;
use crate::lane::expiry::WaitingCommands;
use crate::metrics::ChannelLabels;
use crate::throttle::Reason;
use lane_state::{CrowdedRecipient, HaltReason, LaneBacklog, LaneState};

/// The commands of a lane: those that wait, and those with a call in flight.
struct Counts {
    waits: LaneBacklog,
    in_progress: usize,
    campaigns_in_progress: usize,
}

impl LaneWorker {
    /// Counts the lane's commands. All commands without a call in flight are waiting: in the stream, held by this lane,
    /// or delivered to the former owner and not redelivered yet.
    fn count(&self, waiting: WaitingCommands) -> Counts {
        let calls = self.lane.calls.sequences();
        let inherited = self.awaiting_redelivery.map_or(0, |awaited| awaited.missing);
        let mut counts = Counts {
            waits: LaneBacklog { commands: waiting.in_stream + inherited, oldest_ms: None },
            in_progress: 0,
            campaigns_in_progress: 0,
        };
        let mut oldest = waiting.oldest;
        for (sequence, held) in &self.in_flight {
            if calls.contains(sequence) {
                counts.in_progress += 1;
                counts.campaigns_in_progress += usize::from(held.queue == Priority::Bulk);
            } else {
                counts.waits.commands += 1;
                oldest = oldest.into_iter().chain([held.stored_at]).min();
            }
        }
        counts.waits.oldest_ms = oldest.map(Timestamp::as_millisecond);
        counts
    }

    /// Reports the state to metrics and to the lane's lease.
    pub(super) fn report(&mut self, waiting: WaitingCommands) {
        let awaits = || {
            let why = HaltReason::AwaitingRedelivery;
            self.awaiting_redelivery.map(|_| Reason { why, next_try: None })
        };
        let reason = self.lane.throttle.reason(Instant::now()).or_else(awaits);
        let Counts { waits, in_progress, campaigns_in_progress } = self.count(waiting);
        let labels = ChannelLabels { channel: self.lane.account.channel.to_string() };
        let metrics = &self.lane.shared.metrics;
        metrics.halted.get_or_create(&labels).set(i64::from(reason.is_some()));
        metrics.in_progress.get_or_create(&labels).set(in_progress as i64);
        metrics.waiting.get_or_create(&labels).set(i64::try_from(waits.commands).unwrap_or(i64::MAX));
        let age_ms = waits.oldest_ms.map(|oldest_ms| Timestamp::now().as_millisecond() - oldest_ms);
        metrics.oldest_waiting.get_or_create(&labels).set(age_ms.unwrap_or_default().max(0) / 1000);
        let crowd = self.queues.longest();
        let crowded = CrowdedRecipient {
            behind: crowd.behind,
            recipients: crowd.recipients,
            full_recipients: crowd.full,
            is_lane_full: Priority::ALL.into_iter().any(|queue| self.is_full(queue)),
        };
        metrics.behind.get_or_create(&labels).set(i64::try_from(crowd.behind).unwrap_or(i64::MAX));
        self.lane.lease.set_state(LaneState {
            next_try_s: reason.as_ref().and_then(|reason| Some(reason.next_try?.as_secs())),
            halted: reason.map(|reason| reason.why),
            in_progress,
            campaigns_in_progress,
            waits,
            crowded,
            ..LaneState::default()
        });
        let refused = std::mem::take(&mut self.refused);
        if refused > 0 {
            tracing::warn!(
                function = "sender",
                channel = self.lane.account.channel.as_str(),
                "refused in the last second: {}; their recipients have reached the limit of pending commands",
                service::words::pluralize(refused, "command")
            );
        }
    }
}
