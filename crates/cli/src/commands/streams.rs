//! `imchannel streams`: creates, checks and repairs streams, durables and buckets.

use std::time::Duration;

use bsp::ChannelId;
use bus::provision::{self, Difference, ProvisionError, Scope};
use bus::streams::{BUCKETS, DURABLES, NamedSettings, STREAMS};
use bus::{Bus, command_consumers, registry};
use clap::{Args, Subcommand};
use service::units;

use crate::doctor;
use crate::duration;
use crate::exit::Exit;
use crate::output::{GOOD, Out, styled, text};
use crate::repair;
use crate::target::Target;
use crate::words::bytes;

#[derive(Debug, Subcommand)]
pub(crate) enum Streams {
    /// Create the streams, durables and buckets, or change them to their definitions. Sizes and replicas that are not
    /// named stay unchanged. Safe to repeat.
    Apply {
        #[command(flatten)]
        sizes: Sizes,
        #[command(flatten)]
        monitors: Monitors,
    },
    /// Compare the server with the definitions, and with the given sizes and replicas; exit code 3 if they differ.
    Check(Sizes),
    /// Repair streams after a server has lost their sequences (a full disk): create the durables of a stream again from
    /// its first message on, and ask whether to continue sending if the ledger of sends is affected.
    Repair {
        /// Continue sending without asking.
        #[arg(long)]
        yes: bool,
        /// Repair this stream although its sequence looks right: one that /ready of a service names.
        #[arg(long = "stream", value_name = "NAME")]
        streams: Vec<String>,
    },
}

/// Settings of an installation. What is not given stays unchanged; the defaults are for new streams.
#[derive(Debug, Clone, Args)]
pub(crate) struct Sizes {
    /// Replicas of every stream and bucket [default: unchanged, 1 for new ones].
    #[arg(long, env = "IMCHANNEL_REPLICAS", value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: Option<u8>,
    /// Time for which a repeated message id is recognized, such as 40s [default: unchanged, 40s at first].
    #[arg(long, env = "IMCHANNEL_DUPLICATE_WINDOW", value_name = "SPAN", value_parser = duplicate_window)]
    duplicate_window: Option<Duration>,
    /// Largest size of stream WEBHOOKS, such as 4GiB [default: unchanged, 4GiB at first].
    #[arg(long, env = "IMCHANNEL_WEBHOOKS_MAX_SIZE", value_name = "SIZE", value_parser = size)]
    webhooks_max_size: Option<u64>,
    /// Largest size of stream EVENTS [default: unchanged, 4GiB at first].
    #[arg(long, env = "IMCHANNEL_EVENTS_MAX_SIZE", value_name = "SIZE", value_parser = size)]
    events_max_size: Option<u64>,
    /// Largest size of stream COMMANDS [default: unchanged, 1GiB at first].
    #[arg(long, env = "IMCHANNEL_COMMANDS_MAX_SIZE", value_name = "SIZE", value_parser = size)]
    commands_max_size: Option<u64>,
    /// Largest size of stream DEADLETTERS [default: unchanged, 512MiB at first].
    #[arg(long, env = "IMCHANNEL_DEADLETTERS_MAX_SIZE", value_name = "SIZE", value_parser = size)]
    deadletters_max_size: Option<u64>,
    /// Largest size of the ledger of sends, 430 bytes and more a send for 26 hours [default: unchanged, 2GiB at first].
    #[arg(long, env = "IMCHANNEL_SENDS_MAX_SIZE", value_name = "SIZE", value_parser = size)]
    sends_max_size: Option<u64>,
}

/// Reads the duplicate window, which the server holds in memory: an hour at most.
fn duplicate_window(text: &str) -> Result<Duration, String> {
    let window = duration::span(text).map_err(|error| error.to_string())?;
    let range = Duration::from_millis(100)..=Duration::from_secs(3600);
    range.contains(&window).then_some(window).ok_or_else(|| "must be a duration from 100ms to 1h".to_owned())
}

/// Reads a size. A stream of 0 bytes would have no limit.
fn size(text: &str) -> Result<u64, String> {
    match units::parse_size(text) {
        Ok(0) => Err("must be at least 1B".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

impl Sizes {
    pub(crate) fn named(&self) -> NamedSettings {
        NamedSettings {
            replicas: self.replicas.map(usize::from),
            duplicate_window: self.duplicate_window,
            webhooks_max_bytes: self.webhooks_max_size,
            events_max_bytes: self.events_max_size,
            commands_max_bytes: self.commands_max_size,
            deadletters_max_bytes: self.deadletters_max_size,
            sends_max_bytes: self.sends_max_size,
        }
    }
}

/// Where to read the storage limit of a server.
#[derive(Debug, Args)]
pub(crate) struct Monitors {
    /// URLs of the monitoring ports of the NATS servers, such as http://nats:8222: read when a stream does not fit.
    #[arg(long, env = "IMCHANNEL_NATS_MONITOR_URL", value_delimiter = ',', value_name = "URLS")]
    nats_monitor_url: Vec<String>,
}

impl Monitors {
    /// Adds the servers' limits to an error that says that something does not fit, if they can be read.
    pub(crate) async fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let Some(ProvisionError::NoRoom { room, .. }) = error.downcast_ref() else { return error };
        let mut text = format!("{room}");
        for url in self.nats_monitor_url.iter().filter(|url| !url.is_empty()) {
            if let Some((server, limit)) = doctor::storage_limit(url).await {
                text.push_str(&format!("; max_file_store of {server} is {}", bytes(limit)));
            }
        }
        text.push_str(
            ". Raise it in the configuration of NATS, with a larger disk if needed, or reduce another stream",
        );
        anyhow::Error::msg(text)
    }
}

pub(crate) async fn run(command: Streams, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    match command {
        Streams::Apply { sizes, monitors } => {
            let bus = target.connect().await?;
            let applied = apply_and_check(&bus, &sizes.named(), out).await;
            match applied {
                Ok(done) => Ok(done),
                Err(error) => Err(monitors.explain(error).await),
            }
        }
        Streams::Repair { yes, streams } => repair::run(&target.connect().await?, &streams, yes, out).await,
        Streams::Check(sizes) => check(&target.connect().await?, &sizes.named(), out).await,
    }
}

/// Applies everything, prints it, and checks whether the server has stored it.
pub(crate) async fn apply_and_check(bus: &Bus, named: &NamedSettings, out: &Out) -> anyhow::Result<Exit> {
    apply(bus, named).await?;
    let streams: Vec<_> = STREAMS.iter().map(|stream| stream.name).collect();
    let durables: Vec<_> = DURABLES.iter().map(|durable| durable.name).collect();
    out.print(&text!("{} streams {}", styled(GOOD, "applied"), streams.join(", ")));
    out.print(&text!("{} durables {}", styled(GOOD, "applied"), durables.join(", ")));
    let buckets: Vec<_> = BUCKETS.iter().map(|bucket| bucket.name).collect();
    out.print(&text!("{} buckets {}", styled(GOOD, "applied"), buckets.join(", ")));
    let applied = serde_json::json!({ "streams": streams, "durables": durables, "buckets": buckets });
    out.object(&serde_json::json!({ "applied": applied }));
    check(bus, named, out).await
}

/// Applies everything, including the durables of stored channels.
pub(crate) async fn apply(bus: &Bus, named: &NamedSettings) -> anyhow::Result<()> {
    provision::apply_named(bus, named).await?;
    for channel in sending(bus).await? {
        command_consumers::apply(bus, &channel).await?;
    }
    Ok(())
}

/// Checks the result, because an old server may ignore a setting that it does not support.
async fn check(bus: &Bus, named: &NamedSettings, out: &Out) -> anyhow::Result<Exit> {
    let mut differences = provision::check(bus, Scope::Settings(named)).await?;
    let is_registry_there = !differences.iter().any(Difference::is_missing);
    if is_registry_there {
        for channel in sending(bus).await? {
            differences.extend(command_consumers::check(bus, &channel).await?);
        }
    }
    if differences.is_empty() {
        out.print(&text!("{} on nats-server {}", styled(GOOD, "as defined"), bus.server_version()));
        out.object(&serde_json::json!({ "differences": 0, "nats_server": bus.server_version() }));
        return Ok(Exit::Ok);
    }
    for difference in &differences {
        let Difference { object, setting, found, wanted } = difference;
        out.object(&serde_json::json!({
            "object": object.to_string(), "setting": setting.as_str(), "found": found, "expected": wanted,
        }));
    }
    let row = |difference: Difference| {
        [difference.object.to_string(), difference.setting.to_string(), difference.found, difference.wanted]
    };
    let rows: Vec<_> = differences.into_iter().map(row).collect();
    out.table(&["Object", "Setting", "Found", "Expected"], &rows);
    Ok(Exit::Drift)
}

/// Returns the stored channels that can send: each has two durables.
async fn sending(bus: &Bus) -> anyhow::Result<Vec<ChannelId>> {
    let stored = registry::list(bus).await?;
    let channels = stored.iter().filter_map(|stored| stored.record.as_ref().ok()?.to_channel().ok());
    Ok(channels.filter(|channel| channel.bsp.sending().is_some()).map(|channel| channel.id).collect())
}
