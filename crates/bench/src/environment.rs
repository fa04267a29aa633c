//! The environment of a measurement: servers on a new folder, streams and a channel, and the programs as processes.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bsp::SettingsContext;
use bus::streams::StreamSettings;
use bus::{Bus, BusOptions, provision};
use channel::CredentialKey;
use servers::{NatsOptions, NatsServer, RedisServer};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::baseline;
use crate::bench_channel::{CHANNEL, PASSWORD};
use crate::body::Bodies;
use crate::client::{Connection, Target};
use crate::cpu_time;
use crate::cpus::Layout;

/// Credential key of the measured programs.
const KEY: &str = "0123456789abcdef0123456789abcdef";
/// Timeout of the start of a program, until it first responds.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Room in WEBHOOKS and in EVENTS for a webhook of the bench. A stream with that room is less than half full, so that nothing is
/// purged or refused while it is measured.
const WEBHOOK_ROOM_BYTES: u64 = 1_500;

/// Starts a NATS server with the streams of imchannel and of the baseline programs.
pub(crate) struct Environment {
    pub(crate) nats: NatsServer,
    /// The other servers of a cluster.
    _others: Vec<NatsServer>,
    pub(crate) bus: Bus,
    folder: TempDir,
    layout: Layout,
}

/// A receiver in another language.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) name: &'static str,
    pub(crate) command: PathBuf,
    /// File that the command runs; `None` for a program.
    pub(crate) script: Option<&'static str>,
    pub(crate) folder: PathBuf,
}

/// As in deploy/nats/nats.conf, which gives the reason.
const NO_CACHE: &str = "disable_sublist_cache: true\n";

impl Environment {
    pub(crate) async fn start(layout: Layout) -> anyhow::Result<Self> {
        let folder = new_folder()?;
        let options = NatsOptions::open(folder.path().join("nats"));
        Self::with(vec![options], folder, layout, StreamSettings::default()).await
    }

    /// The same with room for this number of webhooks and their events.
    pub(crate) async fn start_for(layout: Layout, webhooks: u64) -> anyhow::Result<Self> {
        let folder = new_folder()?;
        let options = NatsOptions::open(folder.path().join("nats"));
        let (room, by_default) = (webhooks * WEBHOOK_ROOM_BYTES, StreamSettings::default());
        let settings = StreamSettings {
            webhooks_max_bytes: by_default.webhooks_max_bytes.max(room),
            events_max_bytes: by_default.events_max_bytes.max(room),
            ..by_default
        };
        Self::with(vec![options], folder, layout, settings).await
    }

    /// The same with a server that syncs every message before its ack, as in compose. It needs version 2.10 or later.
    pub(crate) async fn start_synced(layout: Layout) -> anyhow::Result<Self> {
        let folder = new_folder()?;
        let (config, store) = (folder.path().join("nats.conf"), folder.path().join("nats"));
        let text = format!(
            "{NO_CACHE}jetstream {{ store_dir: {:?}, sync_interval: always }}\n",
            store.join("jetstream")
        );
        std::fs::write(&config, text)?;
        let options = NatsOptions { config: Some(config), ..NatsOptions::open(store) };
        Self::with(vec![options], folder, layout, StreamSettings::default()).await
    }

    /// The same with three servers. Each stream has a copy on every one.
    pub(crate) async fn start_three_synced(layout: Layout) -> anyhow::Result<Self> {
        let folder = new_folder()?;
        let routes = [free_address()?, free_address()?, free_address()?];
        let urls = routes.map(|route| format!("nats://{route}")).join(", ");
        let mut all = Vec::new();
        for (number, route) in routes.into_iter().enumerate() {
            let home = folder.path().join(format!("nats-{number}"));
            std::fs::create_dir_all(&home)?;
            let config = home.join("nats.conf");
            let text = format!(
                "server_name: n{number}\n{NO_CACHE}jetstream {{ store_dir: {:?}, sync_interval: always }}\ncluster {{ name: bench, \
                 listen: \"{route}\", routes: [{urls}] }}\n",
                home.join("jetstream")
            );
            std::fs::write(&config, text)?;
            all.push(NatsOptions { config: Some(config), ..NatsOptions::open(home) });
        }
        Self::with(all, folder, layout, StreamSettings::default()).await
    }

    /// Starts these servers, and applies streams and channels, with as many replicas as there are servers.
    async fn with(
        all: Vec<NatsOptions>,
        folder: TempDir,
        layout: Layout,
        settings: StreamSettings,
    ) -> anyhow::Result<Self> {
        let settings = StreamSettings { replicas: all.len(), ..settings };
        let mut started = Vec::new();
        {
            let _pinned = layout.servers.pin_thread();
            for options in all {
                started.push(NatsServer::start(options).await?);
            }
        }
        let nats = started.remove(0);
        let bus = Bus::connect_now(&BusOptions::new("bench", nats.url())).await?;
        applied(&bus, &settings).await?;
        baseline::make_streams(&nats.url()).await?;
        let key = CredentialKey::new(KEY.as_bytes())?;
        let file = format!(
            "[[channel]]\nid = \"{CHANNEL}\"\nbsp = \"infobip\"\ntenant = \"bench\"\nwebhook = [{{ password = \
             \"{PASSWORD}\" }}]\n[channel.infobip]\nbase_url = \"https://x.api.infobip.com\"\napi_key = \
             \"env:INFOBIP_API_KEY\"\nscenario_key = \"A\"\nsends_per_second = 80\n"
        );
        let channels = channel::file::parse(&file, &SettingsContext::default());
        for channel in channels.map_err(|faults| anyhow::anyhow!("{faults:?}"))? {
            bus::command_consumers::apply(&bus, channel.id()).await?;
            bus::registry::put(&bus, &channel.to_record(&key)).await?;
        }
        Ok(Self { nats, _others: started, bus, folder, layout })
    }

    /// Folder of its servers' data.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a Redis server in a folder of its own.
    pub(crate) async fn redis(&self) -> anyhow::Result<RedisServer> {
        let _pinned = self.layout.servers.pin_thread();
        Ok(RedisServer::start(self.folder().join("redis")).await?)
    }

    /// Starts a program of the workspace, with its log in a file like a container's.
    pub(crate) fn program(&self, name: &str, variables: &[(&str, &str)]) -> anyhow::Result<Program> {
        let path = std::env::current_exe()?.with_file_name(name);
        let mut command = Command::new(path);
        command
            .env_clear()
            .env("IMCHANNEL_NATS_URL", self.nats.url())
            .env("IMCHANNEL_CREDENTIAL_KEY", KEY)
            .env("IMCHANNEL_ADMIN_LISTEN", "127.0.0.1:0")
            .envs(variables.iter().copied());
        self.start_program(command, name)
    }

    /// Starts one of the baseline programs.
    pub(crate) fn baseline(&self, args: &[&str]) -> anyhow::Result<Program> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(args).args(["--nats-url", &self.nats.url()]);
        self.start_program(command, "baseline")
    }

    /// Starts a receiver in another language.
    pub(crate) fn other(&self, receiver: &Receiver, port: u16) -> anyhow::Result<Program> {
        let mut process = Command::new(&receiver.command);
        process
            .args(receiver.script)
            .current_dir(&receiver.folder)
            .env("NATS_URL", self.nats.url())
            .env("PORT", port.to_string())
            .env("CHANNEL", CHANNEL)
            .env("PASSWORD", PASSWORD);
        self.start_program(process, receiver.name)
    }

    fn start_program(&self, mut command: Command, name: &str) -> anyhow::Result<Program> {
        let log = std::fs::File::create(self.folder.path().join(format!("{name}.log")))?;
        let command = command.stdin(Stdio::null()).stdout(log).kill_on_drop(true);
        let _pinned = self.layout.measured.pin_thread();
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Program { child, name: name.to_owned() })
    }
}

/// Applies the streams, as soon as a cluster has found its leader.
async fn applied(bus: &Bus, settings: &StreamSettings) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + START_LIMIT;
    loop {
        match provision::apply(bus, settings).await {
            Err(_) if settings.replicas > 1 && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            applied => return Ok(applied?),
        }
    }
}

/// On the disk of the project, because a temporary folder may be in memory.
pub(crate) fn new_folder() -> anyhow::Result<TempDir> {
    Ok(TempDir::new_in(std::env::current_exe()?.parent().context("no folder")?)?)
}

/// A running program; it is killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    name: String,
}

impl Program {
    /// Returns its peak memory in MiB; `None` if the system does not report it.
    pub(crate) fn peak_mib(&self) -> Option<f64> {
        self.memory_mib("VmHWM:")
    }

    /// Returns its memory at present in MiB; `None` if the system does not report it.
    pub(crate) fn resident_mib(&self) -> Option<f64> {
        self.memory_mib("VmRSS:")
    }

    fn memory_mib(&self, name: &str) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
    }

    /// Returns the CPU time that it has used.
    pub(crate) fn cpu_time(&self) -> Duration {
        self.child.id().map_or(Duration::ZERO, cpu_time::of_process)
    }

    /// Fails if it has exited.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended: {status}", self.name),
            None => Ok(()),
        }
    }

    /// Stops it and waits for its end.
    pub(crate) async fn end(mut self) {
        let _ = self.child.kill().await;
    }

    /// Waits until it answers 200.
    pub(crate) async fn until_it_serves(&mut self, target: &Target) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + START_LIMIT;
        let bodies = Bodies::new();
        loop {
            if let Ok(mut connection) = Connection::open(target).await {
                let mut body = Vec::new();
                bodies.write(bodies.next_number(), &mut body);
                if connection.post(&body).await.is_ok_and(|status| status == 200) {
                    return Ok(());
                }
            }
            self.check()?;
            if tokio::time::Instant::now() > deadline {
                bail!("{} does not respond", self.name);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Returns a port that is free at this moment.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
