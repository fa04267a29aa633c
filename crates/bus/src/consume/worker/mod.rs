//! The worker loop: pulls messages of a durable, passes them to a handler, and acks or naks each by its disposition.
//!
//! It does not interpret messages. It limits the number of messages in flight, extends the acks of slow ones, delays
//! retries, survives a handler's panic (and has a message given up whose handler panics repeatedly), creates a pull
//! again that receives no heartbeats, and on a stop finishes the messages in flight and naks the rest.

mod handle;
mod metrics;
mod places;
mod settle;
mod shard;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::connect::Bus;
use crate::consume::delivery::{Delivery, Disposition};
use crate::consume::worker::handle::Handlers;
pub use crate::consume::worker::handle::PANICS_MAX;
pub use crate::consume::worker::metrics::WorkerMetrics;
use crate::consume::worker::places::Places;
use crate::consume::worker::settle::Postponed;
pub use crate::consume::worker::settle::{POSTPONE_DELAY, POSTPONED_MAX};
use crate::consume::worker::shard::Shard;
use crate::schema::streams::DurableDefinition;

/// Most shards: each waits at the durable consumer with a separate pull, and the server supports a few hundred
/// (`max_waiting`).
const SHARDS_MAX: usize = 8;
/// Timeout of the wait for outstanding acks when the worker stops.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Options of a worker.
#[derive(Debug)]
pub struct WorkerOptions {
    /// The durable consumer from which it pulls.
    pub durable: &'static DurableDefinition,
    /// Most messages in flight.
    pub concurrency: usize,
    /// Time to finish the messages in flight after a stop.
    pub grace: Duration,
}

/// Pulls and handles messages until `stop`, then finishes those in flight within the grace time. It recovers from every
/// failure of the bus.
///
/// The work is done in shards, one for each core. A shard pulls for itself and keeps its messages in one task, so that
/// neither receiving nor acking a message wakes another thread.
///
/// `give_up` finishes a message on which `handler` has panicked at its [`PANICS_MAX`]th delivery or later.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
///
/// use bus::worker::{self, WorkerMetrics, WorkerOptions};
/// use bus::{Bus, Disposition, streams};
/// use prometheus_client::registry::Registry;
/// use tokio_util::sync::CancellationToken;
///
/// # async fn example(bus: &Bus, stop: CancellationToken) {
/// let metrics = WorkerMetrics::register(&mut Registry::default());
/// let options = WorkerOptions { durable: &streams::NORMALIZER, concurrency: 64, grace: Duration::from_secs(10) };
/// let handler = |message: bus::Delivery| async move {
///     println!("message {} has {} bytes", message.sequence, message.payload.len());
///     Disposition::Done
/// };
/// let give_up = |_: bus::Delivery| async { Disposition::Done };
/// worker::run(bus, &options, &metrics, stop, handler, give_up).await;
/// # }
/// ```
pub async fn run<H, F, G, U>(
    bus: &Bus,
    options: &WorkerOptions,
    metrics: &WorkerMetrics,
    stop: CancellationToken,
    handler: H,
    give_up: G,
) where
    H: Fn(Delivery) -> F + Send + Sync + 'static,
    F: Future<Output = Disposition> + Send + 'static,
    G: Fn(Delivery) -> U + Send + Sync + 'static,
    U: Future<Output = Disposition> + Send + 'static,
{
    let handlers = Arc::new(Handlers { handler, give_up });
    let postponed = Arc::new(Postponed::default());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = cores.min(options.concurrency).clamp(1, SHARDS_MAX);
    let shard = |number: usize| Shard {
        bus: bus.clone(),
        durable: options.durable,
        concurrency: options.concurrency / count + usize::from(number < options.concurrency % count),
        shards: count,
        grace: options.grace,
        metrics: metrics.clone(),
        postponed: Arc::clone(&postponed),
        paused_until: None,
        in_flight: Places::new(),
        in_flight_bytes: 0,
    };
    let mut shards = JoinSet::new();
    for number in 0..count {
        shards.spawn(shard(number).run(stop.clone(), Arc::clone(&handlers)));
    }
    while let Some(ended) = shards.join_next().await {
        // Handlers may panic. A shard does not, and if one did, its messages would not be processed.
        if let Err(error) = ended {
            tracing::error!(function = "worker", "a worker task failed and is restarted: {error}");
            shards.spawn(shard(0).run(stop.clone(), Arc::clone(&handlers)));
        }
    }
    bus.flush(FLUSH_LIMIT).await;
}
