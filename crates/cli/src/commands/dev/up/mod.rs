//! `imchannel up`: the whole gateway in one process, for trying it out and for small installations.

mod feed;
mod banner;
mod plan;
mod progress;
mod screen;
mod servers;
mod simulation;
mod view;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::servers::NatsServer;
use anyhow::{Context as _, bail};
use blob::{BlobStore, RedisOptions};
use bus::{Bus, BusOptions};
use channel::Record;
use clap::Args;
use prometheus_client::registry::Registry;
use service::process::{self, AdminState};
use service::{Readiness, ServiceContext, SpanTracer};
use timeline::admin::urls::AdminUrls;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::commands::channel::ApplyOptions;
use crate::commands::dev::up::banner::Greeting;
use crate::commands::dev::up::plan::Plan;
pub(crate) use crate::commands::dev::up::plan::settings;
use crate::commands::dev::up::progress::Progress;
use crate::commands::dev::up::screen::Screen;
use crate::commands::dev::up::servers::Servers;
use crate::commands::dev::up::simulation::Account;
use crate::commands::dev::up::view::View;
use crate::commands::streams::Sizes;
use crate::commands::{channel as channels, setup, streams};
use crate::duration;
use crate::exit::Exit;
use crate::output::{BAD, Out, styled, text};
use crate::target::{self, Target};
use crate::words::causes;

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Address on which ingress takes webhooks.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    ingress: SocketAddr,
    /// Address on which media takes and serves the files of messages.
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDR")]
    media: SocketAddr,
    /// Address of /live, /ready and /metrics.
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDR")]
    admin: SocketAddr,
    /// Address of the console: what happened to each message [default: 127.0.0.1:8082, or any free port if that is taken].
    #[arg(long, value_name = "ADDR")]
    console: Option<SocketAddr>,
    /// URL of Redis [default: start a server].
    #[arg(long, env = "IMCHANNEL_REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis_url: Option<String>,
    /// Channels file to apply before the ports open.
    #[arg(long, value_name = "FILE")]
    channels: Option<PathBuf>,
    /// Folder for the data of the servers and the credential key.
    #[arg(long, default_value = target::DATA_FOLDER_DEFAULT, value_name = "DIR")]
    data_dir: PathBuf,
    /// Do not show events.
    #[arg(long)]
    quiet: bool,
    /// Show log lines on a terminal too; without it only errors are shown. If standard output is not a terminal, log lines are
    /// always written.
    #[arg(long)]
    log: bool,
    /// Run simulated BSPs that post to the channels of the file and accept what is sent through them.
    #[arg(long, requires = "channels")]
    simulate: bool,
    /// Webhooks per second that the simulated BSPs post.
    #[arg(long, default_value = "1", value_name = "N", requires = "simulate", value_parser = duration::rate)]
    simulate_rate: f64,
    #[command(flatten, next_help_heading = "Streams")]
    sizes: Sizes,
}

pub(crate) async fn run(
    command: Up,
    target: &Target,
    matches: &clap::ArgMatches,
    out: &Out,
) -> anyhow::Result<Exit> {
    let folder = &command.data_dir;
    std::fs::create_dir_all(folder).with_context(|| {
        format!("cannot use the folder {}; --data-dir names another one", folder.display())
    })?;
    if command.simulate && target.nats_url.is_some() {
        return Ok(out.faulty(
            "--simulate turns channels to a simulated account: not on an installation given by --nats-url",
        ));
    }
    let Some(plan) = plan::plan(&command, target, matches, out)? else { return Ok(Exit::InvalidInput) };
    let _lock = plan::lock(folder)?;
    // The ports come first: a second gateway fails here, before it has started or changed anything.
    let ports = Ports {
        ingress: listen(command.ingress, "webhooks", "--ingress").await?,
        media: listen(command.media, "files", "--media").await?,
        admin: listen(command.admin, "probes and metrics", "--admin").await?,
        console: listen_console(command.console).await?,
    };
    let urls = [
        UrlFile::write(folder, target::ADMIN_URL_FILE, ports.admin.local_addr()?)?,
        UrlFile::write(folder, target::MEDIA_URL_FILE, ports.media.local_addr()?)?,
        UrlFile::write(folder, target::CONSOLE_URL_FILE, ports.console.local_addr()?)?,
    ];
    let view = View::of(out);
    let level = view.log_level(command.log, plan.process.log.level);
    let log = service::log::start(plan.process.log.format, level)?;
    let stop = process::stop_on_signal()?;
    out.non_fatal();
    process::install_panic_hook();

    let screen = Screen { view, progress: Progress::start(view, *out), out: *out };
    let mut servers = Servers::start(&command, target, &screen.progress).await?;
    // On the heap: all services are in it.
    let outcome = Box::pin(serve(&command, plan, &mut servers, ports, stop, &screen)).await;
    servers.stop().await;
    drop(urls);
    outcome?;
    // The last line, after those that the log still has.
    drop(log);
    out.print(&format!("stopped; the data stays in {}", folder.display()));
    Ok(Exit::Ok)
}

/// Says in the data folder where a port is, for other commands in this folder, as long as it is open.
struct UrlFile(PathBuf);

impl UrlFile {
    fn write(folder: &Path, file: &str, address: SocketAddr) -> anyhow::Result<Self> {
        let path = folder.join(file);
        std::fs::write(&path, format!("http://{address}"))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for UrlFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The gateway's open ports.
struct Ports {
    ingress: TcpListener,
    media: TcpListener,
    admin: TcpListener,
    console: TcpListener,
}

/// Puts streams and channels in place and runs the services until the stop.
async fn serve(
    command: &Up,
    plan: Plan,
    servers: &mut Servers,
    ports: Ports,
    stop: CancellationToken,
    screen: &Screen,
) -> anyhow::Result<()> {
    let out = &screen.out;
    let step = screen.progress.step("preparing streams");
    let options = BusOptions::new("imchannel", &servers.nats_url);
    let bus = target::connect_now(options.clone()).await?;
    streams::apply(&bus, &command.sizes.named()).await?;
    step.done("");
    let mut plan = plan;
    if plan.is_own_media_url {
        let url = format!("http://{}", ports.media.local_addr()?);
        plan.sender.media_public_url.clone_from(&url);
        plan.media.public_url = url;
    }
    plan.timeline.admin_urls = AdminUrls::of_process(ports.admin.local_addr()?);
    let mut records: Vec<Record> = plan.channels.iter().map(|channel| channel.to_record(&plan.key)).collect();
    let real_records = records.clone();
    let account = match command.simulate {
        true => Some(Account::open(command, &mut plan, &mut records, ports.ingress.local_addr()?).await?),
        false => None,
    };
    if channels::apply(&bus, &records, ApplyOptions::default(), out).await? != Exit::Ok {
        bail!("the channels were not applied");
    }
    let step = screen.progress.step("starting ingress, normalizer, sender, media and timeline");
    let greeting = Greeting {
        ingress: ports.ingress.local_addr()?,
        media: ports.media.local_addr()?,
        admin: ports.admin.local_addr()?,
        console: ports.console.local_addr()?,
        // A URL from outside may hold a password, so only our own is shown.
        nats_url: servers.nats.as_ref().map(NatsServer::url),
        channels: plan.channels.clone(),
        is_found_here: command.data_dir == Path::new(target::DATA_FOLDER_DEFAULT),
    };
    let readers = screen.open(&bus).await?;
    let redis = RedisOptions { url: servers.redis_url.clone(), ..plan.sender.redis.clone() };
    let blobs = BlobStore::new(&redis)?;
    load_functions(&blobs, &redis, out).await?;
    let account = account.map(|account| account.serve(&stop));
    let mut registry = process::registry("imchannel", version::NUMBER);
    options.register(&mut registry);
    let running = start(plan, &bus, blobs, ports, registry, &stop)?;
    running.until_ready(&stop).await;
    step.done("");
    greeting.say(screen.view, out);
    let mut tasks = if command.quiet { Vec::new() } else { screen.show(readers) };
    let simulation = command.simulate.then(|| simulate(command, &bus, greeting, &stop, *out));
    let ended = tokio::select! {
        () = stop.cancelled() => None,
        server = servers.ended() => Some(server),
    };
    stop.cancel();
    out.print("stopping: what is in progress is finished first");
    running.finish().await;
    if command.simulate {
        // The simulated account ends with this run; what the file says stays.
        channels::apply(&bus, &real_records, ApplyOptions::default(), &Out::new(false).silent()).await?;
    }
    tasks.extend([simulation, account].into_iter().flatten());
    tasks.iter().for_each(JoinHandle::abort);
    bus.flush(Duration::from_secs(1)).await;
    match ended {
        Some(server) => bail!("{server} exited unexpectedly; see its log in {}", command.data_dir.display()),
        None => Ok(()),
    }
}

/// Loads the functions that the sender calls, unless `setup` has: a user of Redis who may not load them may call them.
async fn load_functions(blobs: &BlobStore, redis: &RedisOptions, out: &Out) -> anyhow::Result<()> {
    if blobs.check_functions().await.is_ok() {
        return Ok(());
    }
    setup::load_functions(redis, Duration::ZERO, &out.silent()).await
}

/// Simulated BSPs in front of the open port.
fn simulate(
    command: &Up,
    bus: &Bus,
    greeting: Greeting,
    stop: &CancellationToken,
    out: Out,
) -> JoinHandle<()> {
    let (bus, rate, stop) = (bus.clone(), command.simulate_rate, stop.clone());
    tokio::spawn(async move {
        let running = simulation::run(bus, greeting.ingress, greeting.channels, rate, stop, out);
        if let Err(error) = running.await {
            out.print(&text!("{} {}", styled(BAD, "the simulation ended:"), causes(&error)));
        }
    })
}

/// The services in this process.
struct Running {
    context: ServiceContext,
    services: Vec<JoinHandle<()>>,
    admin: JoinHandle<()>,
    stop_admin: CancellationToken,
}

fn start(
    plan: Plan,
    bus: &Bus,
    blobs: BlobStore,
    ports: Ports,
    mut registry: Registry,
    stop: &CancellationToken,
) -> anyhow::Result<Running> {
    let settings = &plan.process;
    let context = ServiceContext {
        tracer: SpanTracer::of_setting(settings.otlp_endpoint.as_deref(), "imchannel")?,
        payloads: settings.log.payloads,
        grace: settings.grace,
        ..ServiceContext::new(bus.clone(), stop.clone())
    };
    let ingress = ingress::run(plan.ingress, context.clone(), ports.ingress, &mut registry);
    let normalizer = normalizer::run(plan.normalizer, context.clone(), &mut registry);
    let sender = sender::run(plan.sender, context.clone(), blobs.clone(), &mut registry);
    let media = media::run(plan.media, context.clone(), blobs, ports.media, &mut registry);
    // Its state says nothing about the path of messages, so this process is ready without it.
    let observer = ServiceContext { readiness: Readiness::default(), ..context.clone() };
    let timeline = timeline::run(plan.timeline, observer, ports.console, &mut registry);
    let services = vec![
        tokio::spawn(tell_end("ingress", ingress)),
        tokio::spawn(normalizer),
        tokio::spawn(tell_end("the sender", sender)),
        tokio::spawn(tell_end("media", media)),
        tokio::spawn(tell_end("the timeline", timeline)),
    ];
    let stop_admin = CancellationToken::new();
    let state = AdminState { readiness: context.readiness.clone(), stopping: context.stop.clone(), registry };
    let admin = process::serve_admin(ports.admin, state, stop_admin.clone());
    Ok(Running { context, services, admin: tokio::spawn(admin), stop_admin })
}

async fn tell_end(name: &'static str, service: impl Future<Output = anyhow::Result<()>>) {
    if let Err(error) = service.await {
        tracing::error!(function = "process", "{name} ended: {}", causes(&error));
    }
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
        let _ = tokio::task::spawn_blocking(move || self.context.tracer.shutdown()).await;
    }
}

async fn listen(address: SocketAddr, what: &str, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address} for {what}; {option} names another address (port 0: any free port)"
        )
    })
}

/// Address of the console if none is given.
const CONSOLE_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8082);

/// Opens the console's port: the given one, or the default one, or any free one.
async fn listen_console(given: Option<SocketAddr>) -> anyhow::Result<TcpListener> {
    if let Some(address) = given {
        return listen(address, "the console", "--console").await;
    }
    match TcpListener::bind(CONSOLE_DEFAULT).await {
        Ok(listener) => Ok(listener),
        Err(_) => listen(SocketAddr::new(CONSOLE_DEFAULT.ip(), 0), "the console", "--console").await,
    }
}
