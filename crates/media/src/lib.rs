//! Media accepts the files of messages over HTTP, stores them in Redis with an expiry, and serves them to the
//! BSP, which requests each file twice, with HEAD and with GET.
//!
//! Files are streamed in windows in both directions. The work after a fetch (its expiry, its log line, its
//! event) runs in the background and never delays a response.

pub mod settings;
mod router;
mod state;
mod response;
mod range;
mod disposition;
mod download;
mod upload;
mod tokens;
mod fetch;
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
use service::failures::FailedCredentials;
use service::http::HttpServer;
use service::process::Service;
use service::{ProcessContext, ServiceContext};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::metrics::MediaMetrics;
pub use crate::settings::Settings;
use crate::state::{Media, State};
use crate::tokens::Tokens;

/// Interval of the checks whether EVENTS has room.
const FILL_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Interval of the health checks of Redis.
const REDIS_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of the checks for files that expired without having been fetched.
const UNFETCHED_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The service as a separate process: it connects to NATS and Redis and listens.
pub fn service(settings: Settings, process: ProcessContext, registry: &mut Registry) -> Service {
    let metrics = Arc::new(MediaMetrics::register(registry));
    let connecting = process.connect("imchannel-media", registry);
    Service::new(async move {
        let context = connecting.await?;
        let blobs = BlobStore::new(&settings.redis)?;
        let listen = settings.listen;
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let bound = listener.local_addr().unwrap_or(listen);
        tracing::info!(function = "media", "accepts and serves files on {bound}");
        serve(settings, context, blobs, listener, metrics).await
    })
}

/// Runs the service on an existing connection and listener, until the context's stop.
pub fn run(
    settings: Settings,
    context: ServiceContext,
    blobs: BlobStore,
    listener: TcpListener,
    registry: &mut Registry,
) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
    let metrics = Arc::new(MediaMetrics::register(registry));
    Box::pin(serve(settings, context, blobs, listener, metrics))
}

async fn serve(
    settings: Settings,
    context: ServiceContext,
    blobs: BlobStore,
    listener: TcpListener,
    metrics: Arc<MediaMetrics>,
) -> anyhow::Result<()> {
    let ServiceContext { bus, stop, .. } = context.clone();
    let tls = settings.transport.acceptor(&stop)?;
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
    let (fetches, recording) =
        fetch_recorder::start(&settings, bus, blobs.clone(), Arc::clone(&metrics), finished.clone());
    tokio::spawn(follow_fill(event_bus, finished.clone()));
    tokio::spawn(count_unfetched(blobs.clone(), Arc::clone(&metrics), stop.clone()));
    let tokens = Tokens::follow(settings.upload_token.clone(), settings.upload_tokens.clone(), &stop);
    let media = Media::new(State {
        downloads: Arc::new(Semaphore::new(settings.downloads_max)),
        uploads: Semaphore::new(settings.uploads_max),
        failed: FailedCredentials::new(metrics.port.clone(), settings.addresses.log),
        settings,
        blobs,
        channels,
        fetches,
        metrics,
        tokens,
    });
    service::http::serve(listener, router::routes(media), server, stop, context.grace).await;
    finished.cancel();
    let _ = recording.await;
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
            () = tokio::time::sleep(UNFETCHED_CHECK_INTERVAL) => {}
        }
    }
}

/// Checks whether EVENTS has room, because media publishes nothing to a full stream. Other services purge it.
async fn follow_fill(bus: Bus, stop: CancellationToken) {
    bus::fill::watch(&bus, &[StreamId::Events], FILL_CHECK_INTERVAL, stop).await;
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
                () = tokio::time::sleep(REDIS_CHECK_INTERVAL) => {}
            }
        }
    });
    receiver
}
