//! Ingress receives webhooks. It finds the channel, checks the credential before it stores any of the body,
//! stores the exact bytes on the bus, and answers 200 when JetStream has acknowledged them. While the bus does not store
//! them, it can spool them on the local disk, answers 200 when they are there, and publishes them later.
//!
//! It never interprets a body. That is left to the normalizer.

pub mod settings;
mod router;
mod receive;
mod failed_credentials;
mod channel_cache;
mod last_registry;
mod registry_file;
mod body;
mod encoding;
mod memory_limit;
mod body_memory;
mod response;
mod spooling;
mod stored;
mod metrics;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bus::Bus;
use bus::needs::{Needs, StreamUse};
use bus::purger::PurgeMetrics;
use bus::readiness::StreamsCheck;
use bus::registry::Snapshots;
use bus::sequence_guard::Watch;
use bus::streams::{CHANNELS_BUCKET, WEBHOOKS};
use prometheus_client::registry::Registry;
use service::http::HttpServer;
use service::process::Service;
use service::{ProcessContext, ServiceContext};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::channel_cache::ChannelCache;
use crate::metrics::IngressMetrics;
use crate::receive::{Ingress, Stores};
use crate::registry_file::RegistryFile;
use crate::router::Routes;
pub use crate::settings::{Settings, SpoolSettings};
use crate::spooling::Spooling;

/// The service as a separate process: it connects to NATS and listens.
pub fn service(settings: Settings, process: ProcessContext, registry: &mut Registry) -> Service {
    let metrics = Arc::new(metrics::IngressMetrics::register(registry));
    let connecting = process.connect("imchannel-ingress", registry);
    Service::new(async move {
        let context = connecting.await?;
        let listen = settings.listen;
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let bound = listener.local_addr().unwrap_or(listen);
        tracing::info!(function = "ingress", "accepts webhooks on {bound}");
        serve(settings, context, listener, metrics).await
    })
}

/// Runs the service on an existing connection and listener, until the context's stop.
pub fn run(
    settings: Settings,
    context: ServiceContext,
    listener: TcpListener,
    registry: &mut Registry,
) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
    let metrics = Arc::new(metrics::IngressMetrics::register(registry));
    Box::pin(serve(settings, context, listener, metrics))
}

async fn serve(
    settings: Settings,
    context: ServiceContext,
    listener: TcpListener,
    metrics: Arc<metrics::IngressMetrics>,
) -> anyhow::Result<()> {
    let ServiceContext { bus, stop, .. } = context.clone();
    let tls = settings.transport.acceptor(&stop)?;
    let server = HttpServer {
        limits: settings.http,
        tls,
        drain_delay: settings.drain_delay,
        addresses: settings.addresses.clone(),
        metrics: metrics.port.clone(),
    };
    let served = CancellationToken::new();
    let watches = [Watch::Stream(&WEBHOOKS), Watch::Bucket(&CHANNELS_BUCKET)];
    bus::sequence_guard::watch(&bus, &watches, served.clone());
    let registry = registry(&context, &settings, &metrics);
    let channels = ChannelCache::follow(registry, &settings, &metrics, stop.clone());
    let spooling = settings.spool.as_ref().map(|spool| Spooling::start(spool, Arc::clone(&metrics.spool)));
    let spooling = spooling.transpose().context("cannot start the thread of the spool")?;
    if let Some(spooling) = &spooling {
        tokio::spawn(spooling.clone().run(bus.clone(), served.clone()));
    }
    require(&context, &channels, spooling.clone());
    // Ingress purges processed webhooks too: without a normalizer, a stream full of them would stay full. It
    // runs until the last webhook is accepted, which is after the stop, so that the fill of the stream stays
    // current.
    tokio::spawn(run_purger(bus.clone(), settings.purge_interval, metrics.purger.clone(), served.clone()));
    let stores = Stores { bus, spooling: spooling.clone() };
    let grace_ends = grace_end(stop.clone(), settings.drain_delay + context.grace);
    let ingress = Arc::new(Ingress::new(settings, stores, channels, metrics, context.tracer));
    service::http::serve(listener, Routes(ingress), server, stop, context.grace).await;
    if let Some(spooling) = spooling {
        spooling.drained(grace_ends.await).await;
    }
    served.cancel();
    Ok(())
}

/// When the grace time of a stop is over. It is counted from the stop, also if this is awaited later.
fn grace_end(stop: CancellationToken, grace: Duration) -> impl Future<Output = Instant> {
    let stopped = tokio::spawn(async move {
        stop.cancelled().await;
        Instant::now()
    });
    async move { stopped.await.unwrap_or_else(|_| Instant::now()) + grace }
}

async fn run_purger(bus: Bus, interval: Duration, metrics: PurgeMetrics, stop: CancellationToken) {
    bus::purger::run(&bus, &[&WEBHOOKS], interval, &metrics, stop).await;
}

/// Streams, durable consumers and buckets that ingress needs.
static NEEDS: Needs = Needs {
    streams: &[StreamUse { stream: &WEBHOOKS, subjects: &["imchannel.webhook.*.*"] }],
    durables: &[],
    buckets: &[&CHANNELS_BUCKET],
};

/// The registry. With a spool, the last one admits webhooks until NATS answers.
fn registry(context: &ServiceContext, settings: &Settings, metrics: &IngressMetrics) -> Snapshots {
    let live = bus::registry::watch(&context.bus, context.stop.clone());
    let Some(spool) = &settings.spool else { return live };
    let sources = last_registry::Sources {
        live,
        file: RegistryFile::new(&spool.folder),
        bus: context.bus.clone(),
        age: metrics.registry_age.clone(),
    };
    last_registry::follow(sources, context.stop.clone())
}

/// The conditions under which ingress accepts webhooks. With room in the spool and known channels it can do without the bus.
fn require(context: &ServiceContext, channels: &ChannelCache, spooling: Option<Spooling>) {
    let (bus, readiness) = (&context.bus, &context.readiness);
    let connection = bus.clone();
    readiness.require_or_spool("nats", move || connection.connection(), || true);
    require_streams(context);
    let sequences = bus.clone();
    readiness.require_or_spool("sequences", move || sequences.sequences(), || true);
    let known = channels.clone();
    readiness.require("channels", move || {
        if known.current().is_some() { Ok(()) } else { Err("not read yet".to_owned()) }
    });
    if let Some(spooling) = spooling {
        readiness.spool_if(move || spooling.has_room());
    }
    readiness.mark_started();
}

/// A process whose streams never were as it needs them is a version before its `setup`. The spool does not make it ready, so
/// that it does not replace the version before it.
fn require_streams(context: &ServiceContext) {
    let streams = bus::readiness::follow(&context.bus, &NEEDS, context.stop.clone());
    let were_met = Arc::new(AtomicBool::new(false));
    let (checked, connection, met_before) = (streams.clone(), context.bus.clone(), Arc::clone(&were_met));
    context.readiness.require_or_spool(
        "streams",
        move || {
            let check = streams.borrow().clone();
            were_met.fetch_or(check == StreamsCheck::Met, Ordering::Relaxed);
            check.condition()
        },
        move || {
            let is_unmet = matches!(*checked.borrow(), StreamsCheck::Unmet(_));
            !is_unmet || met_before.load(Ordering::Relaxed) || !connection.is_connected()
        },
    );
}
