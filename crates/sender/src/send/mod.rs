//! Processes a command, from the lane to its result.
//!
//! [`process`] is the loop: each stage returns the next one as a value.
//!
//! ```text
//! read ──► attempt ─────────────────────────────────────────► look up ──► decide ──► publish ──► end
//!          check, prepare, permit, intent, call, after                    ▲
//!          └──────────────── decided without a call ──────────────────────┘
//! ```
//!
//! | stage | file |
//! |---|---|
//! | the ledger entry is read, if there may be one | `read.rs` |
//! | one call is made | `attempt.rs`, and one file for each step: `prepare.rs`, `permit.rs`, `intent.rs`, `call.rs`, `after.rs` |
//! | the BSP's message log is queried for an unknown outcome | `resolve_unknown.rs` |
//! | the outcome is written to the ledger | `decide.rs` |
//! | the result is published | `publish.rs` |
//!
//! The ledger prevents duplicates: the intent is written before the call if no other process has written, and the outcome
//! is written if the intent is unchanged (`ledger_write.rs`).
//!
//! What follows from an answer of the ledger, a clock or the BSP is decided by pure functions (`decisions.rs`, and those of
//! `resolve_unknown.rs`). `crates/model` calls the same functions in every order ([`crate::protocol`]).

mod after;
mod attempt;
mod call;
mod decide;
pub(crate) mod decisions;
mod intent;
mod ledger_write;
mod permit;
mod prepare;
mod publish;
mod read;
pub(crate) mod resolve_unknown;
pub(crate) mod stage;
mod trials;
mod turn;

use std::time::Duration;

use bus::ledger::LedgerKey;
use tokio::time::Instant;

use crate::command::PendingCommand;
use crate::context::erased_commands::customer_erased;
use crate::context::{Completion, LaneContext};
use crate::result::outcome::{Outcome, ResultContext};
use crate::send::attempt::{Attempt, Progress};
use crate::send::decisions::at_delivery;
use crate::send::stage::Stage;
pub(crate) use crate::send::turn::{Overtaken, Overtaking, Turn};

/// Delay before an operation that the bus or Redis failed is retried.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// A command that is being processed: what every stage needs.
struct Work<'a> {
    lane: &'a LaneContext,
    job: &'a PendingCommand,
    key: LedgerKey,
}

/// Processes a command until its result is stored or the lane is closed.
pub(crate) async fn process(lane: &LaneContext, job: &PendingCommand, turn: Turn) -> Completion {
    let work = Work { lane, job, key: LedgerKey::new(&lane.account.channel, &job.command.id) };
    let mut turn = turn.into_parts();
    let mut progress = Progress { permit: turn.permit.take(), ..Progress::default() };
    let mut stage = at_delivery(job.delivery.attempt);
    loop {
        // A permit is only for a command that is about to call. Other commands give it back.
        if !matches!(stage, Stage::Attempt(_)) {
            progress.permit = None;
        }
        if stage.is_waiting() {
            progress.open_call = None;
        } else if progress.open_call.is_none() {
            progress.open_call = Some(lane.calls.begin(job.delivery.sequence));
        }
        stage = match stage {
            Stage::Read => work.read().await,
            // A ledger that has lost entries does not show whether a command was sent, so no result is published.
            Stage::Attempt(_) if !lane.shared.bus.is_ledger_intact() => work.retry_later(RETRY_PAUSE).await,
            Stage::Attempt(known) => match turn.rejection.as_deref().cloned().or_else(|| work.erased()) {
                Some(outcome) => known.fail_before_call(outcome),
                None => Attempt { work: &work, known, progress: &mut progress }.run().await,
            },
            Stage::LookUp { known, ended_at } => {
                work.resolve_while_held(known, ended_at, &mut turn.overtaking).await
            }
            Stage::Decide(known, outcome) => work.decide(known, &outcome).await,
            // Only now, so that the ledger has the result without its calls.
            Stage::Publish(mut result) => {
                progress.calls.move_to(&mut result);
                work.publish(result).await
            }
            Stage::IdConflict => work.id_conflict().await,
            Stage::End(ending) => return ending,
        };
    }
}

impl Work<'_> {
    /// Waits, and returns the stage that reads the ledger again.
    async fn retry_later(&self, wait: Duration) -> Stage {
        if self.lane.pause(wait).await { Stage::Read } else { Stage::RELEASED }
    }

    /// The outcome of a command whose customer is being erased; `None` if it may be sent.
    fn erased(&self) -> Option<Outcome> {
        let is_erased = self.lane.shared.erased.has(self.job.delivery.sequence, Instant::now());
        is_erased.then(customer_erased)
    }

    fn result_context(&self, attempts: u32) -> ResultContext<'_> {
        ResultContext {
            owner: self.lane.owner(),
            delivery: &self.job.delivery,
            command_id: self.job.command.id.as_str(),
            context: &self.job.command.context,
            attempts,
        }
    }
}
