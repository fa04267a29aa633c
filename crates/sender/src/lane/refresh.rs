//! The checks that a lane makes every second: what keeps it from sending, and whether it waits for commands that its former
//! owner held.

use std::time::Duration;

use bus::{Priority, command_consumers};
use tokio::time::Instant;

use super::{AwaitedRedelivery, LaneWorker};
use crate::lane::expiry::WaitingCommands;
use lane_state::HaltReason;

/// Longest wait for the redelivery of the former owner's commands in flight after a lane changed hands.
const REDELIVERY_WAIT_MAX: Duration = Duration::from_secs(25);
/// Timeout of counting the former owner's commands in flight.
const COUNT_LIMIT: Duration = Duration::from_secs(1);

impl LaneWorker {
    /// Checks what keeps the lane from sending, and reports it.
    pub(super) async fn refresh(&mut self) {
        self.answer_expired();
        self.answer_erased();
        if let Some(awaited) = self.awaiting_redelivery {
            self.await_redelivery(awaited.since).await;
        }
        let waiting = *self.waiting.borrow();
        let halted = self.halt_reason(waiting).await;
        if self.lane.throttle.halt(halted.as_ref()) {
            self.log_halt(halted.as_ref());
        }
        let (failed, channel) = (&self.lane.shared.failed_lanes, &self.lane.account.channel);
        if waiting.is_unreadable {
            failed.add(channel);
        } else {
            failed.remove(channel);
        }
        self.report(waiting);
    }

    /// Returns what every call of the lane lacks; `None` if calls may be made.
    async fn halt_reason(&self, waiting: WaitingCommands) -> Option<HaltReason> {
        let bus = &self.lane.shared.bus;
        if *self.is_paused.borrow() {
            return Some(HaltReason::Paused);
        }
        if waiting.is_unreadable {
            return Some(HaltReason::ConsumerMissing);
        }
        if !bus.is_ledger_intact() {
            return Some(HaltReason::LedgerNotIntact);
        }
        if bus.is_ledger_full() {
            return Some(HaltReason::LedgerFull);
        }
        self.lane.account.authorization().await.err().map(|error| HaltReason::NoKey { error })
    }

    fn log_halt(&self, halted: Option<&HaltReason>) {
        let channel = self.lane.account.channel.as_str();
        match halted {
            None => tracing::info!(function = "sender", channel, "the lane of channel {channel} sends again"),
            Some(reason) => {
                tracing::warn!(
                    function = "sender",
                    channel,
                    "the lane of channel {channel} is halted: {reason}"
                );
            }
        }
    }

    /// Waits until the former owner's commands in flight are redelivered. No later command is started before that.
    async fn await_redelivery(&mut self, since: Instant) {
        if since.elapsed() > REDELIVERY_WAIT_MAX {
            self.awaiting_redelivery = None;
            return;
        }
        let mut given = 0;
        for queue in Priority::ALL {
            let count = command_consumers::lag(&self.lane.shared.bus, queue, &self.lane.account.channel);
            match tokio::time::timeout(COUNT_LIMIT, count).await {
                Ok(Ok(found)) => given += found.unwrap_or_default().num_ack_pending,
                // Without an answer the number is unknown.
                Ok(Err(_)) | Err(_) => return,
            }
        }
        let missing = given.saturating_sub(self.in_flight.len() as u64);
        self.awaiting_redelivery =
            if missing == 0 { None } else { Some(AwaitedRedelivery { missing, since }) };
    }
}
