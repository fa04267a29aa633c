//! `imchannel up`: the whole gateway in one process, for trying it out and for small installations.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use bsp::SettingsContext;
use bus::read::{self, From};
use bus::streams::{EVENTS, StreamSettings};
use bus::{Bus, EventKind, Subject, provision};
use channel::file::Described;
use channel::{CredentialKey, Record};
use clap::Args;
use futures_util::StreamExt;
use prometheus_client::registry::Registry;
use servers::{NatsOptions, NatsServer, RedisServer};
use service::common::{self, Common};
use service::{Context, Reader, Setting, process};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::out::{BAD, GOOD, Out, STRONG, styled};
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
    #[arg(long, default_value = ".imchannel", value_name = "DIR")]
    data_dir: PathBuf,
    /// Do not show the events that come out.
    #[arg(long)]
    quiet: bool,
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
    let Some(plan) = plan(&command, target, matches, out)? else {
        return Ok(Done::Faulty);
    };
    let _log = service::log::start(plan.common.log_format, plan.common.log_level)?;
    let stop = process::stop_on_signal()?;

    let mut nats = match &target.nats_url {
        Some(_) => None,
        None => Some(start_nats(folder).await?),
    };
    let mut redis = match &command.redis_url {
        Some(_) => None,
        None => Some(RedisServer::start(folder.join("redis")).await?),
    };
    let nats_url = target.nats_url.clone().or_else(|| nats.as_ref().map(NatsServer::url)).unwrap_or_default();

    let bus = target::connect(&nats_url).await?;
    provision::apply(&bus, &StreamSettings::default()).await?;
    let records: Vec<Record> = plan.channels.iter().map(|channel| channel.to_record(&plan.key)).collect();
    channels::apply(&bus, &records, false, false, out).await?;

    let outcome = serve(&command, plan, &bus, &nats_url, stop, out).await;
    if let Some(server) = &mut redis {
        server.stop().await;
    }
    if let Some(server) = &mut nats {
        server.stop().await;
    }
    outcome?;
    Ok(Done::Well)
}

/// Reads settings and channels; `None` when something cannot be used, which is printed.
fn plan(
    command: &Up,
    target: &Target,
    matches: &clap::ArgMatches,
    out: &Out,
) -> anyhow::Result<Option<Plan>> {
    let key_text = match &target.credential_key {
        Some(key) => key.clone(),
        None => own_key(&command.data_dir)?,
    };
    let mut reader = Reader::from_matches(matches, &settings());
    reader.provide(&common::ADMIN_LISTEN, command.admin.to_string());
    reader.provide(&ingress::settings::LISTEN, command.ingress.to_string());
    reader.provide(&ingress::settings::CREDENTIAL_KEY, key_text);
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

async fn start_nats(folder: &Path) -> anyhow::Result<NatsServer> {
    let is_free = TcpListener::bind(("127.0.0.1", NATS_PORT)).await.is_ok();
    let options = NatsOptions { folder: folder.join("nats"), port: is_free.then_some(NATS_PORT) };
    Ok(NatsServer::start(options).await?)
}

/// Opens the ports and runs the services until the stop.
async fn serve(
    command: &Up,
    plan: Plan,
    bus: &Bus,
    nats_url: &str,
    stop: CancellationToken,
    out: &Out,
) -> anyhow::Result<()> {
    let listener = listen(command.ingress, "webhooks").await?;
    let admin_listener = listen(command.admin, "probes and metrics").await?;
    let address = listener.local_addr()?;
    let mut context = Context::new(stop.clone());
    if let Some(endpoint) = &plan.common.otlp_endpoint {
        context.tracing = service::Tracing::to_endpoint(endpoint, "imchannel")?;
    }
    let mut registry = Registry::with_prefix("imchannel");
    let grace = plan.common.grace;
    let ingress = ingress::run(plan.ingress, bus.clone(), listener, context.clone(), &mut registry, grace);
    let normalizer = normalizer::run(
        plan.normalizer,
        bus.clone(),
        context.clone(),
        &mut registry,
        plan.common.log_payloads,
        grace,
    );
    let tracing = context.tracing.clone();
    let stop_admin = CancellationToken::new();
    let admin = tokio::spawn(process::serve_admin(admin_listener, context, registry, stop_admin.clone()));
    let ingress = tokio::spawn(ingress);
    let normalizer = tokio::spawn(normalizer);
    greet(&plan.channels, address, command.admin, nats_url, out);
    let shower = (!command.quiet).then(|| tokio::spawn(show_events(bus.clone(), *out)));

    stop.cancelled().await;
    out.say("stopping");
    let _ = tokio::join!(ingress, normalizer);
    if let Some(shower) = shower {
        shower.abort();
    }
    stop_admin.cancel();
    let _ = admin.await;
    let _ = tokio::task::spawn_blocking(move || tracing.shutdown()).await;
    bus.flush(Duration::from_secs(1)).await;
    Ok(())
}

async fn listen(address: SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} for {what}"))
}

/// Says where to post and how to look.
fn greet(channels: &[Described], ingress: SocketAddr, admin: SocketAddr, nats_url: &str, out: &Out) {
    let urls: Vec<_> = channels
        .iter()
        .map(|channel| {
            format!(
                "http://{ingress}/social/on/whatsapp/{}/report/{}",
                channel.bsp().profile().id,
                channel.id()
            )
        })
        .collect();
    out.object(&serde_json::json!({
        "ingress": ingress.to_string(), "admin": admin.to_string(), "nats_url": nats_url, "urls": urls,
    }));
    out.say(&format!("\n{} imchannel takes webhooks on http://{ingress}", styled(GOOD, "ready:")));
    if urls.is_empty() {
        out.say("No channels file was given; `imchannel channel list` shows the channels that are stored.");
    } else {
        out.say(&styled(STRONG, "Post to"));
    }
    for url in &urls {
        out.say(&format!("  {url}    (and …/message/…)"));
    }
    out.say(&styled(STRONG, "Look"));
    out.say(&format!(
        "  imchannel --nats-url {nats_url} tail reports --from-start   (or messages, webhooks, deadletters)"
    ));
    out.say(&format!("  curl http://{admin}/ready    curl http://{admin}/metrics"));
    out.say("Log lines and the events that come out follow. Ctrl-C stops everything.\n");
}

/// Prints every event that comes out, masked.
async fn show_events(bus: Bus, out: Out) {
    let events = match read::follow(&bus, &EVENTS, "imchannel.event.>".to_owned(), From::Now).await {
        Ok(events) => events,
        Err(error) => {
            out.say(&format!("{} {error}", styled(BAD, "cannot show events:")));
            return;
        }
    };
    let mut events = Box::pin(events);
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
