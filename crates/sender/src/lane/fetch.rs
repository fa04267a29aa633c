//! Fetches the commands of a lane from the stream.

use std::time::Duration;

use bus::Priority;
use bus::pull::PullError;
use bus::streams::LANE_MAX_ACK_PENDING;
use tokio::time::Instant;

use super::{HELD_BYTES_MAX, IN_PROGRESS_MAX, LaneWorker, PREFETCH_MAX, WAITING_MAX};

/// Time for which a lane fetches ahead at its rate.
const PREFETCH: Duration = Duration::from_millis(250);
/// Fewest commands that are fetched ahead.
const PREFETCH_MIN: usize = 4;

impl LaneWorker {
    /// Fetches as many commands as can be started soon.
    pub(super) async fn fetch(&mut self) -> Result<(), PullError> {
        let rate = f64::from(self.lane.account.details.sends_per_second);
        // A failing account needs only a few commands, as probes.
        let ahead_max = if self.lane.throttle.is_broken() { PREFETCH_MIN } else { PREFETCH_MAX };
        let ahead = ((rate * PREFETCH.as_secs_f64()) as usize).clamp(PREFETCH_MIN, ahead_max);
        let is_closed = !self.lane.throttle.may_fetch(Instant::now());
        for queue in Priority::ALL {
            let wanted = match self.awaiting_redelivery {
                Some(_) if self.held_bytes > HELD_BYTES_MAX => 0,
                Some(awaited) => usize::try_from(awaited.missing).unwrap_or(0).min(LANE_MAX_ACK_PENDING),
                None if is_closed || self.running.len() >= IN_PROGRESS_MAX => 0,
                None if self.is_full(queue) => 0,
                None => ahead.saturating_sub(self.queues.ready(queue)),
            };
            let asked = self.reader.requested(queue);
            // A few large requests instead of one for each command.
            if wanted > asked && (asked == 0 || wanted - asked > ahead / 2) {
                self.reader.request(queue, wanted - asked).await?;
            }
        }
        Ok(())
    }

    /// Whether the lane holds the maximum number of commands of a queue.
    pub(super) fn is_full(&self, queue: Priority) -> bool {
        self.held_bytes > HELD_BYTES_MAX || self.queues.waiting(queue) >= WAITING_MAX
    }
}
