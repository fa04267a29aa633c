//! Sender: reads the commands of the AICC back end from the bus, sends each through its channel's BSP at most once, and
//! publishes its result.
//!
//! A channel's commands form one lane, which one replica owns at a time ([`assignment`](mod@assignment)). The lane's worker
//! keeps the order of messages to one recipient ([`lane`](mod@lane)) and the channel's rate ([`throttle`](mod@throttle)).
//! [`send`](mod@send) processes one command, stage by stage. Only the ledger makes sure that no command is sent twice.
//!
//! What lanes and commands share is in [`context`](mod@context). [`bsp_client`](mod@bsp_client) makes the HTTP calls,
//! [`ledger`](mod@ledger) has the form of an entry, [`result`](mod@result) that of a result and a dead letter.
//! [`reject`](mod@reject) answers commands that cannot be sent, [`orphans`](mod@orphans) those that no lane reads.
//! [`reconcile`](mod@reconcile) asks the BSP's message log about accepted messages without a report.
//! The decisions of a send are pure functions, which [`protocol`](mod@protocol) lists.
//! The crate `lane_state` is what the owner of a lane tells the others, and the command line.

mod account;
mod assignment;
mod bsp_client;
mod command;
mod context;
mod functions;
mod lane;
mod ledger;
mod media_url;
mod metrics;
mod moment;
mod orphans;
pub mod protocol;
mod reconcile;
mod reject;
mod result;
mod send;
pub mod settings;
mod throttle;
mod used;

use std::sync::Arc;
use std::time::Duration;

use blob::BlobStore;
use bus::Bus;
use bus::lease::Leases;
use bus::needs::{Needs, StreamUse};
use bus::sequence_guard::Watch;
use bus::streams::{CHANNELS_BUCKET, COMMANDS, DEADLETTERS, EVENTS, LANES_BUCKET, SENDS_BUCKET};
use prometheus_client::registry::Registry;
use service::process::Service;
use service::{ProcessContext, ServiceContext};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::assignment::LaneAssigner;
use crate::bsp_client::client;
use crate::bsp_client::message_log::MessageLog;
use crate::context::Shared;
use crate::context::dead_lettered::DeadLettered;
use crate::context::erased_commands::ErasedCommands;
use crate::context::failed_lanes::FailedLanes;
use crate::ledger::store_limit::StoreLimit;
use crate::metrics::SenderMetrics;
pub use crate::settings::Settings;
pub use crate::used::{IdUse, is_same, used};

/// Returns the service for a separate process: it connects to NATS and Redis.
pub fn service(settings: Settings, process: ProcessContext, registry: &mut Registry) -> Service {
    let metrics = Arc::new(SenderMetrics::register(registry));
    let connecting = process.connect("imchannel-sender", registry);
    Service::new(async move {
        let context = connecting.await?;
        let blobs = BlobStore::new(&settings.redis)?;
        Box::pin(work(settings, context, blobs, metrics)).await
    })
}

/// Runs the service on an existing connection, until the context's stop.
pub fn run(
    settings: Settings,
    context: ServiceContext,
    blobs: BlobStore,
    registry: &mut Registry,
) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
    let metrics = Arc::new(SenderMetrics::register(registry));
    Box::pin(work(settings, context, blobs, metrics))
}

async fn work(
    settings: Settings,
    context: ServiceContext,
    blobs: BlobStore,
    metrics: Arc<SenderMetrics>,
) -> anyhow::Result<()> {
    let ServiceContext { bus, stop, payloads, grace, .. } = context.clone();
    let watches = [
        Watch::MarkedBucket(&SENDS_BUCKET),
        Watch::MarkedBucket(&CHANNELS_BUCKET),
        Watch::Bucket(&LANES_BUCKET),
        Watch::Stream(&COMMANDS),
        Watch::Stream(&EVENTS),
        Watch::Stream(&DEADLETTERS),
    ];
    bus::sequence_guard::watch(&bus, &watches, stop.clone());
    let snapshots = bus::registry::watch(&bus, stop.clone());
    // Leases are read until the last lane is closed.
    let ended = CancellationToken::new();
    let leases = Leases::watch(&bus, ended.clone());
    let failed_lanes = FailedLanes::default();
    let watched = Watched { bus: &bus, channels: &snapshots, leases: &leases, failed_lanes: &failed_lanes };
    require(&context, watched);
    let functions = functions::follow(blobs.clone(), stop.clone());
    context.readiness.require("redis functions", move || functions.borrow().clone());
    context.readiness.mark_started();
    let client = client::client(settings.bsp_ca_file.as_deref(), settings.bsp_idle_timeout)?;
    let replicas_of = assignment::replicas_of(&leases);
    let message_log = MessageLog::new(client.clone(), Arc::clone(&metrics), replicas_of);
    let purge_interval = settings.purge_interval;
    let shared = Arc::new(Shared {
        bus: bus.clone(),
        blobs,
        client,
        settings,
        metrics: Arc::clone(&metrics),
        message_log,
        failed_lanes,
        tracer: context.tracer.clone(),
        payloads,
        ledger_limit: StoreLimit::new(metrics.ledger.clone(), Instant::now()),
        dead_lettered: DeadLettered::default(),
        erased: ErasedCommands::default(),
    });
    let lanes = LaneAssigner::new(Arc::clone(&shared), leases.clone(), snapshots.clone(), replica_name()?);
    let kept = [&COMMANDS, &EVENTS, &DEADLETTERS];
    tokio::join!(
        lanes.run(stop.clone(), grace),
        orphans::run(&shared, snapshots, leases, stop.clone()),
        watch_ledger(&bus, purge_interval, stop.clone()),
        bus::purger::run(&bus, &kept, purge_interval, &metrics.purger, stop.clone()),
    );
    ended.cancel();
    bus.flush(Duration::from_secs(1)).await;
    Ok(())
}

/// Checks at intervals whether the ledger has room for new entries, and whether it takes batches. From the stop on no entry waits for a
/// batch.
async fn watch_ledger(bus: &Bus, interval: Duration, stop: CancellationToken) {
    bus::fill::watch(bus, &[bus::StreamId::Sends], interval, stop).await;
    bus.stop_group_commit();
}

/// Returns a unique name that begins with the host name, for people.
fn replica_name() -> anyhow::Result<String> {
    let mut bits = [0; 4];
    getrandom::fill(&mut bits)
        .map_err(|error| anyhow::anyhow!("cannot get random numbers from the system: {error}"))?;
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(48).collect();
    let host = if host.is_empty() { "sender".to_owned() } else { host };
    Ok(format!("{host}-{}", hex::encode(bits)))
}

/// Streams and buckets that the sender needs. The durable consumers of its lanes are checked lane by lane.
static NEEDS: Needs = Needs {
    streams: &[
        StreamUse { stream: &COMMANDS, subjects: &["imchannel.command.send.*", "imchannel.command.bulk.*"] },
        StreamUse { stream: &EVENTS, subjects: &["imchannel.event.send.*.*", "imchannel.event.report.*.*"] },
        StreamUse { stream: &DEADLETTERS, subjects: &["imchannel.deadletter.command.*"] },
    ],
    durables: &[],
    buckets: &[&CHANNELS_BUCKET, &SENDS_BUCKET, &LANES_BUCKET],
};

/// What the readiness of the process is computed from.
#[derive(Clone, Copy)]
struct Watched<'a> {
    bus: &'a Bus,
    channels: &'a bus::registry::Snapshots,
    leases: &'a Leases,
    failed_lanes: &'a FailedLanes,
}

/// Registers the readiness conditions for what the sender needs from NATS.
fn require(context: &ServiceContext, watched: Watched<'_>) {
    let Watched { bus, channels, leases, failed_lanes } = watched;
    let connection = bus.clone();
    context.readiness.require("nats", move || connection.connection());
    let streams = bus::readiness::follow(bus, &NEEDS, context.stop.clone());
    context.readiness.require("streams", move || streams.borrow().condition());
    let sequences = bus.clone();
    context.readiness.require("sequences", move || sequences.sequences());
    let channels = channels.clone();
    context.readiness.require("channels", move || {
        if channels.borrow().is_some() { Ok(()) } else { Err("not read yet".to_owned()) }
    });
    let leases = leases.clone();
    context
        .readiness
        .require("leases", move || if leases.is_synced() { Ok(()) } else { Err("not read yet".to_owned()) });
    let failed_lanes = failed_lanes.clone();
    context.readiness.require("lanes", move || failed_lanes.state());
}
