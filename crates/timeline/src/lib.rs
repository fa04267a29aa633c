//! The timeline says what happened to a message. It reads the streams beside the path of messages, stores a row for each thing
//! that happened, judges what is missing, and answers over HTTP.
//!
//! It is an observer: it has no durable consumer, acknowledges nothing, and never slows or stops the path of messages.
//!
//! | folder | holds |
//! |---|---|
//! | `admin` | what the services' admin ports say; pure |
//! | `health` | how each channel is |
//! | `observe` | reads the streams, and follows what else is known at a moment |
//! | `extract` | makes rows of a message; pure |
//! | `row` | what a row says; pure |
//! | `rules` | what must follow after a row; pure |
//! | `store` | where rows are kept |
//! | `erasure` | erases a customer: rows, stored messages, files, and what the ledger holds |
//! | `life` | the rows of one message, and what is missing in them |
//! | `http` | the answers |

pub mod admin;
pub mod erasure;
pub mod extract;
pub mod health;
pub mod http;
pub mod life;
mod metrics;
mod observe;
pub mod observed;
mod opening;
pub mod progress;
pub mod row;
pub mod rules;
pub mod secret;
pub mod settings;
pub mod store;
mod yields;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use blob::BlobStore;
use bus::needs::{Needs, StreamUse};
use bus::streams::{CHANNELS_BUCKET, COMMANDS, DEADLETTERS, EVENTS, LANES_BUCKET, WEBHOOKS};
use bus::{Bus, BusOptions, User};
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use service::failures::FailedCredentials;
use service::http::HttpServer;
use service::process::Service;
use service::{ProcessContext, ServiceContext};
use tokio::net::TcpListener;

use crate::erasure::{ErasureSettings, Erasures, Tools};
use crate::http::ApiState;
use crate::http::settings::HttpSettings;
use crate::metrics::TimelineMetrics;
use crate::observe::thread::ReadingThread;
use crate::observe::{Observer, Reading};
use crate::observed::Observed;
use crate::row::Keys;
pub use crate::settings::Settings;
use crate::store::{Store, Unreadable};

/// Name of the connections to NATS.
const NATS_NAME: &str = "imchannel-timeline";
/// Time for which a stream may be read less far than now before the service is not ready.
const READY_LAG_MAX: Duration = Duration::from_secs(60);

/// The service as a separate process: it connects to NATS, opens its store and listens.
pub fn service(settings: Settings, process: ProcessContext, registry: &mut Registry) -> Service {
    let metrics = Arc::new(TimelineMetrics::register(registry));
    let eraser = eraser_options(&settings, &process);
    let of_streams = process.nats.further(NATS_NAME);
    let connecting = process.connect(NATS_NAME, registry);
    Service::new(async move {
        let context = connecting.await?;
        let thread = ReadingThread::start(context.stop.clone(), context.grace)?;
        let Some(bus) = thread.connect(of_streams).await? else { return Ok(()) };
        let listen = settings.http.listen;
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let bound = listener.local_addr().unwrap_or(listen);
        tracing::info!(function = "timeline", "answers on {bound}");
        let eraser = match eraser {
            Some(options) => Bus::connect(&options).await?,
            None => context.bus.clone(),
        };
        let parts = Parts { listener, reading: Reading { thread, bus }, eraser };
        Box::pin(serve(settings, context, parts, metrics)).await
    })
}

/// How to connect as the user that erases; `None` to use the connection of the timeline.
fn eraser_options(settings: &Settings, process: &ProcessContext) -> Option<BusOptions> {
    let nkey = settings.erasure.as_ref()?.nkey.clone()?;
    Some(process.nats.of_user(User::Eraser.client(), nkey))
}

/// What the service works with, besides its context.
struct Parts {
    listener: TcpListener,
    reading: Reading,
    /// The connection over which it erases.
    eraser: Bus,
}

/// Runs the service on an existing connection and listener, until the context's stop.
pub fn run(
    settings: Settings,
    context: ServiceContext,
    listener: TcpListener,
    registry: &mut Registry,
) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
    let metrics = Arc::new(TimelineMetrics::register(registry));
    Box::pin(async move {
        let thread = ReadingThread::start(context.stop.clone(), context.grace)?;
        let reading = Reading { thread, bus: context.bus.clone() };
        let eraser = context.bus.clone();
        serve(settings, context, Parts { listener, reading, eraser }, metrics).await
    })
}

async fn serve(
    settings: Settings,
    context: ServiceContext,
    parts: Parts,
    metrics: Arc<TimelineMetrics>,
) -> anyhow::Result<()> {
    let Parts { listener, reading, eraser } = parts;
    let ServiceContext { bus, stop, .. } = context.clone();
    let keys = keys(&settings)?;
    let store = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        opened = opening::open(&settings, &keys, &context, &metrics) => opened?,
    };
    let observer = Observer {
        bus: bus.clone(),
        store: Arc::clone(&store),
        keys: keys.clone(),
        bodies: settings.bodies,
        channels: bus::registry::watch(&bus, stop.clone()),
        retention: settings.retention,
        times: settings.times,
        admin_urls: settings.admin_urls,
        metrics: Arc::clone(&metrics),
        stop: stop.clone(),
    };
    let observed = observe::start(&observer, &reading).await;
    require(&context, &observed, Arc::clone(&store));
    let tools = |erasure: &ErasureSettings| -> anyhow::Result<Tools> {
        Ok(Tools {
            store: Arc::clone(&store),
            keys: keys.clone(),
            observed: observed.clone(),
            reader: bus.clone(),
            eraser,
            blobs: BlobStore::new(&erasure.redis)?,
            folder: settings.folder.clone(),
            stop: stop.clone(),
        })
    };
    let erasures = settings.erasure.as_ref().map(tools).transpose()?.map(Erasures::new);
    if let Some(erasures) = &erasures {
        erasures.resume();
    }
    let HttpSettings { access, hosts, addresses, drain_delay, .. } = settings.http;
    let access = access.follow(&stop);
    let state = ApiState {
        store,
        keys,
        observed,
        bus: Some(bus),
        bodies: settings.bodies,
        erasures,
        access,
        failed: Arc::new(FailedCredentials::new(metrics.port.clone(), addresses.log)),
        hosts,
        stop: stop.clone(),
        now: Timestamp::now,
    };
    let server =
        HttpServer { drain_delay, addresses, metrics: metrics.port.clone(), ..HttpServer::default() };
    service::http::serve(listener, http::router(state), server, stop, context.grace).await;
    reading.thread.ended().await;
    Ok(())
}

/// The keys of ids and numbers. Makes the folder where it is used: a database has the rows, and the secret may be given, but
/// erasures keep in it what they have to go on with.
fn keys(settings: &Settings) -> anyhow::Result<Keys> {
    let given = settings.url.as_ref().and(settings.key.as_ref());
    if given.is_none() || settings.erasure.is_some() {
        make_folder(&settings.folder)?;
    }
    match given {
        Some(secret) => secret::given(secret),
        None => secret::load(&settings.folder, settings.key.as_ref()),
    }
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    // Rows may be personal, and the secret is beside them.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot use the folder {} of the timeline", folder.display()))
}

/// Streams and buckets that the timeline reads.
static NEEDS: Needs = Needs {
    streams: &[
        StreamUse { stream: &WEBHOOKS, subjects: &["imchannel.webhook.*.*"] },
        StreamUse { stream: &EVENTS, subjects: &["imchannel.event.*.*.*"] },
        StreamUse { stream: &COMMANDS, subjects: &["imchannel.command.send.*", "imchannel.command.bulk.*"] },
        StreamUse { stream: &DEADLETTERS, subjects: &["imchannel.deadletter.*.*"] },
    ],
    durables: &[],
    buckets: &[&CHANNELS_BUCKET, &LANES_BUCKET],
};

/// The conditions under which answers are current. Without them it still answers, and says up to what time it has read.
fn require(context: &ServiceContext, observed: &Observed, store: Arc<dyn Store>) {
    let bus = &context.bus;
    let connection = bus.clone();
    context.readiness.require("nats", move || connection.connection());
    let streams = bus::readiness::follow(bus, &NEEDS, context.stop.clone());
    context.readiness.require("streams", move || streams.borrow().condition());
    let progress = observed.progress.clone();
    context.readiness.require("timeline", move || current(&progress.borrow(), Timestamp::now()));
    // The other days are answered, so that a day which cannot be read is said and stops nothing.
    context.readiness.mention("store_files", move || whole(&store.unreadable()));
    context.readiness.mark_started();
}

/// Whether everything that the store holds can be read.
fn whole(unreadable: &[Unreadable]) -> Result<(), String> {
    if unreadable.is_empty() {
        return Ok(());
    }
    let texts: Vec<&str> = unreadable.iter().map(|of| of.text.as_str()).collect();
    Err(texts.join("; "))
}

/// Whether every stream is read up to a moment ago.
fn current(progress: &progress::Progress, now: Timestamp) -> Result<(), String> {
    for of in progress.0 {
        let name = of.stream.name();
        let Some(until) = of.read_until else { return Err(format!("{name} was not read yet")) };
        let lag = now.duration_since(until);
        if lag.unsigned_abs() > READY_LAG_MAX && lag.is_positive() {
            return Err(format!("{name} is read up to {until}, {} messages behind", of.behind));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use service::ConfigReader;

    use super::*;

    #[test]
    fn the_folder_is_made_where_it_is_used() {
        let parent = tempfile::TempDir::new().unwrap();
        for (erasure, is_made) in [("off", false), ("on", true)] {
            let folder = parent.path().join(erasure);
            let secret = "07".repeat(32);
            let values = [
                ("timeline-dir", folder.to_str().unwrap()),
                ("timeline-url", "postgres://timeline@localhost/timeline"),
                ("timeline-key", &secret),
                ("timeline-erasure", erasure),
                ("redis-url", "redis://localhost"),
            ];
            let mut reader = ConfigReader::from_values(values);
            let settings = Settings::read(&mut reader);
            let settings = reader.finish(|| settings).unwrap();
            keys(&settings).unwrap();
            assert_eq!(folder.is_dir(), is_made, "erasure {erasure}");
        }
    }
}
