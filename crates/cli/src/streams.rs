//! `imchannel streams`: what the bus must hold.

use std::time::Duration;

use bus::Bus;
use bus::provision::{self, Difference, Scope};
use bus::streams::{DURABLES, STREAMS, StreamSettings};
use clap::{Args, Subcommand};

use crate::Done;
use crate::out::{GOOD, Out, styled};

#[derive(Debug, Subcommand)]
pub(crate) enum Streams {
    /// Make the streams, durables and buckets, or change them to what they should be. Safe to repeat.
    Apply(Sizes),
    /// Compare what is there with what should be; exit code 3 when it differs.
    Check(Sizes),
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
    /// Bytes that stream DEADLETTERS may hold.
    #[arg(long, env = "IMCHANNEL_DEADLETTERS_MAX_BYTES", default_value_t = bus::streams::DEADLETTERS.max_bytes_default)]
    deadletters_max_bytes: u64,
}

impl Sizes {
    pub(crate) fn to_settings(&self) -> StreamSettings {
        StreamSettings {
            replicas: usize::from(self.replicas),
            duplicate_window: Duration::from_millis(self.duplicate_window_ms),
            webhooks_max_bytes: self.webhooks_max_bytes,
            events_max_bytes: self.events_max_bytes,
            deadletters_max_bytes: self.deadletters_max_bytes,
        }
    }
}

pub(crate) async fn run(command: Streams, bus: &Bus, out: &Out) -> anyhow::Result<Done> {
    match command {
        Streams::Apply(sizes) => {
            let settings = sizes.to_settings();
            provision::apply(bus, &settings).await?;
            let streams: Vec<_> = STREAMS.iter().map(|stream| stream.name).collect();
            let durables: Vec<_> = DURABLES.iter().map(|durable| durable.name).collect();
            out.say(&format!("{} streams {}", styled(GOOD, "applied"), streams.join(", ")));
            out.say(&format!("{} durables {}", styled(GOOD, "applied"), durables.join(", ")));
            out.say(&format!("{} bucket {}", styled(GOOD, "applied"), bus::streams::CHANNELS_BUCKET));
            out.object(&serde_json::json!({ "applied": { "streams": streams, "durables": durables } }));
            check(bus, &settings, out).await
        }
        Streams::Check(sizes) => check(bus, &sizes.to_settings(), out).await,
    }
}

/// A server may take a setting and not keep it (old ones ignore what they do not know), so applying ends in a check.
async fn check(bus: &Bus, settings: &StreamSettings, out: &Out) -> anyhow::Result<Done> {
    let differences = provision::check(bus, Scope::Settings(settings)).await?;
    if differences.is_empty() {
        out.say(&format!("{} on nats-server {}", styled(GOOD, "as defined"), bus.server_version()));
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
