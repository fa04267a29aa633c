//! Step 2: a permit of the lane's throttle.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::RETRY_PAUSE;
use super::attempt::Attempt;
use super::stage::Stage;
use crate::throttle::turns::Place;
use crate::throttle::{Denied, Permit};

/// Delay before a permit is requested again while new intents wait for the ledger.
const LEDGER_TURN: Duration = Duration::from_millis(20);
/// Longest wait before a permit is requested again: the deadline may come before the throttle allows a call.
const WAIT_MAX: Duration = Duration::from_secs(1);

impl Attempt<'_> {
    /// Waits for a permit for the next call, unless the lane has given one with the command.
    ///
    /// # Errors
    /// The next stage, if the deadline passes first, the customer is erased or the lane is closed.
    pub(super) async fn acquire_permit(&mut self) -> Result<Permit, Stage> {
        let (lane, job) = (self.work.lane, self.work.job);
        if let Some(permit) = self.progress.permit.take().filter(|permit| permit.is_fresh(Instant::now())) {
            return Ok(permit);
        }
        let place = Place { last_call: self.progress.trials.last_call(), sequence: job.delivery.sequence };
        let line = lane.throttle.wait_for_turn(place);
        while Timestamp::now() < job.deadline {
            if let Some(outcome) = self.work.erased() {
                return Err(self.take_known().fail_before_call(outcome));
            }
            let now = Instant::now();
            let (until, jitter) = if lane.shared.ledger_limit.takes_more(&lane.account.channel) {
                match line.try_acquire(now) {
                    Ok(permit) => return Ok(permit),
                    Err(Denied::Rate(until) | Denied::Limited(until)) => (until, line.jitter()),
                    // The next probe is for a command in the line, so this one must not be late.
                    Err(Denied::Broken(until)) => (until, Duration::ZERO),
                    Err(Denied::Probing | Denied::Halted) => (now + RETRY_PAUSE, Duration::ZERO),
                }
            } else {
                (now + LEDGER_TURN, line.jitter())
            };
            if !lane.pause((until - now).min(WAIT_MAX) + jitter).await {
                return Err(Stage::RELEASED);
            }
        }
        if lane.closing.is_cancelled() {
            return Err(Stage::RELEASED);
        }
        Err(self.deadline_passed())
    }
}
