//! Follows how far the normalizer and the back end have acknowledged their streams.

use std::sync::Arc;
use std::time::Duration;

use bus::streams::{AICC, DurableDefinition, NORMALIZER};
use bus::{Bus, lag};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::life::{FLOOR_AGE_MAX, Finished, Floors};
use crate::progress::Progress;
use crate::row::StreamNumber;
use crate::store::{End, SequenceQuery, Store, StoreError};

/// Interval of reading the ack floors.
const INTERVAL: Duration = Duration::from_secs(5);
/// Streams in which a webhook's events and dead letters are.
const MADE_OF_WEBHOOKS: [StreamNumber; 2] = [StreamNumber::Events, StreamNumber::DeadLetters];

/// What following the floors needs.
pub(super) struct Follower {
    pub(super) bus: Bus,
    pub(super) store: Arc<dyn Store>,
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) stop: CancellationToken,
}

/// Follows the ack floors until the stop. A floor that cannot be read keeps its last value; that of a durable which was deleted is
/// no longer known.
pub(super) fn follow(follower: Follower) -> watch::Receiver<Floors> {
    let (sender, receiver) = watch::channel(Floors::default());
    tokio::spawn(async move {
        let stop = follower.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = run(follower, sender) => {}
        }
    });
    receiver
}

async fn run(mut follower: Follower, sender: watch::Sender<Floors>) {
    loop {
        let next = Instant::now() + INTERVAL;
        let before = *follower.progress.borrow();
        let asked_at = Timestamp::now();
        let known = *sender.borrow();
        let (normalizer, aicc) = tokio::join!(
            floor(&follower.bus, &NORMALIZER, known.normalizer),
            floor(&follower.bus, &AICC, known.aicc)
        );
        let finished = if normalizer.is_some() { known.finished } else { None };
        sender.send_replace(Floors { normalizer, aicc, finished });
        if let Some(sequence) = normalizer {
            // What the normalizer made was stored before the floor was asked for. It is all here when the streams are read that far.
            let is_read =
                |now: &Progress| now.read_until(&MADE_OF_WEBHOOKS).is_some_and(|until| until >= asked_at);
            let reading = follower.progress.wait_for(is_read);
            if tokio::time::timeout_at(next, reading).await.is_ok_and(|read| read.is_ok()) {
                // A fault of the store is logged by the readers, which meet it too. The time before it stays.
                let until = until(&*follower.store, sequence, &before).await;
                let until = until.unwrap_or_else(|_| known.reports_until());
                let finished = Some(Finished { sequence, until });
                sender.send_modify(|floors| floors.finished = finished);
            }
        }
        tokio::time::sleep_until(next).await;
    }
}

/// The ack floor of a durable; `None` without it.
async fn floor(bus: &Bus, durable: &DurableDefinition, known: Option<u64>) -> Option<u64> {
    lag::known_ack_floor(bus, durable).await.unwrap_or(known)
}

/// The time before which every webhook was stored at or below the floor: that of the first webhook above it, or the time up to which
/// WEBHOOKS was read before the floor was asked for.
async fn until(store: &dyn Store, floor: u64, before: &Progress) -> Result<Option<Timestamp>, StoreError> {
    let webhooks = before.of(StreamNumber::Webhooks);
    if floor >= webhooks.sequence {
        return Ok(webhooks.read_until);
    }
    let oldest = Timestamp::now().checked_sub(FLOOR_AGE_MAX).unwrap_or(Timestamp::MIN);
    // In a stream that was created again, the same sequence is another message.
    let positions = store.positions().await?;
    let position = positions.iter().find(|position| position.stream == StreamNumber::Webhooks);
    let since = position.map_or(oldest, |position| position.created_at.max(oldest));
    let first =
        SequenceQuery { stream: StreamNumber::Webhooks, after: floor, since, from: End::Oldest, limit: 1 };
    let found = store.by_sequence(first).await?;
    Ok(found.first().map(|row| row.stored_at).or(webhooks.read_until))
}
