//! `imchannel setup`: everything that must be on the bus before services work, in one go, for the job of a deployment.

use std::path::PathBuf;
use std::time::Duration;

use bsp::SettingsContext;
use bus::Bus;
use channel::Record;
use clap::Args;
use tokio::time::Instant;

use crate::out::Out;
use crate::streams::{self, Monitors, Sizes};
use crate::target::Target;
use crate::words::causes;
use crate::{Done, channel as channels, when};

/// Delay between two attempts to reach NATS.
const PAUSE: Duration = Duration::from_millis(500);

/// Applies streams, durables and buckets, and then channels. Safe to repeat.
#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// The channels file (TOML); without it streams, durables and buckets only.
    #[arg(long, value_name = "FILE")]
    channels: Option<PathBuf>,
    /// How long to wait for NATS.
    #[arg(long, default_value = "60s", value_name = "SPAN", value_parser = when::span)]
    wait: Duration,
    /// Store channels anew that were stored under another credential key.
    #[arg(long, requires = "channels")]
    rekey: bool,
    #[command(flatten)]
    sizes: Sizes,
    #[command(flatten)]
    monitors: Monitors,
}

pub(crate) async fn run(command: Setup, target: &Target, out: &Out) -> anyhow::Result<Done> {
    let context = SettingsContext { extra_hosts: target.infobip_hosts.clone() };
    let described = match &command.channels {
        Some(file) => match channels::read_file(file, &context, out)? {
            Some(described) => described,
            None => return Ok(Done::Faulty),
        },
        None => Vec::new(),
    };
    if let Some(refused) = channels::refuse_examples(&described, target, out) {
        return Ok(refused);
    }
    let key = match (described.is_empty(), target.key()) {
        (true, _) => None,
        (false, Ok(key)) => Some(key),
        (false, Err(error)) => return Ok(out.faulty(&causes(&error))),
    };
    let bus = reach(target, command.wait, out).await?;
    let applied = match streams::apply_and_check(&bus, &command.sizes.named(), out).await {
        Ok(applied) => applied,
        Err(error) => return Err(command.monitors.explain(error).await),
    };
    let Some(key) = key.filter(|_| applied == Done::Well) else { return Ok(applied) };
    let records: Vec<Record> = described.iter().map(|channel| channel.to_record(&key)).collect();
    let how = channels::How { rekey: command.rekey, ..channels::How::default() };
    channels::apply(&bus, &records, how, out).await
}

/// A deployment starts everything at once, and NATS may come last.
async fn reach(target: &Target, wait: Duration, out: &Out) -> anyhow::Result<Bus> {
    let deadline = Instant::now() + wait;
    let mut has_said = false;
    loop {
        let error = match target.connect().await {
            Ok(bus) => return Ok(bus),
            // Waiting makes neither a key nor a file right.
            Err(error) if Instant::now() >= deadline || !is_away(&error) => return Err(error),
            Err(error) => error,
        };
        if !has_said {
            out.say(&format!("waiting for NATS: {}", causes(&error)));
            has_said = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether nobody answers yet, or the server is only starting.
fn is_away(error: &anyhow::Error) -> bool {
    error.downcast_ref::<bus::ConnectError>().is_some_and(bus::ConnectError::is_away)
}
