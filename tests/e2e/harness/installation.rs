//! Servers, streams and channels of one test, and the services that use them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bsp::SettingsContext;
use bus::read::{self, StartAt};
use bus::streams::{DEADLETTERS, EVENTS, NORMALIZER, StreamDefinition, StreamSettings, WEBHOOKS};
use bus::{Bus, Delivery, provision};
use channel::CredentialKey;
use futures_util::StreamExt as _;
use prometheus_client::registry::Registry;
use prost::Message;
use proto::v1::{InboundMessage, ReportEvent};
use servers::{NatsOptions, NatsServer};
use service::{ConfigReader, ServiceContext};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{bus_options, eventually};

/// Credential key of every test.
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";
/// Time in which a service that is stopped finishes its work.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// Repeated events that are stored at the same time.
const REPEATED_AT_ONCE: usize = 256;
/// A channel of each BSP.
pub(crate) const CHANNELS: &str = include_str!("../../../examples/channels.toml");

/// A NATS server with streams and channels.
pub(crate) struct Installation {
    pub(crate) nats: NatsServer,
    pub(crate) bus: Bus,
    folder: TempDir,
}

/// Ingress in this process.
pub(crate) struct RunningIngress {
    pub(crate) address: SocketAddr,
    pub(crate) context: Box<ServiceContext>,
    registry: Registry,
    task: JoinHandle<()>,
}

/// The normalizer in this process.
pub(crate) struct RunningNormalizer {
    stop: CancellationToken,
    registry: Registry,
    task: JoinHandle<()>,
}

impl Installation {
    /// Creates everything like `streams apply` and `channel apply`.
    pub(crate) async fn start() -> Self {
        Self::start_with(&StreamSettings::default()).await
    }

    /// The same with other sizes.
    pub(crate) async fn start_with(settings: &StreamSettings) -> Self {
        let installation = Self::start_bare().await;
        provision::apply(&installation.bus, settings).await.unwrap();
        installation.apply_channels(CHANNELS).await;
        installation
    }

    /// Starts a server without streams.
    pub(crate) async fn start_bare() -> Self {
        // A test creates HTTP clients, even if it is the only one in its process.
        service::process::install_crypto_provider();
        let folder = TempDir::new().unwrap();
        let options = NatsOptions::open(folder.path().join("nats"));
        let nats = NatsServer::start(options).await.unwrap();
        let bus = Bus::connect_now(&bus_options("test", nats.url())).await.unwrap();
        Self { nats, bus, folder }
    }

    /// The same, and the largest message of the server has this number of bytes.
    pub(crate) async fn start_bare_with_payload_max(bytes: usize) -> Self {
        service::process::install_crypto_provider();
        let folder = TempDir::new().unwrap();
        let (store, config) = (folder.path().join("nats"), folder.path().join("nats.conf"));
        let text = format!("jetstream {{ store_dir: {store:?} }}\nmax_payload: {bytes}\n");
        std::fs::write(&config, text).unwrap();
        let options = NatsOptions { config: Some(config), ..NatsOptions::open(store) };
        let nats = NatsServer::start(options).await.unwrap();
        let bus = Bus::connect_now(&bus_options("test", nats.url())).await.unwrap();
        Self { nats, bus, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stores channels like `channel apply`.
    pub(crate) async fn apply_channels(&self, file: &str) {
        let key = CredentialKey::new(KEY.as_bytes()).unwrap();
        for channel in channel::file::parse(file, &SettingsContext::default()).unwrap() {
            if channel.bsp().sending().is_some() {
                bus::command_consumers::apply(&self.bus, channel.id()).await.unwrap();
            }
            bus::registry::put(&self.bus, &channel.to_record(&key)).await.unwrap();
        }
    }

    /// Starts ingress and waits until it is ready.
    pub(crate) async fn ingress(&self) -> RunningIngress {
        let ingress = self.ingress_with(&[]).await;
        ingress.until_ready().await;
        ingress
    }

    /// Starts ingress with other settings; it may not be ready yet.
    pub(crate) async fn ingress_with(&self, settings: &[(&'static str, &str)]) -> RunningIngress {
        self.ingress_on(&self.nats.url(), settings).await
    }

    /// The same at another address of the bus.
    pub(crate) async fn ingress_on(
        &self,
        nats_url: &str,
        settings: &[(&'static str, &str)],
    ) -> RunningIngress {
        let values = [("credential-key", KEY)].into_iter().chain(settings.iter().copied());
        let mut reader = ConfigReader::from_values(values);
        let settings = ingress::Settings::read(&mut reader);
        let settings = reader.finish(|| settings).unwrap();
        // A separate connection, like a process has.
        let bus = Bus::connect(&bus_options("ingress", nats_url)).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let context = ServiceContext { grace: GRACE, ..ServiceContext::new(bus, CancellationToken::new()) };
        let mut registry = Registry::default();
        let running = ingress::run(settings, context.clone(), listener, &mut registry);
        let task = tokio::spawn(async move { running.await.unwrap() });
        RunningIngress { address, context: Box::new(context), registry, task }
    }

    /// Starts a normalizer.
    pub(crate) async fn normalizer(&self) -> RunningNormalizer {
        self.normalizer_with(&[]).await
    }

    /// Starts a normalizer with other settings.
    pub(crate) async fn normalizer_with(&self, settings: &[(&'static str, &str)]) -> RunningNormalizer {
        self.normalizer_on(&self.nats.url(), settings).await
    }

    /// The same at another address of the bus.
    pub(crate) async fn normalizer_on(
        &self,
        nats_url: &str,
        settings: &[(&'static str, &str)],
    ) -> RunningNormalizer {
        let mut reader = ConfigReader::from_values(settings.iter().copied());
        let settings = normalizer::Settings::read(&mut reader);
        let settings = reader.finish(|| settings).unwrap();
        let bus = Bus::connect(&bus_options("normalizer", nats_url)).await.unwrap();
        let stop = CancellationToken::new();
        let context = ServiceContext { grace: GRACE, ..ServiceContext::new(bus, stop.clone()) };
        let mut registry = Registry::default();
        let running = normalizer::run(settings, context, &mut registry);
        RunningNormalizer { stop, registry, task: tokio::spawn(running) }
    }

    /// Reads all messages of a stream that match a filter.
    pub(crate) async fn stored(&self, stream: &'static StreamDefinition, filter: &str) -> Vec<Delivery> {
        let mut messages =
            read::subscribe(&self.bus, stream, filter.to_owned(), StartAt::Start).await.unwrap();
        if messages.pending() == 0 {
            return Vec::new();
        }
        let mut all = Vec::new();
        while let Some(message) = messages.next().await {
            let message = message.unwrap();
            all.push(message.delivery);
            if message.pending == 0 {
                break;
            }
        }
        all
    }

    /// Stores a changed report a second time, which only an error would do.
    pub(crate) async fn forge(&self, event: &Delivery, change: impl FnOnce(&mut ReportEvent)) {
        let mut report = ReportEvent::decode(event.payload.clone()).unwrap();
        change(&mut report);
        let id = format!("forged-{}-{}", report.event_id, report.message_id);
        let headers = || bus::Headers::new().with(bus::headers::MESSAGE_ID, &id);
        let deadline = tokio::time::Instant::now() + super::TIMEOUT;
        let address = event.address().unwrap();
        self.bus.store(&address, headers, &report.encode_to_vec().into(), deadline).await.unwrap();
    }

    /// Stores an event this many times more, each under another id.
    pub(crate) async fn repeat(&self, event: &Delivery, times: usize) {
        let address = event.address().unwrap();
        let store = async |number: usize| {
            let id = format!("repeated-{number}");
            let headers = || bus::Headers::new().with(bus::headers::MESSAGE_ID, &id);
            let deadline = tokio::time::Instant::now() + super::TIMEOUT;
            self.bus.store(&address, headers, &event.payload, deadline).await.unwrap();
        };
        futures_util::stream::iter(0..times).for_each_concurrent(REPEATED_AT_ONCE, store).await;
    }

    /// All stored webhooks.
    pub(crate) async fn webhooks(&self) -> Vec<Delivery> {
        self.stored(&WEBHOOKS, "imchannel.webhook.>").await
    }

    /// All dead letters.
    pub(crate) async fn dead_letters(&self) -> Vec<Delivery> {
        self.stored(&DEADLETTERS, "imchannel.deadletter.>").await
    }

    /// All reports.
    pub(crate) async fn reports(&self) -> Vec<ReportEvent> {
        let stored = self.stored(&EVENTS, "imchannel.event.report.*.*").await;
        stored.into_iter().map(|event| ReportEvent::decode(event.payload).unwrap()).collect()
    }

    /// All inbound messages.
    pub(crate) async fn messages(&self) -> Vec<InboundMessage> {
        let stored = self.stored(&EVENTS, "imchannel.event.message.*.*").await;
        stored.into_iter().map(|event| InboundMessage::decode(event.payload).unwrap()).collect()
    }

    /// Waits until the normalizer has acknowledged every stored webhook.
    pub(crate) async fn until_processed(&self) {
        eventually("every webhook is acknowledged", || async {
            let lag = bus::lag::backlog(&self.bus, &NORMALIZER).await.ok()?;
            (lag == 0).then_some(())
        })
        .await;
    }
}

impl RunningIngress {
    /// Text of its metrics.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Waits until it is ready.
    pub(crate) async fn until_ready(&self) {
        eventually("ingress is ready", || async { self.context.readiness.is_ready().then_some(()) }).await;
    }

    /// Stops it like a signal does, and waits for its end.
    pub(crate) async fn stop(self) {
        self.context.stop.cancel();
        self.task.await.unwrap();
    }
}

impl RunningNormalizer {
    /// Text of its metrics.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Stops it like a signal does, and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}
