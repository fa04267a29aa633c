//! The sending side of an installation: a Redis server, a simulated Infobip account, channels that send to it, senders
//! and media, in this process or as programs.

use std::net::SocketAddr;

use blob::{BlobStore, RedisOptions};
use bsp::{ChannelId, SettingsContext};
use bus::streams::{EVENTS, StreamSettings};
use bus::{Bus, Headers, Origin, Priority, Subject, headers, provision};
use channel::file::ChannelSpec;
use channel::{CredentialKey, Secrets};
use prometheus_client::registry::Registry;
use prost::Message;
use proto::v1::{MediaFetched, OutboundText, SendCommand, SendOutcome, SendResult, send_command};
use servers::RedisServer;
use service::{ConfigReader, ServiceContext};
use simulator::Target;
use simulator::infobip_api::{Faults, InfobipApi, Scenario};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::installation::{GRACE, KEY};
use super::{Installation, Program, TIMEOUT, bus_options, eventually};

/// The account's key, and the token of uploads.
const API_KEY: &str = "0123456789abcdef0123456789abcdef-key";
pub(crate) const UPLOAD_TOKEN: &str = "upload-token-of-the-tests";
pub(crate) const TENANT: &str = "tenantname";

/// Everything that sending needs.
pub(crate) struct Outbound {
    pub(crate) installation: Installation,
    pub(crate) redis: RedisServer,
    pub(crate) account: InfobipApi,
    pub(crate) account_url: String,
    pub(crate) media_url: String,
    stop_account: CancellationToken,
}

/// A sender in this process.
pub(crate) struct RunningSender {
    pub(crate) context: Box<ServiceContext>,
    stop: CancellationToken,
    registry: Registry,
    task: JoinHandle<()>,
}

/// Media in this process.
pub(crate) struct RunningMedia {
    pub(crate) url: String,
    pub(crate) context: Box<ServiceContext>,
    registry: Registry,
    task: JoinHandle<()>,
}

impl Drop for Outbound {
    fn drop(&mut self) {
        self.stop_account.cancel();
    }
}

/// Returns a port that was free a moment ago.
fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Loads the functions of Redis like `setup`.
pub(crate) async fn load_functions(redis_url: &str) {
    let mut inspector = blob::inspect::Inspector::connect(&RedisOptions::at(redis_url)).await.unwrap();
    inspector.load_functions().await.unwrap();
}

pub(crate) fn channel(number: usize) -> ChannelId {
    ChannelId::parse(&format!("channel-{number}")).unwrap()
}

/// A channel like in a channels file.
fn described(number: usize, rate_per_s: u32, url: &str, more: &str) -> ChannelSpec {
    let file = format!(
        "[[channel]]\nid = \"{}\"\nbsp = \"infobip\"\ntenant = \"{TENANT}\"\nwebhook = [{{ password = \"p\" }}]\n\
         [channel.infobip]\nbase_url = \"{url}\"\napi_key = \"file:api.key\"\nscenario_key = \"S-{number}\"\n\
         sends_per_second = {rate_per_s}\n{more}\n",
        channel(number)
    );
    let context = SettingsContext { extra_hosts: vec!["127.0.0.1".to_owned()] };
    channel::file::parse(&file, &context).unwrap().remove(0)
}

impl Outbound {
    /// Creates this number of channels, each with its rate, on a healthy account.
    pub(crate) async fn start(rates_per_s: &[u32]) -> Self {
        Self::start_with(rates_per_s, &StreamSettings::default()).await
    }

    pub(crate) async fn start_with(rates_per_s: &[u32], streams: &StreamSettings) -> Self {
        let installation = Installation::start_bare().await;
        provision::apply(&installation.bus, streams).await.unwrap();
        Self::on(installation, rates_per_s, None).await
    }

    /// On an installation with its streams. The account posts reports to `gateway`, if there is one.
    pub(crate) async fn on(installation: Installation, rates_per_s: &[u32], gateway: Option<&str>) -> Self {
        service::process::install_crypto_provider();
        let redis = RedisServer::start(installation.folder().join("redis")).await.unwrap();
        load_functions(&redis.url()).await;
        std::fs::write(installation.folder().join("api.key"), API_KEY).unwrap();
        let scenarios = (0..rates_per_s.len()).map(|number| Scenario {
            key: format!("S-{number}"),
            target: gateway.map(|gateway| {
                let described = described(number, 1, "http://127.0.0.1:1", "");
                Target::new(gateway, &described, &Secrets::default()).unwrap()
            }),
        });
        let account = InfobipApi::new(API_KEY, scenarios.collect(), Faults::default()).unwrap();
        let stop_account = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let account_url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(account.clone().serve(listener, stop_account.clone()));
        let media_url = format!("http://{}", free_address());
        let outbound = Self { installation, redis, account, account_url, media_url, stop_account };
        for (number, rate) in rates_per_s.iter().enumerate() {
            outbound.apply_channel(number, *rate, "").await;
        }
        outbound
    }

    /// Stores a channel like `channel apply`.
    pub(crate) async fn apply_channel(&self, number: usize, rate_per_s: u32, more: &str) {
        self.apply_channel_at(number, rate_per_s, &self.account_url, more).await;
    }

    pub(crate) async fn apply_channel_at(&self, number: usize, rate_per_s: u32, url: &str, more: &str) {
        let described = described(number, rate_per_s, url, more);
        let key = CredentialKey::new(KEY.as_bytes()).unwrap();
        bus::command_consumers::apply(&self.installation.bus, described.id()).await.unwrap();
        bus::registry::put(&self.installation.bus, &described.to_record(&key)).await.unwrap();
    }
    fn secrets_dir(&self) -> String {
        self.installation.folder().to_string_lossy().into_owned()
    }

    /// Starts a sender with short timeouts, so that unknown outcomes do not take minutes.
    pub(crate) async fn sender(&self) -> RunningSender {
        self.sender_with(&[("send-timeout", "1s"), ("lookup-delays", "1s,2s,4s")]).await
    }

    pub(crate) async fn sender_with(&self, more: &[(&'static str, &str)]) -> RunningSender {
        self.sender_on(&self.installation.nats.url(), more).await
    }

    /// The same at another address of the bus.
    pub(crate) async fn sender_on(&self, nats_url: &str, more: &[(&'static str, &str)]) -> RunningSender {
        let (redis, secrets) = (self.redis.url(), self.secrets_dir());
        let values = [
            ("redis-url", redis.as_str()),
            ("media-public-url", self.media_url.as_str()),
            ("secrets-dir", secrets.as_str()),
        ];
        let mut reader = ConfigReader::from_values(values.into_iter().chain(more.iter().copied()));
        let settings = sender::Settings::read(&mut reader);
        let settings = reader.finish(|| settings).unwrap();
        let mut registry = Registry::default();
        let options = bus_options("sender", nats_url);
        options.register(&mut registry);
        let bus = Bus::connect(&options).await.unwrap();
        let stop = CancellationToken::new();
        let context = ServiceContext { grace: GRACE, ..ServiceContext::new(bus, stop.clone()) };
        let blobs = BlobStore::new(&RedisOptions::at(&redis)).unwrap();
        let running = sender::run(settings, context.clone(), blobs, &mut registry);
        let task = tokio::spawn(async move { running.await.unwrap() });
        RunningSender { context: Box::new(context), stop, registry, task }
    }

    /// The same as a program.
    pub(crate) fn sender_program(&self, more: &[(&str, &str)]) -> Program {
        self.sender_program_of("imchannel-sender", more)
    }

    /// The same with another version, by its path.
    pub(crate) fn sender_program_of(&self, program: &str, more: &[(&str, &str)]) -> Program {
        let (redis, secrets) = (self.redis.url(), self.secrets_dir());
        let mut variables = vec![
            ("IMCHANNEL_REDIS_URL", redis.as_str()),
            ("IMCHANNEL_MEDIA_PUBLIC_URL", self.media_url.as_str()),
            ("IMCHANNEL_SECRETS_DIR", secrets.as_str()),
        ];
        variables.extend(more.iter().copied());
        Program::start(program, &self.installation, &variables)
    }

    pub(crate) async fn media(&self) -> RunningMedia {
        self.media_with(&[]).await
    }

    pub(crate) async fn media_with(&self, more: &[(&'static str, &str)]) -> RunningMedia {
        let redis = self.redis.url();
        let values = [
            ("redis-url", redis.as_str()),
            ("media-public-url", self.media_url.as_str()),
            ("media-upload-token", UPLOAD_TOKEN),
        ];
        let mut reader = ConfigReader::from_values(values.into_iter().chain(more.iter().copied()));
        let settings = media::Settings::read(&mut reader);
        let settings = reader.finish(|| settings).unwrap();
        let bus = Bus::connect(&bus_options("media", self.installation.nats.url())).await.unwrap();
        let context = ServiceContext { grace: GRACE, ..ServiceContext::new(bus, CancellationToken::new()) };
        let mut registry = Registry::default();
        let blobs = BlobStore::new(&RedisOptions::at(&redis)).unwrap();
        let address = self.media_url.trim_start_matches("http://");
        let listener = TcpListener::bind(address).await.unwrap();
        let running = media::run(settings, context.clone(), blobs, listener, &mut registry);
        let task = tokio::spawn(async move { running.await.unwrap() });
        let media = RunningMedia { url: self.media_url.clone(), context: Box::new(context), registry, task };
        eventually("media is ready", || async { media.context.readiness.is_ready().then_some(()) }).await;
        media
    }

    /// Stores a command like the AICC back end; returns its sequence.
    pub(crate) async fn publish(&self, queue: Priority, command: &SendCommand) -> u64 {
        self.publish_as(queue, command, &command.command_id).await
    }

    /// The same under a given message id.
    pub(crate) async fn publish_as(&self, queue: Priority, command: &SendCommand, message_id: &str) -> u64 {
        let payload = command.encode_to_vec();
        let channel = ChannelId::parse(&command.channel_id).unwrap();
        self.publish_raw(queue, &channel, payload, &[(headers::MESSAGE_ID, message_id)]).await
    }

    pub(crate) async fn publish_raw(
        &self,
        queue: Priority,
        channel: &ChannelId,
        payload: Vec<u8>,
        fields: &[(headers::Name, &str)],
    ) -> u64 {
        let make =
            || fields.iter().fold(Headers::new(), |made, (name, value)| made.with(name.clone(), value));
        let subject = Subject::Command(queue, channel.clone());
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        self.installation.bus.store(&subject, make, &payload.into(), deadline).await.unwrap().sequence()
    }

    /// All results, in the order in which they were stored.
    pub(crate) async fn results(&self) -> Vec<SendResult> {
        let stored = self.installation.stored(&EVENTS, "imchannel.event.send.*.*").await;
        stored.into_iter().map(|event| SendResult::decode(event.payload).unwrap()).collect()
    }

    /// All fetches.
    pub(crate) async fn fetches(&self) -> Vec<MediaFetched> {
        let stored = self.installation.stored(&EVENTS, "imchannel.event.media.*.*").await;
        stored.into_iter().map(|event| MediaFetched::decode(event.payload).unwrap()).collect()
    }

    /// The first result of a command.
    pub(crate) async fn result(&self, command_id: &str) -> SendResult {
        eventually(&format!("{command_id} has a result"), || async {
            self.results().await.into_iter().find(|result| result.command_id == command_id)
        })
        .await
    }

    /// Returns the messages with an id that customers received.
    pub(crate) fn received(&self, message_id: &str) -> usize {
        self.account.received().iter().filter(|received| received.message_id == message_id).count()
    }

    /// Why a channel's lane sends nothing, as its owner reports it.
    pub(crate) async fn halted(&self, number: usize) -> Option<String> {
        let leases = bus::inspect::leases(&self.installation.bus).await.ok()?;
        let name = lane_state::lane_lease(channel(number).as_str());
        let lease = leases.into_iter().find(|lease| lease.name == name)?;
        Some(serde_json::from_slice::<lane_state::LaneState>(&lease.value).ok()?.why())
    }

    /// Pauses or resumes a channel like the command line.
    pub(crate) async fn set_paused(&self, number: usize, paused: bool) {
        let id = channel(number).to_string();
        let stored = bus::registry::list(&self.installation.bus).await.unwrap();
        let record = stored.into_iter().find(|stored| stored.id == id).unwrap().record;
        let record = channel::Record { paused, ..record.unwrap() };
        bus::registry::put(&self.installation.bus, &record).await.unwrap();
    }
}

/// Stores the dead letter of a command, like a sender.
pub(crate) async fn store_dead_letter(
    outbound: &Outbound,
    of: &str,
    payload: &[u8],
    more: &[(headers::Name, &str)],
) -> u64 {
    let id = format!("letter-{:016x}", fastrand::u64(..));
    let headers = || {
        let headers = Headers::new()
            .with(headers::MESSAGE_ID, &id)
            .with(headers::REASON_KIND, "no_channel")
            .with(headers::ORIGIN, "COMMANDS/999/0")
            .with(headers::PART, "body");
        more.iter().fold(headers, |headers, (name, value)| headers.with(name.clone(), value))
    };
    let subject = Subject::DeadLetter(Origin::Command, ChannelId::parse(of).ok());
    let payload = payload.to_vec().into();
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    outbound.installation.bus.store(&subject, headers, &payload, deadline).await.unwrap().sequence()
}

/// A text to one customer.
pub(crate) fn text(number: usize, command_id: &str, recipient: &str, body: &str) -> SendCommand {
    SendCommand {
        command_id: command_id.to_owned(),
        channel_id: channel(number).to_string(),
        recipient: recipient.to_owned(),
        content: Some(send_command::Content::Text(OutboundText {
            body: body.to_owned(),
            preview_url: false,
        })),
        ..SendCommand::default()
    }
}

pub(crate) fn outcome(result: &SendResult) -> SendOutcome {
    result.outcome()
}

/// The value of a metric for one outcome, over all BSPs.
pub(crate) fn counted(metrics: &str, name: &str, outcome: &str) -> u64 {
    let outcome = format!("outcome=\"{outcome}\"");
    let lines = metrics.lines().filter(|line| line.contains(name) && line.contains(&outcome));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn shown(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

impl RunningSender {
    /// Text of its metrics.
    pub(crate) fn metrics(&self) -> String {
        shown(&self.registry)
    }

    /// Stops it like a signal does, and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

impl RunningMedia {
    /// Text of its metrics.
    pub(crate) fn metrics(&self) -> String {
        shown(&self.registry)
    }

    /// Stops it like a signal does, and waits for its end.
    pub(crate) async fn stop(self) {
        self.context.stop.cancel();
        self.task.await.unwrap();
    }
}
