//! Sender: reads the commands of the AICC back end from the bus, sends each through its channel's BSP at most once, and
//! publishes its result.
//!
//! [`send`](mod@send) processes one command, from top to bottom. A channel's commands form one lane, which one replica
//! owns at a time ([`lanes`](mod@lanes)). The lane keeps the channel's rate and the order of messages to one recipient
//! ([`lane`](mod@lane)). Only the ledger makes sure that no command is sent twice.

pub mod settings;
mod lanes;
mod ownership;
mod lane;
mod held;
mod gate;
mod command;
mod send;
mod store_limit;
mod record;
mod used;
mod account;
mod media_url;
mod functions;
mod call;
mod open_calls;
mod retry_after;
mod message_log;
mod outcome;
mod dead_letter;
mod publish;
mod expiry;
mod reject;
mod panics;
mod orphans;
mod metrics;

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
use service::{Common, LogPayloads, ServiceContext};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::lanes::{FailedLanes, LaneAssigner};
use crate::message_log::MessageLog;
use crate::metrics::SenderMetrics;
pub use crate::ownership::{CrowdedRecipient, LaneBacklog, LaneState, lane_lease, lane_of_lease};
use crate::send::Shared;
pub use crate::settings::Settings;
use crate::store_limit::StoreLimit;
pub use crate::used::{IdUse, is_same, used};

/// Returns the service for a separate process: it connects to NATS and Redis.
pub fn service(
    settings: Settings,
    common: &Common,
    context: ServiceContext,
    registry: &mut Registry,
) -> Service {
    let metrics = Arc::new(SenderMetrics::register(registry));
    let options = common.nats.named("imchannel-sender");
    options.register(registry);
    let (payloads, grace) = (common.log_payloads, common.grace);
    Service::new(async move {
        let bus = Bus::connect(&options).await?;
        let blobs = BlobStore::new(&settings.redis)?;
        Box::pin(work(settings, bus, blobs, context, metrics, payloads, grace)).await
    })
}

/// Runs the service on an existing connection, until the context's stop.
pub fn run(
    settings: Settings,
    bus: Bus,
    blobs: BlobStore,
    context: ServiceContext,
    registry: &mut Registry,
    payloads: LogPayloads,
    grace: Duration,
) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
    let metrics = Arc::new(SenderMetrics::register(registry));
    Box::pin(work(settings, bus, blobs, context, metrics, payloads, grace))
}

async fn work(
    settings: Settings,
    bus: Bus,
    blobs: BlobStore,
    context: ServiceContext,
    metrics: Arc<SenderMetrics>,
    payloads: LogPayloads,
    grace: Duration,
) -> anyhow::Result<()> {
    let stop = context.stop.clone();
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
    let faults = FailedLanes::default();
    require(&context, &bus, &snapshots, &leases, &faults);
    let functions = functions::follow(blobs.clone(), stop.clone());
    context.readiness.require("redis functions", move || functions.borrow().clone());
    context.readiness.mark_started();
    let client = call::client(settings.bsp_ca_file.as_deref(), settings.bsp_idle_timeout)?;
    let lookups = MessageLog::new(client.clone(), Arc::clone(&metrics), lanes::replicas_of(&leases));
    let purge_interval = settings.purge_interval;
    let shared = Arc::new(Shared {
        bus: bus.clone(),
        blobs,
        client,
        settings,
        metrics: Arc::clone(&metrics),
        lookups,
        faults,
        tracing: context.tracing.clone(),
        payloads,
        ledger: StoreLimit::new(metrics.ledger.clone(), Instant::now()),
        lettered: dead_letter::DeadLettered::default(),
    });
    let lanes = LaneAssigner::new(Arc::clone(&shared), leases.clone(), snapshots.clone(), replica_name()?);
    let kept = [&COMMANDS, &EVENTS, &DEADLETTERS];
    tokio::join!(
        lanes.run(stop.clone(), grace),
        orphans::run(&shared, snapshots, leases, stop.clone()),
        look_at_ledger(&bus, purge_interval, stop.clone()),
        bus::purger::run(&bus, &kept, purge_interval, &metrics.purger, stop.clone()),
    );
    ended.cancel();
    bus.flush(Duration::from_secs(1)).await;
    Ok(())
}

/// Checks at intervals whether the ledger has room for new entries.
async fn look_at_ledger(bus: &Bus, interval: Duration, stop: CancellationToken) {
    bus::fill::watch(bus, &[bus::StreamId::Sends], interval, stop).await;
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
        StreamUse { stream: &EVENTS, subjects: &["imchannel.event.send.*.*"] },
        StreamUse { stream: &DEADLETTERS, subjects: &["imchannel.deadletter.command.*"] },
    ],
    durables: &[],
    buckets: &[&CHANNELS_BUCKET, &SENDS_BUCKET, &LANES_BUCKET],
};

/// Registers the readiness conditions for what the sender needs from NATS.
fn require(
    context: &ServiceContext,
    bus: &Bus,
    channels: &bus::registry::Snapshots,
    leases: &Leases,
    faults: &FailedLanes,
) {
    let connection = bus.clone();
    context.readiness.require("nats", move || connection.connection());
    let streams = bus::readiness::follow(bus, &NEEDS, context.stop.clone());
    context.readiness.require("streams", move || streams.borrow().clone());
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
    let faults = faults.clone();
    context.readiness.require("lanes", move || faults.state());
}
