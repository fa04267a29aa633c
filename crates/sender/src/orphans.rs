//! Orphaned commands, which no lane reads: the subject contains no valid channel id, the channel does not exist, or
//! imchannel only receives from its BSP. Each becomes a dead letter with a result, so that no command expires unnoticed
//! or stays without an answer. If the channel may still be created, this happens after it was missing for a while,
//! otherwise at the next check.
//!
//! COMMANDS refuses a publish to a subject that no lane can read. Such commands exist anyway if an older configuration
//! of the stream accepted them, or if a token is not a channel id.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bsp::{BspId, ChannelId};
use bus::lease::Leases;
use bus::ledger::LedgerKey;
use bus::registry::Snapshots;
use bus::{Delivery, Priority, Subject, command_consumers, orphans, registry};
use jiff::Timestamp;
use proto::v1::SendResult;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account::Account;
use crate::command::{self, Summary};
use crate::context::Shared;
use crate::ledger::record::{NextStep, Record};
use crate::reject::dead_letter::{self, DeadLetterRequest};
use crate::result::dead_letter_reason::DeadLetterReason;
use crate::result::outcome::{Outcome, ResultContext};
use crate::result::publish::{self, Owner};
use lane_state::lane_lease;

/// Interval of the checks for orphaned commands.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// Time for which a channel must have been missing, without a break, before its commands are orphaned.
const MISSING_FOR: Duration = Duration::from_secs(60);

/// Checks at intervals until `stop`. Several replicas may do so: the id of a dead letter is derived from its command's
/// sequence.
pub(crate) async fn run(shared: &Arc<Shared>, snapshots: Snapshots, leases: Leases, stop: CancellationToken) {
    let mut orphans =
        Orphans { shared: Arc::clone(shared), snapshots, leases, missing_since: HashMap::new() };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
        if !shared.bus.is_connected() {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            looked = orphans.look() => if let Err(error) = looked {
                tracing::warn!(function = "sender", "the check for orphaned commands failed: {error:#}");
            }
        }
    }
}

/// Why no lane reads the commands of a channel.
struct Unroutable {
    /// The BSP, if the channel is known.
    bsp: Option<BspId>,
    dead: DeadLetterReason,
}

/// A command that no lane reads.
#[derive(Clone, Copy)]
struct Orphan<'a> {
    owner: Owner<'a>,
    delivery: &'a Delivery,
    dead: &'a DeadLetterReason,
    /// Number of calls that a lane has begun for it.
    attempts: u32,
}

struct Orphans {
    shared: Arc<Shared>,
    snapshots: Snapshots,
    leases: Leases,
    /// Channels that have commands and cannot have a lane, and since when. At most [`orphans::SUBJECTS_MAX`].
    missing_since: HashMap<ChannelId, Instant>,
}

impl Orphans {
    /// Checks every subject. If the commands of one cannot be stored as dead letters, the others are processed anyway.
    async fn look(&mut self) -> anyhow::Result<()> {
        // A record that this version cannot read is a channel too.
        let stored = registry::list(&self.shared.bus).await?;
        let unreadable: HashSet<String> =
            stored.into_iter().filter(|stored| stored.record.is_err()).map(|stored| stored.id).collect();
        let mut seen = HashSet::new();
        let mut result = Ok(());
        for subject in orphans::subjects(&self.shared.bus).await? {
            let buried = match Subject::parse(&subject) {
                Some(Subject::Command(_, id)) if unreadable.contains(id.as_str()) => Ok(()),
                Some(Subject::Command(queue, id)) => self.look_at(queue, id, &mut seen).await,
                _ => self.dead_letter_subject(&subject).await,
            };
            result = result.and(buried);
            // Without the bus the check ends, and its findings so far are kept.
            if !self.shared.bus.is_connected() {
                return result;
            }
        }
        self.missing_since.retain(|id, _| seen.contains(id));
        result
    }

    /// Checks a queue of a channel that may exist, and records it in `seen` if no lane reads its commands.
    async fn look_at(
        &mut self,
        queue: Priority,
        id: ChannelId,
        seen: &mut HashSet<ChannelId>,
    ) -> anyhow::Result<()> {
        if self.unroutable_reason(&id).is_none() {
            return Ok(());
        }
        seen.insert(id.clone());
        let since = *self.missing_since.entry(id.clone()).or_insert_with(Instant::now);
        if since.elapsed() < MISSING_FOR {
            return Ok(());
        }
        self.dead_letter_all(queue, &id).await
    }

    /// Returns why no lane reads this channel's commands, or `None` if one may.
    fn unroutable_reason(&self, id: &ChannelId) -> Option<Unroutable> {
        let channels = self.snapshots.borrow().clone()?;
        if !self.leases.is_free(&lane_lease(id.as_str())) {
            return None;
        }
        match channels.get(id.as_str()) {
            None => Some(Unroutable { bsp: None, dead: DeadLetterReason::NoChannel }),
            Some(channel) if Account::of(channel, &self.shared.settings.secrets).is_none() => {
                Some(Unroutable { bsp: Some(channel.bsp.profile().id), dead: DeadLetterReason::NoAccount })
            }
            Some(_) => None,
        }
    }

    /// Answers all commands under a subject without a valid channel id. No lane has received any of them.
    async fn dead_letter_subject(&self, subject: &str) -> anyhow::Result<()> {
        let mut from = 1;
        while let Some(delivery) = orphans::next(&self.shared.bus, subject, from).await? {
            from = delivery.sequence + 1;
            let owner = Owner::NoChannel(None);
            let dead = &DeadLetterReason::NoSuchSubject;
            self.dead_letter(Orphan { owner, delivery: &delivery, dead, attempts: 0 }).await?;
        }
        Ok(())
    }

    /// Answers the commands that no lane has received.
    async fn dead_letter_all(&self, queue: Priority, id: &ChannelId) -> anyhow::Result<()> {
        let subject = Subject::Command(queue, id.clone()).to_text();
        // Commands that a lane has received are answered or in the ledger.
        let given_to =
            command_consumers::lag(&self.shared.bus, queue, id).await?.unwrap_or_default().delivered_seq;
        let mut from = given_to + 1;
        while let Some(delivery) = command_consumers::next_stored(&self.shared.bus, &subject, from).await? {
            from = delivery.sequence + 1;
            // The channel may be created during the loop.
            let Some(lost) = self.unroutable_reason(id) else { return Ok(()) };
            self.answer(id, &lost, &delivery).await?;
        }
        Ok(())
    }

    /// Answers one command of a channel, by the ledger entry from the time when it had a lane.
    async fn answer(&self, id: &ChannelId, lost: &Unroutable, delivery: &Delivery) -> anyhow::Result<()> {
        let owner = lost.bsp.map_or(Owner::NoChannel(Some(id)), |bsp| Owner::Channel(bsp, id));
        let orphan = Orphan { owner, delivery, dead: &lost.dead, attempts: 0 };
        let read = command::read(id, &Arc::new(delivery.clone()));
        let Ok(job) = read else { return self.dead_letter(orphan).await };
        let entry = self.shared.bus.ledger_read(&LedgerKey::new(id, &job.command.id)).await?;
        let Some(entry) = entry else { return self.dead_letter(orphan).await };
        // Another version wrote it, and only that version can interpret it.
        let Some(record) = Record::from_bytes(&entry.value) else { return Ok(()) };
        let attempts = record.attempts;
        match record.next(delivery.sequence, &job.digest) {
            // It is answered, or the command that it duplicates is.
            NextStep::AlreadyPublished | NextStep::Duplicate => Ok(()),
            NextStep::IdConflict => {
                let dead = &DeadLetterReason::ReusedCommandId;
                self.dead_letter(Orphan { dead, ..orphan }).await
            }
            NextStep::Attempt(_) => self.dead_letter(Orphan { attempts, ..orphan }).await,
            NextStep::Publish(owed) => self.publish(owner, delivery, &owed.of(job.key(id).identity)).await,
            // Without an account the outcome of its call cannot be looked up.
            NextStep::LookUp(_) => {
                let (command_id, context) = (job.command.id.as_str(), job.command.context.as_str());
                let subject = ResultContext { owner, delivery, command_id, context, attempts };
                let result = Outcome::Unknown.to_result(subject, Timestamp::now());
                self.shared.metrics.result(owner, job.command.content.name(), "unknown");
                self.publish(owner, delivery, &result).await
            }
        }
    }

    /// Publishes the result first and then removes the command. An interrupted check is repeated.
    async fn publish(
        &self,
        owner: Owner<'_>,
        delivery: &Delivery,
        result: &SendResult,
    ) -> anyhow::Result<()> {
        publish::result(&self.shared.bus, owner, result, publish::traceparent(delivery)).await?;
        orphans::remove(&self.shared.bus, delivery.sequence).await?;
        Ok(())
    }

    /// Stores the dead letter and the result first and then removes the command. An interrupted check is repeated.
    async fn dead_letter(&self, orphan: Orphan<'_>) -> anyhow::Result<()> {
        let Orphan { owner, delivery, dead, attempts } = orphan;
        let Summary { command_id, context } = command::summarize(delivery);
        let request = DeadLetterRequest {
            owner,
            delivery,
            dead,
            faults: &[],
            command_id: &command_id,
            context: &context,
            attempts,
            content: "none",
        };
        dead_letter::dead_letter(&self.shared, request).await?;
        orphans::remove(&self.shared.bus, delivery.sequence).await?;
        Ok(())
    }
}
