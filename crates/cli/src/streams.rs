//! `imchannel streams`: what the bus must hold.

use std::time::Duration;

use bsp::ChannelId;
use bus::provision::{self, Difference, Scope};
use bus::streams::{BUCKETS, DURABLES, STREAMS, StreamSettings};
use bus::{Bus, lanes, registry};
use clap::{Args, Subcommand};

use crate::Done;
use crate::out::{GOOD, Out, styled, text};
use crate::repair;
use crate::target::Target;

#[derive(Debug, Subcommand)]
pub(crate) enum Streams {
    /// Make the streams, durables and buckets, or change them to what they should be. Safe to repeat.
    Apply(Sizes),
    /// Compare what is there with what should be; exit code 3 when it differs.
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

/// The choices of an installation.
#[derive(Debug, Args)]
pub(crate) struct Sizes {
    /// Copies of every stream and bucket.
    #[arg(long, env = "IMCHANNEL_REPLICAS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: u8,
    /// For how long a repeated message id is recognised, in milliseconds.
    #[arg(long, env = "IMCHANNEL_DUPLICATE_WINDOW_MS", default_value_t = 40_000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    duplicate_window_ms: u64,
    /// Bytes that stream WEBHOOKS may hold.
    #[arg(long, env = "IMCHANNEL_WEBHOOKS_MAX_BYTES", default_value_t = bus::streams::WEBHOOKS.max_bytes_default)]
    webhooks_max_bytes: u64,
    /// Bytes that stream EVENTS may hold.
    #[arg(long, env = "IMCHANNEL_EVENTS_MAX_BYTES", default_value_t = bus::streams::EVENTS.max_bytes_default)]
    events_max_bytes: u64,
    /// Bytes that stream COMMANDS may hold.
    #[arg(long, env = "IMCHANNEL_COMMANDS_MAX_BYTES", default_value_t = bus::streams::COMMANDS.max_bytes_default)]
    commands_max_bytes: u64,
    /// Bytes that stream DEADLETTERS may hold.
    #[arg(long, env = "IMCHANNEL_DEADLETTERS_MAX_BYTES", default_value_t = bus::streams::DEADLETTERS.max_bytes_default)]
    deadletters_max_bytes: u64,
    /// Bytes that the ledger of sends may hold, about 1 KB a send for 26 hours.
    #[arg(long, env = "IMCHANNEL_SENDS_MAX_BYTES", default_value_t = bus::streams::SENDS_MAX_BYTES_DEFAULT)]
    sends_max_bytes: u64,
}

impl Sizes {
    pub(crate) fn to_settings(&self) -> StreamSettings {
        StreamSettings {
            replicas: usize::from(self.replicas),
            duplicate_window: Duration::from_millis(self.duplicate_window_ms),
            webhooks_max_bytes: self.webhooks_max_bytes,
            events_max_bytes: self.events_max_bytes,
            commands_max_bytes: self.commands_max_bytes,
            deadletters_max_bytes: self.deadletters_max_bytes,
            sends_max_bytes: self.sends_max_bytes,
        }
    }
}

pub(crate) async fn run(command: Streams, target: &Target, out: &Out) -> anyhow::Result<Done> {
    match command {
        Streams::Apply(sizes) => {
            apply_and_check(&target.connect_as_provisioner().await?, &sizes.to_settings(), out).await
        }
        Streams::Repair { yes, streams } => {
            repair::run(&target.connect_as_provisioner().await?, &streams, yes, out).await
        }
        Streams::Check(sizes) => check(&target.connect().await?, &sizes.to_settings(), out).await,
    }
}

/// Makes everything, says so, and looks whether the server has kept it.
pub(crate) async fn apply_and_check(bus: &Bus, settings: &StreamSettings, out: &Out) -> anyhow::Result<Done> {
    apply(bus, settings).await?;
    let streams: Vec<_> = STREAMS.iter().map(|stream| stream.name).collect();
    let durables: Vec<_> = DURABLES.iter().map(|durable| durable.name).collect();
    out.say(&text!("{} streams {}", styled(GOOD, "applied"), streams.join(", ")));
    out.say(&text!("{} durables {}", styled(GOOD, "applied"), durables.join(", ")));
    let buckets: Vec<_> = BUCKETS.iter().map(|bucket| bucket.name).collect();
    out.say(&text!("{} buckets {}", styled(GOOD, "applied"), buckets.join(", ")));
    let applied = serde_json::json!({ "streams": streams, "durables": durables, "buckets": buckets });
    out.object(&serde_json::json!({ "applied": applied }));
    check(bus, settings, out).await
}

/// Makes everything, the durables of stored channels too.
pub(crate) async fn apply(bus: &Bus, settings: &StreamSettings) -> anyhow::Result<()> {
    provision::apply(bus, settings).await?;
    for channel in sending(bus).await? {
        lanes::apply(bus, &channel).await?;
    }
    Ok(())
}

/// A server may take a setting and not keep it (old ones ignore what they do not know), so applying ends in a check.
async fn check(bus: &Bus, settings: &StreamSettings, out: &Out) -> anyhow::Result<Done> {
    let mut differences = provision::check(bus, Scope::Settings(settings)).await?;
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
        out.object(&serde_json::json!({ "of": of, "setting": setting, "found": found, "wanted": wanted }));
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
