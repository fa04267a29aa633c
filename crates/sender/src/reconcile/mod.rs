//! Reconciliation: asks the BSP's message log about accepted messages without a report, and publishes what it says as reports with
//! `source.reconciled`. Only the owner of a lane does, for channels with `reconcile = true`.
//!
//! EVENTS says which messages are without a report ([`reading`](mod@reading), [`unreported`](mod@unreported)): results and reports are in
//! one stream, so the next owner of the lane finds the same, also what was asked before. The ledger decides: a message is asked about only
//! while its entry says that it was accepted. Nothing is sent, and nothing is written to the ledger. The requests share the rate of the
//! look-ups, which go first ([`message_log`](mod@crate::bsp_client::message_log)). What the log says is read by the BSP's folder.

mod asking;
mod publish;
mod reading;
mod unreported;

use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use prost::Message;
use proto::v1::{ReportEvent, SendResult};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::context::LaneContext;
use crate::reconcile::asking::{Answer, Answered};
use crate::reconcile::reading::{AHEAD, Read, Reading};
use crate::reconcile::unreported::{AGE_MAX, Question, Unreported};

/// Interval of checking which messages are due.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Pause before a question that failed, or an event that was not stored, is tried again.
const RETRY_PAUSE: SignedDuration = SignedDuration::from_secs(10);

/// Lanes of a process that read the events of the last day at the same time. Each holds what the server has sent ahead of it, and a new
/// owner of many lanes would hold that of all.
const READING_PAST_MAX: usize = 2;

static READING_PAST: Semaphore = Semaphore::const_new(READING_PAST_MAX);

/// Most events that are read before an answer is published: as many as the readers hold.
const WAITING_MAX: usize = 2 * AHEAD;

/// The reconciliation of one lane.
struct Reconciler {
    lane: LaneContext,
    unreported: Unreported,
    /// At most one batch of questions, which waits for the message log.
    asking: JoinSet<Vec<Answered>>,
}

/// Starts to reconcile a lane until it is closed; `None` if its channel is not configured so.
pub(crate) fn start(lane: &LaneContext) -> Option<JoinHandle<()>> {
    let after = SignedDuration::try_from(lane.account.reconcile_after?).ok()?;
    Some(tokio::spawn(run(lane.clone(), after)))
}

async fn run(lane: LaneContext, after: SignedDuration) {
    let closing = lane.closing.clone();
    let mut reconciler = Reconciler { lane, unreported: Unreported::new(after), asking: JoinSet::new() };
    tokio::select! {
        () = closing.cancelled() => {}
        () = reconciler.work() => {}
    }
}

/// What became of an attempt to publish what the log says.
enum Published {
    Yes,
    /// The ledger does not say any more that the message was accepted.
    NotAccepted,
    /// The bus is unreachable, or the lane may be lost.
    Later,
}

impl Reconciler {
    async fn work(&mut self) {
        let mut turn = READING_PAST.acquire().await.ok();
        let mut reading = self.begin();
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                read = reading.next() => match read {
                    Some(read) => self.read(&read),
                    None => {
                        self.unreported.begin_again();
                        drop(reading);
                        if turn.is_none() {
                            turn = READING_PAST.acquire().await.ok();
                        }
                        reading = self.begin();
                    }
                },
                Some(answered) = self.asking.join_next(), if !self.asking.is_empty() => {
                    self.finish(answered.unwrap_or_default(), &mut reading).await;
                }
                _ = checks.tick() => {
                    self.unreported.expire(Timestamp::now());
                    self.report_left_out();
                    if reading.has_read_past() {
                        turn = None;
                    }
                    if reading.is_current() && self.asking.is_empty() {
                        self.ask();
                    }
                }
            }
        }
    }

    /// Starts to read the events about messages that are young enough to be asked about.
    fn begin(&self) -> Reading {
        let since =
            Timestamp::now().saturating_sub(AGE_MAX).expect("a signed duration has no calendar units");
        Reading::start(&self.lane, since)
    }

    fn read(&mut self, read: &Read) {
        match read {
            Read::Result(delivery) => {
                if let Ok(result) = SendResult::decode(delivery.payload.clone()) {
                    self.unreported.accepted(&result, delivery.stored_at);
                }
            }
            Read::Report(delivery) => {
                if let Ok(report) = ReportEvent::decode(delivery.payload.clone()) {
                    self.unreported.reported(&report, delivery.stored_at);
                }
            }
        }
    }

    fn report_left_out(&mut self) {
        let left_out = self.unreported.take_left_out();
        if left_out > 0 {
            let channel = self.lane.account.channel.as_str();
            tracing::warn!(
                function = "reconcile",
                channel,
                "channel {channel} has too many messages without a report: {left_out} more will not be looked up; check the webhook URL at the BSP"
            );
        }
    }

    /// Asks about the messages that are due, as many as one request may name.
    fn ask(&mut self) {
        let due = self.unreported.due(Timestamp::now(), self.lane.account.sending.lookup_ids_max());
        if !due.is_empty() && self.lane.lease.is_valid() {
            self.asking.spawn(asking::ask(self.lane.clone(), due));
        }
    }

    /// Reads the events that have come by now.
    fn read_waiting(&mut self, reading: &mut Reading) {
        for _ in 0..WAITING_MAX {
            let Some(Some(read)) = reading.next().now_or_never() else { return };
            self.read(&read);
        }
    }

    /// Publishes what the log says, except about messages whose report came in the meantime. While nothing can be published, the others
    /// wait too.
    async fn finish(&mut self, answered: Vec<Answered>, reading: &mut Reading) {
        let mut is_failing = false;
        for Answered { question, answer } in answered {
            self.read_waiting(reading);
            let now = Timestamp::now();
            let retry_at = now.saturating_add(RETRY_PAUSE).expect("a signed duration has no calendar units");
            let message_id = &question.message_id;
            match answer {
                Answer::NotAccepted => self.unreported.remove(message_id),
                Answer::Failed => self.unreported.postpone(message_id, retry_at),
                Answer::NotFound => self.unreported.answered(message_id, now),
                Answer::Found(report) if self.unreported.is_news(&report) => {
                    let published =
                        if is_failing { Published::Later } else { self.publish(&question, &report).await };
                    match published {
                        Published::Yes => self.known(&report, now),
                        Published::NotAccepted => self.unreported.remove(message_id),
                        Published::Later => {
                            is_failing = true;
                            self.unreported.postpone(message_id, retry_at);
                        }
                    }
                }
                Answer::Found(report) => self.known(&report, now),
            }
        }
    }

    /// Publishes what the log says about a message, if the lane is still this process's and the message was not erased meanwhile.
    async fn publish(&self, question: &Question, report: &ReportEvent) -> Published {
        match asking::ledger_says_accepted(&self.lane, question).await {
            Some(true) => {}
            Some(false) => return Published::NotAccepted,
            None => return Published::Later,
        }
        if self.lane.lease.is_valid() && publish::report(&self.lane, report).await {
            Published::Yes
        } else {
            Published::Later
        }
    }

    fn known(&mut self, report: &ReportEvent, now: Timestamp) {
        self.unreported.published(report);
        self.unreported.answered(&report.message_id, now);
    }
}
