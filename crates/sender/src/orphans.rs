//! Commands that no lane reads: under a subject that can be no channel's, for a channel that does not exist, or for one whose
//! BSP is only listened to. Each becomes a dead letter with a result, so that none disappears with its age and none stays without
//! an answer: where the channel may still be made, after it was missing for a while; else at the next look.
//!
//! COMMANDS refuses a publish to a subject that no lane can read. Such commands are there all the same where an older
//! configuration of the stream took them, or where a token is no channel id.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bsp::{BspId, ChannelId};
use bus::lease::Leases;
use bus::ledger::LedgerKey;
use bus::registry::Snapshots;
use bus::{Delivery, Queue, Subject, lanes, orphans, registry};
use jiff::Timestamp;
use proto::v1::SendResult;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account::Account;
use crate::command::{self, Told};
use crate::dead::{self, Burial, Dead};
use crate::outcome::{Outcome, Subject as OfCommand};
use crate::ownership::lane_lease;
use crate::publish::{self, Owner};
use crate::record::{Next, Record};
use crate::send::Shared;

/// Interval of the checks for orphaned commands.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Time for which a channel must have been missing, without a break, before its commands are orphaned.
const MISSING_FOR: Duration = Duration::from_secs(60);

/// Looks until `stop`. Several replicas that do so do no harm: a letter has its command's number.
pub(crate) async fn run(shared: &Arc<Shared>, snapshots: Snapshots, leases: Leases, stop: CancellationToken) {
    let mut orphans =
        Orphans { shared: Arc::clone(shared), snapshots, leases, missing_since: HashMap::new() };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if !shared.bus.is_connected() {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            looked = orphans.look() => if let Err(error) = looked {
                tracing::warn!(function = "sender", "commands that no lane reads were not all looked for: {error:#}");
            }
        }
    }
}

/// Why no lane takes the commands of a channel.
struct Lost {
    /// Where the channel is known.
    bsp: Option<BspId>,
    dead: Dead,
}

struct Orphans {
    shared: Arc<Shared>,
    snapshots: Snapshots,
    leases: Leases,
    /// Channels for which there are commands and no lane can be, since when that is seen. No more than
    /// [`orphans::SUBJECTS_MAX`].
    missing_since: HashMap<ChannelId, Instant>,
}

impl Orphans {
    /// Looks at every subject; one whose commands cannot be stored as dead letters holds up no other.
    async fn look(&mut self) -> anyhow::Result<()> {
        // A record that this version cannot read is a channel all the same.
        let stored = registry::list(&self.shared.bus).await?;
        let unreadable: HashSet<String> =
            stored.into_iter().filter(|(_, record)| record.is_err()).map(|(id, _)| id).collect();
        let mut seen = HashSet::new();
        let mut result = Ok(());
        for subject in orphans::subjects(&self.shared.bus).await? {
            let buried = match Subject::parse(&subject) {
                Some(Subject::Command(_, id)) if unreadable.contains(id.as_str()) => Ok(()),
                Some(Subject::Command(queue, id)) => self.look_at(queue, id, &mut seen).await,
                _ => self.bury_under(&subject).await,
            };
            result = result.and(buried);
            // Without the bus nothing more is seen, and what was seen before stands.
            if !self.shared.bus.is_connected() {
                return result;
            }
        }
        self.missing_since.retain(|id, _| seen.contains(id));
        result
    }

    /// Looks at a queue of a channel that may exist, and remembers it in `seen` where no lane takes its commands.
    async fn look_at(
        &mut self,
        queue: Queue,
        id: ChannelId,
        seen: &mut HashSet<ChannelId>,
    ) -> anyhow::Result<()> {
        if self.why_not(&id).is_none() {
            return Ok(());
        }
        seen.insert(id.clone());
        let since = *self.missing_since.entry(id.clone()).or_insert_with(Instant::now);
        if since.elapsed() < MISSING_FOR {
            return Ok(());
        }
        self.bury_all(queue, &id).await
    }

    /// Why no lane takes this channel's commands; `None` when one may.
    fn why_not(&self, id: &ChannelId) -> Option<Lost> {
        let channels = self.snapshots.borrow().clone()?;
        if !self.leases.is_free(&lane_lease(id.as_str())) {
            return None;
        }
        match channels.get(id.as_str()) {
            None => Some(Lost { bsp: None, dead: Dead::NoChannel }),
            Some(channel) if Account::of(channel, &self.shared.settings.secrets).is_none() => {
                Some(Lost { bsp: Some(channel.bsp.profile().id), dead: Dead::NoAccount })
            }
            Some(_) => None,
        }
    }

    /// Answers everything under a subject that can be no channel's. No lane was given any of it.
    async fn bury_under(&self, subject: &str) -> anyhow::Result<()> {
        let mut from = 1;
        while let Some(delivery) = orphans::next(&self.shared.bus, subject, from).await? {
            from = delivery.sequence + 1;
            self.bury(Owner::NoChannel(None), &delivery, &Dead::NoSuchSubject, 0).await?;
        }
        Ok(())
    }

    /// Answers what no lane was given.
    async fn bury_all(&self, queue: Queue, id: &ChannelId) -> anyhow::Result<()> {
        let subject = Subject::Command(queue, id.clone()).to_text();
        // What a lane was given before is answered, or in the ledger.
        let given_to = lanes::waiting(&self.shared.bus, queue, id).await?.unwrap_or_default().given_to;
        let mut from = given_to + 1;
        while let Some(delivery) = lanes::next_stored(&self.shared.bus, &subject, from).await? {
            from = delivery.sequence + 1;
            // The channel may be made meanwhile.
            let Some(lost) = self.why_not(id) else { return Ok(()) };
            self.answer(id, &lost, &delivery).await?;
        }
        Ok(())
    }

    /// Answers one of a channel, by what the ledger knows of it from the time in which there was a lane.
    async fn answer(&self, id: &ChannelId, lost: &Lost, delivery: &Delivery) -> anyhow::Result<()> {
        let owner = lost.bsp.map_or(Owner::NoChannel(Some(id)), |bsp| Owner::Channel(bsp, id));
        let Ok(job) = command::read(id, delivery) else {
            return self.bury(owner, delivery, &lost.dead, 0).await;
        };
        let entry = self.shared.bus.ledger_read(&LedgerKey::new(id, &job.command.id)).await?;
        let Some(entry) = entry else { return self.bury(owner, delivery, &lost.dead, 0).await };
        // Another version's: what it means only that version knows.
        let Some(record) = Record::from_bytes(&entry.value) else { return Ok(()) };
        let attempts = record.attempts;
        match record.next(delivery.sequence, &job.digest) {
            // It is answered, or the one that it repeats is.
            Next::Nothing | Next::Repeated => Ok(()),
            Next::Other => self.bury(owner, delivery, &Dead::ReusedCommandId, 0).await,
            Next::Attempt(_) => self.bury(owner, delivery, &lost.dead, attempts).await,
            Next::Publish(result) => self.publish(owner, delivery, &result).await,
            // Without an account nobody can be asked what became of its call.
            Next::LookUp(_) => {
                let (command_id, context) = (job.command.id.as_str(), job.command.context.as_str());
                let subject = OfCommand { owner, delivery, command_id, context, attempts };
                let result = Outcome::Unknown.to_result(subject, Timestamp::now());
                self.shared.metrics.result(owner, job.command.content.name(), "unknown");
                self.publish(owner, delivery, &result).await
            }
        }
    }

    /// The result first, and then the command goes: a look that is broken off between them is made again.
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

    /// Letter and result first, and then the command goes: a look that is broken off between them is made again.
    async fn bury(
        &self,
        owner: Owner<'_>,
        delivery: &Delivery,
        dead: &Dead,
        attempts: u32,
    ) -> anyhow::Result<()> {
        let Told { command_id, context } = command::told(delivery);
        let burial = Burial {
            owner,
            delivery,
            dead,
            faults: &[],
            command_id: &command_id,
            context: &context,
            attempts,
            content: "none",
        };
        dead::bury(&self.shared, burial).await?;
        orphans::remove(&self.shared.bus, delivery.sequence).await?;
        Ok(())
    }
}
