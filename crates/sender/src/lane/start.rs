//! Starts the commands of a lane: in order, as many as may be in progress, and those that need a permit when they get it.

use std::sync::Arc;
use std::time::Duration;

use bus::{Delivery, Priority};
use jiff::Timestamp;
use opentelemetry::trace::SpanKind;
use tokio::time::Instant;

use super::recipient_queue::Entry;
use super::{Finished, IN_PROGRESS_MAX, LaneWorker, panics};
use crate::command::{self, PendingCommand};
use crate::context::Completion;
use crate::context::erased_commands::customer_erased;
use crate::reject;
use crate::send::{self, Overtaken, Overtaking, Turn};
use crate::throttle::Denied;

/// Most commands in progress from the bulk queue. Agents' commands have the rest: a campaign whose outcomes are all unknown must not
/// delay them.
const IN_PROGRESS_BULK_MAX: usize = 800;
/// Time for which the worker leaves every second permit to commands that wait for one themselves.
const TURN: Duration = Duration::from_millis(10);

impl LaneWorker {
    /// Starts all commands that may be started now.
    pub(super) fn start(&mut self) {
        self.next_start = None;
        self.lane.throttle.no_new_command();
        if self.awaiting_redelivery.is_some() || self.lane.closing.is_cancelled() {
            return;
        }
        while let Some(Entry { queue, command: first, .. }) = self.queues.peek() {
            let in_progress_max =
                if *queue == Priority::Interactive { IN_PROGRESS_MAX } else { IN_PROGRESS_BULK_MAX };
            if self.running.len() >= in_progress_max {
                return;
            }
            // An expired command is answered immediately, even in a halted lane. A redelivered command may need a
            // look-up or its result published again; if it has to be sent, it waits for a permit by itself.
            let needs_permit = Timestamp::now() < first.deadline && first.delivery.attempt == 1;
            let mut permit = None;
            if needs_permit {
                if !self.lane.throttle.is_new_commands_turn() {
                    self.next_start = Some(Instant::now() + TURN);
                    return;
                }
                if !self.lane.shared.ledger_limit.takes_more(&self.lane.account.channel) {
                    // The commands in progress wait for the ledger. Starting more would only make that wait longer.
                    self.next_start = Some(Instant::now() + TURN);
                    return;
                }
                match self.lane.throttle.try_acquire(Instant::now()) {
                    Ok(acquired) => permit = Some(acquired),
                    Err(Denied::Rate(until) | Denied::Limited(until) | Denied::Broken(until)) => {
                        self.next_start = Some(until);
                        return;
                    }
                    // The end of the probe, or the next check, wakes the worker.
                    Err(Denied::Probing | Denied::Halted) => return,
                }
            }
            let Some(Entry { sequence, command: job, .. }) = self.queues.start() else { return };
            let recipient = job.command.recipient.clone();
            let this = Overtaken { recipient: recipient.clone(), sequence };
            let overtaking = Overtaking { this, worker: self.overtaking.clone() };
            self.begin(Some(recipient), job, Turn::Send { permit, overtaking });
        }
    }

    /// Starts processing a command. `recipient` becomes free at its end; `None` for a command that keeps no
    /// recipient busy.
    pub(super) fn begin(&mut self, recipient: Option<String>, job: Box<PendingCommand>, turn: Turn) {
        let lane = self.lane.clone();
        self.spawn(Arc::clone(&job.delivery), recipient, async move {
            let tracer = &lane.shared.tracer;
            let mut span = tracer.start("send command", SpanKind::Consumer, job.traceparent());
            let ending = send::process(&lane, &job, turn).await;
            if !ending.is_acknowledged() {
                span.set_error("not_settled");
            }
            ending
        });
    }

    /// Spawns the task. A panic ends the attempt of one command, and not the lane.
    pub(super) fn spawn(
        &mut self,
        delivery: Arc<Delivery>,
        recipient: Option<String>,
        work: impl Future<Output = Completion> + Send + 'static,
    ) {
        let lane = self.lane.clone();
        // On the heap, because every future that it is moved into would have room for it.
        let work = Box::pin(work);
        self.running.spawn(async move {
            let count = || {
                lane.shared.metrics.panicked.inc();
            };
            // The ledger shows whether it may have been sent.
            let give_up =
                || async { reject::until_stored(&lane, &delivery, &command::panicked(&delivery)).await };
            let ending = panics::survived(delivery.attempt, count, work, give_up).await;
            Finished { sequence: delivery.sequence, recipient, ending }
        });
    }

    /// Answers commands that expired while the lane held them. They are not sent, so they keep no recipient busy.
    pub(super) fn answer_expired(&mut self) {
        let now = Timestamp::now();
        for entry in self.queues.drain(|job| now >= job.deadline) {
            self.begin(None, entry.command, Turn::Answer);
        }
    }

    /// Answers commands whose customer is being erased, also in a halted lane.
    pub(super) fn answer_erased(&mut self) {
        let erased = &self.lane.shared.erased;
        let now = Instant::now();
        if erased.is_empty(now) {
            return;
        }
        for entry in self.queues.drain(|job| erased.has(job.delivery.sequence, now)) {
            self.begin(None, entry.command, Turn::Reject(customer_erased().into()));
        }
    }
}
