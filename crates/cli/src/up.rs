//! `imchannel up`: the whole gateway in one process, for trying it out and for small installations.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bsp::SettingsContext;
use bus::read::{self, From};
use bus::streams::EVENTS;
use bus::{Bus, EventKind, Subject, provision};
use channel::file::Described;
use channel::{CredentialKey, Record};
use clap::Args;
use prometheus_client::registry::Registry;
use servers::{NatsServer, RedisServer};
use service::common::{self, Common};
use service::{Context, Reader, Setting, process};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::channel::How;
use crate::out::{DIM, GOOD, Out, STRONG, styled};
use crate::streams::Sizes;
use crate::target::{self, Target};
use crate::{Done, channel as channels, tail};

/// The port that every NATS client tries first; taken when it is free.
const NATS_PORT: u16 = 4222;
/// Channels may send to these when the whole gateway is on one machine.
const LOOPBACK_HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "::1"];

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Address on which webhooks are taken.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    ingress: SocketAddr,
    /// Address of /live, /ready and /metrics.
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDR")]
    admin: SocketAddr,
    /// Where Redis is [default: a server of its own].
    #[arg(long, env = "IMCHANNEL_REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis_url: Option<String>,
    /// Channels file to apply before the ports open.
    #[arg(long, value_name = "FILE")]
    channels: Option<PathBuf>,
    /// Folder of the servers' data and of the credential key.
    #[arg(long, default_value = target::DATA_FOLDER_DEFAULT, value_name = "DIR")]
    data_dir: PathBuf,
    /// Do not show the events that come out.
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    sizes: Sizes,
}

/// The settings that `up` passes on to the services; what it decides itself is not among them.
pub(crate) fn settings() -> Vec<&'static Setting> {
    let decided = [
        common::NATS_URL.flag,
        common::ADMIN_LISTEN.flag,
        ingress::settings::LISTEN.flag,
        ingress::settings::CREDENTIAL_KEY.flag,
    ];
    let mut all = ingress::settings::all();
    all.extend(normalizer::settings::all());
    let mut seen = Vec::new();
    all.retain(|setting| {
        let is_new = !seen.contains(&setting.flag);
        seen.push(setting.flag);
        is_new && !decided.contains(&setting.flag)
    });
    all
}

/// Everything that `up` was told, read and checked before anything starts.
struct Plan {
    common: Common,
    ingress: ingress::Settings,
    normalizer: normalizer::Settings,
    key: CredentialKey,
    channels: Vec<Described>,
}

pub(crate) async fn run(
    command: Up,
    target: &Target,
    matches: &clap::ArgMatches,
    out: &Out,
) -> anyhow::Result<Done> {
    let folder = &command.data_dir;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot use the folder {}", folder.display()))?;
    let Some(plan) = plan(&command, target, matches, out)? else { return Ok(Done::Faulty) };
    let _lock = lock(folder)?;
    // The ports come first: a second gateway fails here, before it has started or changed anything.
    let ports = Ports {
        ingress: listen(command.ingress, "webhooks").await?,
        admin: listen(command.admin, "probes and metrics").await?,
    };
    let _log = service::log::start(plan.common.log_format, plan.common.log_level)?;
    let stop = process::stop_on_signal()?;
    out.keep_going();
    process::hide_panic_messages();

    let mut servers = Servers::start(&command, target).await?;
    let outcome = serve(&command, plan, &mut servers, ports, stop, out).await;
    servers.stop().await;
    outcome?;
    Ok(Done::Well)
}

/// The gateway's open ports.
struct Ports {
    ingress: TcpListener,
    admin: TcpListener,
}

/// The servers that `up` runs, where it was not given others.
struct Servers {
    nats_url: String,
    url_file: PathBuf,
    nats: Option<NatsServer>,
    redis: Option<RedisServer>,
}

impl Servers {
    async fn start(command: &Up, target: &Target) -> anyhow::Result<Self> {
        let nats = match &target.nats_url {
            Some(_) => None,
            None => Some(NatsServer::start_near(command.data_dir.join("nats"), NATS_PORT).await?),
        };
        let redis = match &command.redis_url {
            Some(_) => None,
            None => Some(RedisServer::start(command.data_dir.join("redis")).await?),
        };
        let nats_url =
            nats.as_ref().map(NatsServer::url).or_else(|| target.nats_url.clone()).unwrap_or_default();
        let url_file = command.data_dir.join(target::NATS_URL_FILE);
        if nats.is_some() {
            std::fs::write(&url_file, &nats_url)
                .with_context(|| format!("cannot write {}", url_file.display()))?;
        }
        Ok(Self { nats_url, url_file, nats, redis })
    }

    /// Waits until one of them ends, which none should.
    async fn ended(&mut self) -> &'static str {
        let nats = async {
            match &mut self.nats {
                Some(server) => server.ended().await,
                None => std::future::pending().await,
            }
        };
        let redis = async {
            match &mut self.redis {
                Some(server) => server.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = nats => "nats-server",
            () = redis => "redis-server",
        }
    }

    async fn stop(&mut self) {
        if let Some(server) = &mut self.redis {
            server.stop().await;
        }
        if let Some(server) = &mut self.nats {
            let _ = std::fs::remove_file(&self.url_file);
            server.stop().await;
        }
    }
}

/// Two gateways on one data folder would run two servers on the same streams.
fn lock(folder: &Path) -> anyhow::Result<std::fs::File> {
    let path = folder.join("lock");
    let file = std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    file.try_lock()
        .map_err(|_| anyhow::anyhow!("another `imchannel up` uses the folder {}", folder.display()))?;
    Ok(file)
}

/// Reads settings and channels; `None` when something cannot be used, which is printed.
fn plan(
    command: &Up,
    target: &Target,
    matches: &clap::ArgMatches,
    out: &Out,
) -> anyhow::Result<Option<Plan>> {
    let key_text = match (&target.credential_key, &target.nats_url) {
        (Some(key), _) => key.clone(),
        (None, None) => own_key(&command.data_dir)?,
        (None, Some(_)) => {
            out.faulty("with --nats-url, give that installation's IMCHANNEL_CREDENTIAL_KEY too");
            return Ok(None);
        }
    };
    let mut reader = Reader::from_matches(matches, &settings());
    reader.provide(&common::ADMIN_LISTEN, command.admin.to_string());
    reader.provide(&ingress::settings::LISTEN, command.ingress.to_string());
    reader.provide(&ingress::settings::CREDENTIAL_KEY, key_text);
    if out.is_json() {
        reader.provide(&common::LOG_FORMAT, "json");
    }
    let common = Common::read(&mut reader);
    let ingress = ingress::Settings::read(&mut reader);
    let normalizer = normalizer::Settings::read(&mut reader);
    let read = reader.finish(|| Some((common?, ingress?, normalizer?)));
    let (common, ingress, normalizer) = match read {
        Ok(read) => read,
        Err(faults) => {
            process::print_faults("imchannel up", &faults);
            return Ok(None);
        }
    };
    let mut context = SettingsContext { extra_hosts: target.infobip_hosts.clone() };
    context.extra_hosts.extend(LOOPBACK_HOSTS.map(str::to_owned));
    let channels = match &command.channels {
        Some(file) => channels::read_file(file, &context, out)?,
        None => Some(Vec::new()),
    };
    let key = ingress.credential_key.clone();
    Ok(channels.map(|channels| Plan { common, ingress, normalizer, key, channels }))
}

/// The key in the data folder, made at the first start.
fn own_key(folder: &Path) -> anyhow::Result<String> {
    let path = folder.join("credential.key");
    if let Ok(key) = std::fs::read_to_string(&path) {
        return Ok(key.trim().to_owned());
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    let key = hex::encode(bytes);
    write_private(&path, &key).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(key)
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Puts streams and channels in place and runs the services until the stop.
async fn serve(
    command: &Up,
    plan: Plan,
    servers: &mut Servers,
    ports: Ports,
    stop: CancellationToken,
    out: &Out,
) -> anyhow::Result<()> {
    let bus = target::connect(&servers.nats_url).await?;
    provision::apply(&bus, &command.sizes.to_settings()).await?;
    let records: Vec<Record> = plan.channels.iter().map(|channel| channel.to_record(&plan.key)).collect();
    if channels::apply(&bus, &records, How::default(), out).await? != Done::Well {
        bail!("the channels were not applied");
    }
    let greeting = Greeting {
        ingress: ports.ingress.local_addr()?,
        admin: ports.admin.local_addr()?,
        // A URL from outside may hold a password, so only our own is shown.
        nats_url: servers.nats.as_ref().map(NatsServer::url),
        channels: plan.channels.clone(),
    };
    let events = read::follow(&bus, &EVENTS, "imchannel.event.>".to_owned(), From::Now).await?;
    let running = start(plan, &bus, ports, &stop)?;
    running.until_ready(&stop).await;
    greeting.say(out);
    let shower = (!command.quiet).then(|| tokio::spawn(show_events(events, *out)));
    let ended = tokio::select! {
        () = stop.cancelled() => None,
        server = servers.ended() => Some(server),
    };
    stop.cancel();
    out.say("stopping");
    running.finish().await;
    if let Some(shower) = shower {
        shower.abort();
    }
    bus.flush(Duration::from_secs(1)).await;
    match ended {
        Some(server) => bail!("{server} ended by itself; its log lies in {}", command.data_dir.display()),
        None => Ok(()),
    }
}

/// The services in this process.
struct Running {
    context: Context,
    services: Vec<JoinHandle<()>>,
    admin: JoinHandle<()>,
    stop_admin: CancellationToken,
}

fn start(plan: Plan, bus: &Bus, ports: Ports, stop: &CancellationToken) -> anyhow::Result<Running> {
    let mut context = Context::new(stop.clone());
    if let Some(endpoint) = &plan.common.otlp_endpoint {
        context.tracing = service::Tracing::to_endpoint(endpoint, "imchannel")?;
    }
    let mut registry = Registry::with_prefix("imchannel");
    let (grace, payloads) = (plan.common.grace, plan.common.log_payloads);
    let ingress =
        ingress::run(plan.ingress, bus.clone(), ports.ingress, context.clone(), &mut registry, grace);
    let normalizer =
        normalizer::run(plan.normalizer, bus.clone(), context.clone(), &mut registry, payloads, grace);
    let services = vec![tokio::spawn(ingress), tokio::spawn(normalizer)];
    let stop_admin = CancellationToken::new();
    let admin = process::serve_admin(ports.admin, context.clone(), registry, stop_admin.clone());
    Ok(Running { context, services, admin: tokio::spawn(admin), stop_admin })
}

impl Running {
    async fn until_ready(&self, stop: &CancellationToken) {
        while !self.context.readiness.is_ready() && !stop.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for the services, and ends the admin port after them.
    async fn finish(self) {
        for service in self.services {
            let _ = service.await;
        }
        self.stop_admin.cancel();
        let _ = self.admin.await;
        let _ = tokio::task::spawn_blocking(move || self.context.tracing.shutdown()).await;
    }
}

async fn listen(address: SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} for {what}"))
}

/// What a newcomer needs to know.
struct Greeting {
    ingress: SocketAddr,
    admin: SocketAddr,
    nats_url: Option<String>,
    channels: Vec<Described>,
}

impl Greeting {
    /// Says where to post and how to look.
    fn say(&self, out: &Out) {
        let Self { ingress, admin, nats_url, channels } = self;
        let url = |channel: &Described| {
            format!(
                "http://{ingress}/social/on/whatsapp/{}/report/{}",
                channel.bsp().profile().id,
                channel.id()
            )
        };
        let urls: Vec<_> = channels.iter().map(url).collect();
        out.object(&serde_json::json!({
            "ingress": ingress.to_string(), "admin": admin.to_string(), "nats_url": nats_url, "urls": urls,
        }));
        out.say(&format!("\n{} imchannel takes webhooks on http://{ingress}", styled(GOOD, "ready:")));
        if channels.is_empty() {
            out.say(
                "No channels file was given; `imchannel channel list` shows the channels that are stored.",
            );
        } else {
            out.say(&styled(STRONG, "Post to (reports and messages alike)"));
        }
        for (channel, url) in channels.iter().zip(&urls) {
            out.say(&format!("  {url}\n      with {}", styled(DIM, channel.bsp().profile().credential_hint)));
        }
        let program =
            std::env::current_exe().map_or_else(|_| "imchannel".into(), |path| path.display().to_string());
        out.say(&styled(STRONG, "Look (or messages, webhooks, deadletters)"));
        let option = nats_url.as_ref().map(|url| format!("--nats-url {url} ")).unwrap_or_default();
        out.say(&format!("  {program} {option}tail reports --from-start"));
        out.say(&format!("  curl http://{admin}/ready    curl http://{admin}/metrics"));
        out.say("Log lines and the events that come out follow. Ctrl-C stops everything.\n");
    }
}

/// Prints every event that comes out, masked.
async fn show_events(mut events: read::Messages, out: Out) {
    while let Some(event) = events.next().await {
        let Ok(event) = event else { continue };
        let (object, line) = match event.delivery.address() {
            Some(Subject::Event(EventKind::Report, ..)) => tail::report(&event.delivery, false),
            Some(Subject::Event(EventKind::Message, ..)) => tail::message(&event.delivery, false),
            _ => continue,
        };
        out.object(&object);
        out.say(&line);
    }
}
