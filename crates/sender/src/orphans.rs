//! Commands that no lane reads: under a subject that can be no channel's, for a channel that does not exist, or for one whose
//! BSP is only listened to. Each becomes a dead letter, so that none disappears with its age: where the channel may still be
//! made, after it was missing for a while; else at the next look.
//!
//! COMMANDS refuses a publish to a subject that no lane can read. Such commands are there all the same where an older
//! configuration of the stream took them, or where a token is no channel id.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bsp::ChannelId;
use bus::lease::Leases;
use bus::ledger::LedgerKey;
use bus::registry::Snapshots;
use bus::{Delivery, Queue, Subject, lanes, orphans, registry};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account::Account;
use crate::ownership::lane_lease;
use crate::send::Shared;
use crate::{command, publish};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A channel that cannot send must have been missing for so long, without a break.
const MISSING_FOR: Duration = Duration::from_secs(60);

/// Why no lane reads a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Its subject is none of a channel's queue.
    Unread,
    /// Its channel is not stored.
    MissingChannel,
    /// Its channel has no account to send through.
    WithoutAccount,
}

impl Why {
    /// As a word out of a fixed set, and as a sentence for the back end's developers.
    fn reason(self) -> (&'static str, &'static str) {
        match self {
            Self::Unread => (
                "no_such_subject",
                "no lane reads its subject: publish to imchannel.command.send.{channel} or imchannel.command.bulk.{channel}",
            ),
            Self::MissingChannel => ("no_channel", "there is no such channel"),
            Self::WithoutAccount => ("no_account", "nothing can be sent through this channel"),
        }
    }
}

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
        let Some(why) = self.why_not(&id) else { return Ok(()) };
        seen.insert(id.clone());
        let since = *self.missing_since.entry(id.clone()).or_insert_with(Instant::now);
        if since.elapsed() < MISSING_FOR {
            return Ok(());
        }
        self.bury_all(queue, &id, why).await
    }

    /// Why no lane takes this channel's commands; `None` when one may.
    fn why_not(&self, id: &ChannelId) -> Option<Why> {
        let channels = self.snapshots.borrow().clone()?;
        if !self.leases.is_free(&lane_lease(id.as_str())) {
            return None;
        }
        match channels.get(id.as_str()) {
            None => Some(Why::MissingChannel),
            Some(channel) if Account::of(channel, &self.shared.settings.secrets).is_none() => {
                Some(Why::WithoutAccount)
            }
            Some(_) => None,
        }
    }

    /// Makes dead letters of everything under a subject that can be no channel's. No lane was given any of it.
    async fn bury_under(&self, subject: &str) -> anyhow::Result<()> {
        let mut from = 1;
        while let Some(delivery) = orphans::next(&self.shared.bus, subject, from).await? {
            from = delivery.sequence + 1;
            bury(&self.shared, None, &delivery, Why::Unread).await?;
        }
        Ok(())
    }

    /// Makes dead letters of what no lane was given.
    async fn bury_all(&self, queue: Queue, id: &ChannelId, why: Why) -> anyhow::Result<()> {
        let subject = Subject::Command(queue, id.clone()).to_text();
        // What a lane was given before is answered, or in the ledger.
        let given_to = lanes::waiting(&self.shared.bus, queue, id).await?.unwrap_or_default().given_to;
        let mut from = given_to + 1;
        while let Some(delivery) = lanes::next_stored(&self.shared.bus, &subject, from).await? {
            from = delivery.sequence + 1;
            // The channel may be made meanwhile.
            if self.why_not(id).is_none() {
                return Ok(());
            }
            if !self.is_known(id, &delivery).await? {
                bury(&self.shared, Some(id), &delivery, why).await?;
            }
        }
        Ok(())
    }

    /// Whether the ledger knows it: then it was sent, or answered, while its channel was there.
    async fn is_known(&self, id: &ChannelId, delivery: &Delivery) -> anyhow::Result<bool> {
        let Ok(job) = command::read(id, delivery) else { return Ok(false) };
        let key = LedgerKey::new(id, &job.command.id);
        Ok(self.shared.bus.ledger_read(&key).await?.is_some())
    }
}

/// The letter first, and then the command goes: a look that is broken off between them is made again.
async fn bury(
    shared: &Arc<Shared>,
    channel: Option<&ChannelId>,
    delivery: &Delivery,
    why: Why,
) -> anyhow::Result<()> {
    publish::orphan(&shared.bus, channel, delivery, why.reason(), Timestamp::now()).await?;
    shared.metrics.dead_letters.inc();
    orphans::remove(&shared.bus, delivery.sequence).await?;
    Ok(())
}
