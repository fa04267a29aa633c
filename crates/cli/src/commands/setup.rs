//! `imchannel setup`: creates everything that services need in NATS and Redis, for the setup job of a deployment.

use std::path::PathBuf;
use std::time::Duration;

use blob::functions::LIBRARY;
use blob::inspect::Inspector;
use blob::{BlobError, RedisOptions};
use bsp::SettingsContext;
use bus::Bus;
use channel::Record;
use clap::Args;
use serde_json::json;
use tokio::time::Instant;

use crate::commands::channel as channels;
use crate::commands::streams::{self, Monitors, Sizes};
use crate::duration;
use crate::exit::Exit;
use crate::output::{Out, text};
use crate::redis_target::RedisTarget;
use crate::target::Target;
use crate::words::causes;

/// Delay between two attempts to reach NATS or Redis.
const PAUSE: Duration = Duration::from_millis(500);

/// Create streams, durables and buckets, then channels, and load the functions of Redis. Safe to repeat.
#[derive(Debug, Args)]
pub(crate) struct Setup {
    #[command(flatten)]
    bus: BusPart,
    #[command(flatten)]
    redis: RedisTarget,
    /// Only load the functions of Redis: for an upgrade, before the new senders start.
    #[arg(long, conflicts_with = "channels")]
    functions_only: bool,
    /// How long to wait for NATS, and for Redis.
    #[arg(long, default_value = "60s", value_name = "SPAN", value_parser = duration::span)]
    wait: Duration,
}

#[derive(Debug, Args)]
struct BusPart {
    /// The channels file (TOML); without it only streams, durables and buckets.
    #[arg(long, value_name = "FILE")]
    channels: Option<PathBuf>,
    /// Store channels again that were stored under another credential key.
    #[arg(long, requires = "channels")]
    rekey: bool,
    #[command(flatten)]
    sizes: Sizes,
    #[command(flatten)]
    monitors: Monitors,
}

pub(crate) async fn run(command: Setup, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    let Setup { bus, redis, functions_only, wait } = command;
    let redis = match redis.read() {
        Ok(redis) => redis,
        Err(error) => return Ok(out.faulty(&causes(&error))),
    };
    let mut done = Exit::Ok;
    if !functions_only {
        done = set_up_bus(bus, wait, target, out).await?;
        if done == Exit::InvalidInput {
            return Ok(done);
        }
    }
    // Last, because text messages do not need Redis.
    match redis {
        Some(redis) => load_functions(&redis, wait, out).await?,
        None if functions_only => done = out.faulty(NO_REDIS),
        None => out.print(NO_REDIS),
    }
    Ok(done)
}

async fn set_up_bus(command: BusPart, wait: Duration, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    let context = SettingsContext { extra_hosts: target.infobip_hosts.clone() };
    let described = match &command.channels {
        Some(file) => match channels::read_file(file, &context, out)? {
            Some(described) => described,
            None => return Ok(Exit::InvalidInput),
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
    let bus = reach(target, wait, out).await?;
    let applied = match streams::apply_and_check(&bus, &command.sizes.named(), out).await {
        Ok(applied) => applied,
        Err(error) => return Err(command.monitors.explain(error).await),
    };
    let Some(key) = key.filter(|_| applied == Exit::Ok) else { return Ok(applied) };
    let records: Vec<Record> = described.iter().map(|channel| channel.to_record(&key)).collect();
    let options = channels::ApplyOptions { rekey: command.rekey, ..channels::ApplyOptions::default() };
    channels::apply(&bus, &records, options, out).await
}

const NO_REDIS: &str = "the functions of Redis were not loaded because the URL of Redis was not given; without them commands with \
    uploaded files wait: pass --redis-url (IMCHANNEL_REDIS_URL), with the user `provisioner` if Redis has users";

/// Loads the functions that the sender calls, as soon as Redis responds.
pub(crate) async fn load_functions(redis: &RedisOptions, wait: Duration, out: &Out) -> anyhow::Result<()> {
    let deadline = Instant::now() + wait;
    let mut has_said = false;
    loop {
        let error = match load(redis).await {
            Ok(()) => {
                out.print(&text!("functions {LIBRARY}: loaded into Redis"));
                out.object(&json!({ "functions": LIBRARY, "change": "loaded" }));
                return Ok(());
            }
            Err(error) => error,
        };
        let is_away = matches!(error, BlobError::Unavailable(_));
        let error = anyhow::Error::from(error);
        if Instant::now() >= deadline || !is_away {
            return Err(error.context(NOT_LOADED));
        }
        if !has_said {
            out.print(&format!("waiting for Redis: {}", causes(&error)));
            has_said = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

const NOT_LOADED: &str = "the functions of Redis were not loaded, and commands with uploaded files wait (this needs the primary of \
    Redis 7 or later, and, if Redis has users, `provisioner`, which may FUNCTION LOAD)";

async fn load(redis: &RedisOptions) -> Result<(), BlobError> {
    Inspector::connect(redis).await?.load_functions().await
}

/// A deployment starts everything at the same time, and NATS may come last.
async fn reach(target: &Target, wait: Duration, out: &Out) -> anyhow::Result<Bus> {
    let deadline = Instant::now() + wait;
    let mut has_said = false;
    loop {
        let error = match target.connect().await {
            Ok(bus) => return Ok(bus),
            // Waiting does not fix a wrong key or file.
            Err(error) if Instant::now() >= deadline || !is_unreachable(&error) => return Err(error),
            Err(error) => error,
        };
        if !has_said {
            out.print(&format!("waiting for NATS: {}", causes(&error)));
            has_said = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether the server does not respond yet, or is starting.
fn is_unreachable(error: &anyhow::Error) -> bool {
    error.downcast_ref::<bus::ConnectError>().is_some_and(bus::ConnectError::is_unreachable)
}
