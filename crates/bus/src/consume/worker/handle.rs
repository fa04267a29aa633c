//! The handlers of a worker: how one message is handled, and what a panic costs.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_nats::jetstream::message::Acker;
use futures_util::FutureExt;

use crate::consume::delivery::{Delivery, Disposition};
use crate::consume::worker::settle::{Attempt, Settling, settle};

/// Number of the delivery from which a message whose handler panics is given up.
pub const PANICS_MAX: u64 = 10;

/// The handler of messages, and the handler of those that are given up.
pub(super) struct Handlers<H, G> {
    pub(super) handler: H,
    pub(super) give_up: G,
}

/// A message that was received.
pub(super) struct Received {
    pub(super) place: usize,
    pub(super) delivery: Delivery,
    pub(super) acker: Arc<Acker>,
}

/// A completed message.
pub(super) struct Completed {
    pub(super) place: usize,
    /// Whether no other message could be finished now either.
    pub(super) asks_for_pause: bool,
}

/// Handles a message and acks or naks it by its disposition. A handler that panics costs one attempt, and at the last one
/// the message.
pub(super) async fn handle<H, F, G, U>(
    handlers: &Handlers<H, G>,
    received: Received,
    settling: Settling<'_>,
) -> Completed
where
    H: Fn(Delivery) -> F,
    F: Future<Output = Disposition>,
    G: Fn(Delivery) -> U,
    U: Future<Output = Disposition>,
{
    let Received { place, delivery, acker } = received;
    let attempt = Attempt { sequence: delivery.sequence, number: delivery.attempt };
    let last_chance = (attempt.number >= PANICS_MAX).then(|| delivery.clone());
    let handling = AssertUnwindSafe(async { (handlers.handler)(delivery).await }).catch_unwind();
    let mut disposition = handling.await.ok();
    if disposition.is_none() {
        settling.metrics.panicked.inc();
        if let Some(delivery) = last_chance {
            // On the heap, because it is rare and would enlarge the future of every message.
            let giving_up = Box::pin(async { (handlers.give_up)(delivery).await });
            disposition = AssertUnwindSafe(giving_up).catch_unwind().await.ok();
        }
    }
    let disposition = disposition.unwrap_or_else(|| Disposition::retry("the handler panicked"));
    let asks_for_pause = settle(&acker, attempt, disposition, settling).await;
    Completed { place, asks_for_pause }
}
