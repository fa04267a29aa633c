//! Commands that no lane will ever take: for a channel that does not exist, or whose BSP is only listened to. After a while,
//! in which the channel may still be made, each becomes a dead letter, so that none disappears with its age.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bsp::ChannelId;
use bus::lease::Leases;
use bus::ledger::LedgerKey;
use bus::registry::Snapshots;
use bus::{Delivery, Queue, Subject, lanes, registry};
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

/// Looks until `stop`. Several replicas that do so do no harm: a letter has its command's number.
pub(crate) async fn run(shared: &Arc<Shared>, snapshots: Snapshots, leases: Leases, stop: CancellationToken) {
    let mut strays = Strays { shared: Arc::clone(shared), snapshots, leases, missing_since: HashMap::new() };
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
            looked = strays.look() => if let Err(error) = looked {
                tracing::debug!(function = "sender", "stray commands were not looked for: {error:#}");
            }
        }
    }
}

struct Strays {
    shared: Arc<Shared>,
    snapshots: Snapshots,
    leases: Leases,
    /// Channels for which there are commands and no lane can be, since when that is seen.
    missing_since: HashMap<ChannelId, Instant>,
}

impl Strays {
    async fn look(&mut self) -> anyhow::Result<()> {
        // A record that this version cannot read is a channel all the same.
        let stored = registry::list(&self.shared.bus).await?;
        let unreadable: HashSet<String> =
            stored.into_iter().filter(|(_, record)| record.is_err()).map(|(id, _)| id).collect();
        let mut seen = HashSet::new();
        for subject in lanes::subjects(&self.shared.bus).await? {
            let Some(Subject::Command(queue, id)) = Subject::parse(&subject) else { continue };
            if unreadable.contains(id.as_str()) {
                continue;
            }
            let Some(why) = self.why_not(&id) else { continue };
            seen.insert(id.clone());
            let since = *self.missing_since.entry(id.clone()).or_insert_with(Instant::now);
            if since.elapsed() >= MISSING_FOR {
                self.bury_all(&subject, queue, &id, why).await?;
            }
        }
        self.missing_since.retain(|id, _| seen.contains(id));
        Ok(())
    }

    /// Why no lane takes this channel's commands, as a word and a sentence; `None` when one may.
    fn why_not(&self, id: &ChannelId) -> Option<(&'static str, &'static str)> {
        let channels = self.snapshots.borrow().clone()?;
        if !self.leases.is_free(&lane_lease(id.as_str())) {
            return None;
        }
        match channels.get(id.as_str()) {
            None => Some(("no_channel", "there is no such channel")),
            Some(channel) if Account::of(channel, &self.shared.settings.secrets).is_none() => {
                Some(("no_account", "nothing can be sent through this channel"))
            }
            Some(_) => None,
        }
    }

    async fn bury_all(
        &self,
        subject: &str,
        queue: Queue,
        id: &ChannelId,
        why: (&'static str, &str),
    ) -> anyhow::Result<()> {
        // What a lane was given before is answered, or in the ledger.
        let given_to = lanes::waiting(&self.shared.bus, queue, id).await?.unwrap_or_default().given_to;
        let mut from = given_to + 1;
        while let Some(delivery) = lanes::next_stored(&self.shared.bus, subject, from).await? {
            from = delivery.sequence + 1;
            // The channel may be made meanwhile.
            if self.why_not(id).is_none() {
                return Ok(());
            }
            if !self.is_known(id, &delivery).await? {
                bury(&self.shared, id, &delivery, why).await?;
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
    channel: &ChannelId,
    delivery: &Delivery,
    why: (&'static str, &str),
) -> anyhow::Result<()> {
    publish::stray(&shared.bus, channel, delivery, why, Timestamp::now()).await?;
    shared.metrics.dead_letters.inc();
    lanes::remove_stray(&shared.bus, delivery.sequence).await?;
    Ok(())
}
