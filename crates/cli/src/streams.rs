//! `imchannel streams`: what the bus must hold.

use std::time::Duration;

use bsp::ChannelId;
use bus::provision::{self, Difference, ProvisionError, Scope};
use bus::streams::{BUCKETS, DURABLES, NamedSettings, STREAMS};
use bus::{Bus, lanes, registry};
use clap::{Args, Subcommand};

use crate::Done;
use crate::doctor;
use crate::out::{GOOD, Out, styled, text};
use crate::repair;
use crate::target::Target;
use crate::words::bytes;

#[derive(Debug, Subcommand)]
pub(crate) enum Streams {
    /// Make the streams, durables and buckets, or change them to what they should be. Sizes and copies that are not named stay as
    /// they are. Safe to repeat.
    Apply {
        #[command(flatten)]
        sizes: Sizes,
        #[command(flatten)]
        monitors: Monitors,
    },
    /// Compare what is there with what should be, and with the sizes and copies that are named; exit code 3 when it differs.
    Check(Sizes),
    /// After a server has forgotten how far a stream had come (a full disk): make the stream's durables again from its first
    /// message on, and ask whether sends may go on when the ledger of sends is concerned.
    Repair {
        /// Let sends go on without asking.
        #[arg(long)]
        yes: bool,
        /// Repair this one although its numbers look right: one that a service's /ready names.
        #[arg(long = "stream", value_name = "NAME")]
        streams: Vec<String>,
    },
}

/// The choices of an installation. What is not named stays as it is; the defaults are for what is not there yet.
#[derive(Debug, Clone, Args)]
pub(crate) struct Sizes {
    /// Copies of every stream and bucket [default: as it is, 1 at first].
    #[arg(long, env = "IMCHANNEL_REPLICAS", value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: Option<u8>,
    /// Time for which a repeated message id is recognized, in milliseconds [default: unchanged, 40000 at first].
    #[arg(long, env = "IMCHANNEL_DUPLICATE_WINDOW", value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    duplicate_window_ms: Option<u64>,
    /// Bytes that stream WEBHOOKS may hold [default: as it is, 4 GiB at first].
    #[arg(long, env = "IMCHANNEL_WEBHOOKS_MAX_SIZE", value_name = "BYTES", value_parser = size())]
    webhooks_max_bytes: Option<u64>,
    /// Bytes that stream EVENTS may hold [default: as it is, 4 GiB at first].
    #[arg(long, env = "IMCHANNEL_EVENTS_MAX_SIZE", value_name = "BYTES", value_parser = size())]
    events_max_bytes: Option<u64>,
    /// Bytes that stream COMMANDS may hold [default: as it is, 1 GiB at first].
    #[arg(long, env = "IMCHANNEL_COMMANDS_MAX_SIZE", value_name = "BYTES", value_parser = size())]
    commands_max_bytes: Option<u64>,
    /// Bytes that stream DEADLETTERS may hold [default: as it is, 512 MiB at first].
    #[arg(long, env = "IMCHANNEL_DEADLETTERS_MAX_SIZE", value_name = "BYTES", value_parser = size())]
    deadletters_max_bytes: Option<u64>,
    /// Bytes that the ledger of sends may hold, 670 bytes and more a send for 26 hours [default: as it is, 1 GiB at first].
    #[arg(long, env = "IMCHANNEL_SENDS_MAX_SIZE", value_name = "BYTES", value_parser = size())]
    sends_max_bytes: Option<u64>,
}

/// A stream of 0 bytes would have no limit.
fn size() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..)
}

impl Sizes {
    pub(crate) fn named(&self) -> NamedSettings {
        NamedSettings {
            replicas: self.replicas.map(usize::from),
            duplicate_window: self.duplicate_window_ms.map(Duration::from_millis),
            webhooks_max_bytes: self.webhooks_max_bytes,
            events_max_bytes: self.events_max_bytes,
            commands_max_bytes: self.commands_max_bytes,
            deadletters_max_bytes: self.deadletters_max_bytes,
            sends_max_bytes: self.sends_max_bytes,
        }
    }
}

/// Where to ask how much a server may store.
#[derive(Debug, Args)]
pub(crate) struct Monitors {
    /// Monitoring ports of the NATS servers, such as http://nats:8222: asked for their limit when a stream does not fit.
    #[arg(long, env = "IMCHANNEL_NATS_MONITOR_URL", value_delimiter = ',', value_name = "URLS")]
    nats_monitor_url: Vec<String>,
}

impl Monitors {
    /// An error with the servers' limits, where it is that something does not fit and they can be asked.
    pub(crate) async fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let Some(ProvisionError::NoRoom { room, .. }) = error.downcast_ref() else { return error };
        let mut text = format!("{room}");
        for url in self.nats_monitor_url.iter().filter(|url| !url.is_empty()) {
            if let Some((server, limit)) = doctor::storage_limit(url).await {
                text.push_str(&format!("; max_file_store of {server} is {}", bytes(limit)));
            }
        }
        text.push_str(
            ". Raise it in the configuration of NATS, and its disk, or make another stream smaller",
        );
        anyhow::Error::msg(text)
    }
}

pub(crate) async fn run(command: Streams, target: &Target, out: &Out) -> anyhow::Result<Done> {
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

/// Makes everything, says so, and looks whether the server has kept it.
pub(crate) async fn apply_and_check(bus: &Bus, named: &NamedSettings, out: &Out) -> anyhow::Result<Done> {
    apply(bus, named).await?;
    let streams: Vec<_> = STREAMS.iter().map(|stream| stream.name).collect();
    let durables: Vec<_> = DURABLES.iter().map(|durable| durable.name).collect();
    out.say(&text!("{} streams {}", styled(GOOD, "applied"), streams.join(", ")));
    out.say(&text!("{} durables {}", styled(GOOD, "applied"), durables.join(", ")));
    let buckets: Vec<_> = BUCKETS.iter().map(|bucket| bucket.name).collect();
    out.say(&text!("{} buckets {}", styled(GOOD, "applied"), buckets.join(", ")));
    let applied = serde_json::json!({ "streams": streams, "durables": durables, "buckets": buckets });
    out.object(&serde_json::json!({ "applied": applied }));
    check(bus, named, out).await
}

/// Makes everything, the durables of stored channels too.
pub(crate) async fn apply(bus: &Bus, named: &NamedSettings) -> anyhow::Result<()> {
    provision::apply_named(bus, named).await?;
    for channel in sending(bus).await? {
        lanes::apply(bus, &channel).await?;
    }
    Ok(())
}

/// A server may take a setting and not keep it (old ones ignore what they do not know), so applying ends in a check.
async fn check(bus: &Bus, named: &NamedSettings, out: &Out) -> anyhow::Result<Done> {
    let mut differences = provision::check(bus, Scope::Settings(named)).await?;
    let is_registry_there = !differences.iter().any(|difference| difference.setting == "existence");
    if is_registry_there {
        for channel in sending(bus).await? {
            differences.extend(lanes::check(bus, &channel).await?);
        }
    }
    if differences.is_empty() {
        out.say(&text!("{} on nats-server {}", styled(GOOD, "as defined"), bus.server_version()));
        out.object(&serde_json::json!({ "differences": 0, "nats_server": bus.server_version() }));
        return Ok(Done::Well);
    }
    for difference in &differences {
        let Difference { of, setting, found, wanted } = difference;
        out.object(
            &serde_json::json!({ "object": of, "setting": setting, "found": found, "expected": wanted }),
        );
    }
    let row = |difference: Difference| {
        [difference.of, difference.setting.to_owned(), difference.found, difference.wanted]
    };
    let rows: Vec<_> = differences.into_iter().map(row).collect();
    out.table(&["Of", "Setting", "Found", "Wanted"], &rows);
    Ok(Done::Different)
}

/// The stored channels that can send: each has two durables.
async fn sending(bus: &Bus) -> anyhow::Result<Vec<ChannelId>> {
    let stored = registry::list(bus).await?;
    let channels = stored.iter().filter_map(|(_, record)| record.as_ref().ok()?.to_channel().ok());
    Ok(channels.filter(|channel| channel.bsp.sending().is_some()).map(|channel| channel.id).collect())
}
