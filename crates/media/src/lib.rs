//! Media accepts the files of messages over HTTP, stores them in Redis with an expiry, and serves them to the
//! BSP, which requests each file twice, with HEAD and with GET.
//!
//! Files are streamed in windows in both directions. The work after a fetch (its expiry, its log line, its
//! event) runs in the background and never delays a response.

pub mod settings;
mod router;
mod response;
mod range;
mod disposition;
mod download;
mod upload;
mod tokens;
mod fetch_recorder;
mod metrics;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use blob::BlobStore;
use bus::sequence_guard::Watch;
use bus::streams::{CHANNELS_BUCKET, EVENTS};
use bus::{Bus, StreamId};
use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use service::http::HttpServer;
use service::process::Service;
use service::{Common, ServiceContext};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::MediaMetrics;
use crate::router::Media;
pub use crate::settings::Settings;
use crate::tokens::Tokens;

/// Interval of the checks whether EVENTS has room.
const ROOM_LOOK: Duration = Duration::from_millis(500);
/// Interval of the health checks of Redis.
const REDIS_LOOK: Duration = Duration::from_secs(1);
/// Interval of the checks for files that expired without having been fetched.
const UNFETCHED_LOOK: Duration = Duration::from_secs(5);

/// The service as a separate process: it connects to NATS and Redis and listens.
pub fn service(
    settings: Settings,
    common: &Common,
    context: ServiceContext,
    registry: &mut Registry,
) -> Service {
    let metrics = Arc::new(MediaMetrics::register(registry));
    let options = common.nats.named("imchannel-media");
    options.register(registry);
    let grace = common.grace;
    Service::new(async move {
        let bus = Bus::connect(&options).await?;
        let blobs = BlobStore::new(&settings.redis)?;
        let listen = settings.listen;
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let bound = listener.local_addr().unwrap_or(listen);
        tracing::info!(function = "media", "accepts and serves files on {bound}");
        serve(settings, bus, blobs, listener, context, metrics, grace).await
    })
}

/// Runs the service on an existing connection and listener, until the context's stop.
pub fn run(
    settings: Settings,
    bus: Bus,
    blobs: BlobStore,
    listener: TcpListener,
    context: ServiceContext,
    registry: &mut Registry,
    grace: Duration,
) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
    let metrics = Arc::new(MediaMetrics::register(registry));
    serve(settings, bus, blobs, listener, context, metrics, grace)
}

async fn serve(
    settings: Settings,
    bus: Bus,
    blobs: BlobStore,
    listener: TcpListener,
    context: ServiceContext,
    metrics: Arc<MediaMetrics>,
    grace: Duration,
) -> anyhow::Result<()> {
    let stop = context.stop.clone();
    let tls = settings.tls.clone().map(|files| files.watch(stop.clone())).transpose()?;
    let server = HttpServer {
        tls,
        drain_delay: settings.drain_delay,
        addresses: settings.addresses.clone(),
        metrics: metrics.port.clone(),
        ..HttpServer::default()
    };
    let watches = [Watch::Stream(&EVENTS), Watch::Bucket(&CHANNELS_BUCKET)];
    bus::sequence_guard::watch(&bus, &watches, stop.clone());
    let event_bus = bus.clone();
    let channels = bus::registry::watch(&bus, stop.clone());
    require(&context, &blobs, &channels, &metrics);
    // The background work continues until the last fetch has ended.
    let finished = CancellationToken::new();
    let afterwards =
        fetch_recorder::start(&settings, bus, blobs.clone(), Arc::clone(&metrics), finished.clone());
    let (notes, ending) = afterwards;
    tokio::spawn(look_for_room(event_bus, finished.clone()));
    tokio::spawn(count_unfetched(blobs.clone(), Arc::clone(&metrics), stop.clone()));
    let tokens = Tokens::follow(settings.upload_token.clone(), settings.upload_tokens.clone(), &stop);
    let media = Media::new(settings, blobs, channels, notes, metrics, tokens);
    service::http::serve(listener, media.routes(), server, stop, grace).await;
    finished.cancel();
    let _ = ending.await;
    Ok(())
}

/// The conditions under which media serves. NATS is not one of them: the BSP must get a file while NATS is
/// unavailable. The event is then dropped and counted.
fn require(
    context: &ServiceContext,
    blobs: &BlobStore,
    channels: &bus::registry::Snapshots,
    metrics: &MediaMetrics,
) {
    let redis = follow_redis(blobs.clone(), metrics.redis_connected.clone(), context.stop.clone());
    context.readiness.require("redis", move || redis.borrow().clone());
    let channels = channels.clone();
    context.readiness.require("channels", move || {
        if channels.borrow().is_some() { Ok(()) } else { Err("not read yet".to_owned()) }
    });
    context.readiness.mark_started();
}

/// Counts the files of sent messages that expired without a fetch.
async fn count_unfetched(blobs: BlobStore, metrics: Arc<MediaMetrics>, stop: CancellationToken) {
    loop {
        if let Ok(count) = blobs.count_expired_unfetched(Timestamp::now()).await
            && count > 0
        {
            metrics.expired_unfetched.inc_by(count);
            tracing::warn!(
                function = "media",
                "{count} files of sent messages expired before the BSP fetched them"
            );
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(UNFETCHED_LOOK) => {}
        }
    }
}

/// Checks whether EVENTS has room, because media publishes nothing to a full stream. Other services purge it.
async fn look_for_room(bus: Bus, stop: CancellationToken) {
    bus::fill::watch(&bus, &[StreamId::Events], ROOM_LOOK, stop).await;
}

fn follow_redis(
    blobs: BlobStore,
    connected: Gauge,
    stop: CancellationToken,
) -> watch::Receiver<Result<(), String>> {
    let (sender, receiver) = watch::channel(Err("not asked yet".to_owned()));
    tokio::spawn(async move {
        loop {
            let answer = blobs.ping().await.map_err(|error| error.to_string());
            connected.set(i64::from(answer.is_ok()));
            if *sender.borrow() != answer {
                match &answer {
                    Ok(()) => tracing::info!(function = "media", "Redis answers"),
                    Err(error) => tracing::warn!(function = "media", "{error}"),
                }
                let _ = sender.send_replace(answer);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(REDIS_LOOK) => {}
            }
        }
    });
    receiver
}
