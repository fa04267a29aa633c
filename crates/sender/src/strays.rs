//! Commands that no lane will ever take: for a channel that does not exist, or whose BSP is only listened to. After a while,
//! in which the channel may still be made, each becomes a dead letter, so that none disappears with its age.

use std::sync::Arc;
use std::time::Duration;

use bsp::ChannelId;
use bus::registry::Snapshots;
use bus::{Delivery, Subject, lanes};
use channel::Channels;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::account::Account;
use crate::publish;
use crate::send::Shared;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A command of a channel that is not there is left alone for so long.
const AGE_MIN: Duration = Duration::from_secs(60);

/// Looks until `stop`. Several replicas that do so do no harm: a letter has its command's number.
pub(crate) async fn run(shared: &Arc<Shared>, snapshots: Snapshots, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let Some(channels) = snapshots.borrow().clone() else { continue };
        if !shared.bus.is_connected() {
            continue;
        }
        let looking = look(shared, &channels);
        tokio::select! {
            () = stop.cancelled() => return,
            looked = looking => if let Err(error) = looked {
                tracing::debug!(function = "sender", "stray commands were not looked for: {error:#}");
            }
        }
    }
}

async fn look(shared: &Arc<Shared>, channels: &Channels) -> anyhow::Result<()> {
    for subject in lanes::subjects(&shared.bus).await? {
        let Some(Subject::Command(_, id)) = Subject::parse(&subject) else { continue };
        let channel = channels.get(id.as_str());
        if channel.is_some_and(|channel| Account::of(channel, &shared.settings.secrets).is_some()) {
            continue;
        }
        let why = match channel {
            None => ("no_channel", "there is no such channel"),
            Some(_) => ("no_account", "nothing can be sent through this channel"),
        };
        let Some(mut strays) = lanes::read_all(&shared.bus, &subject).await? else { continue };
        while let Some(delivery) = strays.next_stored().await? {
            let age = Timestamp::now().duration_since(delivery.stored_at);
            if Duration::try_from(age).unwrap_or_default() < AGE_MIN {
                break;
            }
            bury(shared, &id, &delivery, why).await?;
        }
    }
    Ok(())
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
