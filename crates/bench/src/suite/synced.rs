//! The sender on one server that syncs every message before its ack, against the throughput of the ledger's stream
//! alone. A send writes to the ledger twice, so half of that throughput is the maximum.

use anyhow::Context as _;
use async_nats::jetstream;
use bus::Priority;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::environment::Environment;
use crate::output;
use crate::results::{Aim, Measured, Row, WIDTH_MAX_RATE};
use crate::suite::sender_setup::{CHANNELS, RATE_PER_S, SenderSetup};
use crate::suite::{Effort, purge};

/// Minor version of the first 2.x server that has the setting.
const MINOR_MIN: u32 = 10;
/// Commands of each channel.
const COMMANDS_EACH: usize = 500;
/// Writes of the measurement of the stream alone.
const WRITES: usize = 10_000;
/// Size of each of these writes in bytes: that of an intent.
const WRITE_BYTES: usize = 250;
/// Most of these writes in flight.
const WRITES_AT_ONCE: usize = 500;

/// One round.
#[derive(Debug)]
struct Round {
    /// Throughput of the ledger's stream alone, in messages a second.
    alone: f64,
    /// Sends a second.
    sends: f64,
    /// Lines that the sender wrote at WARN or ERROR.
    warnings: u32,
}

/// Least sends a second, as a share of the stream's writes.
const SENDS_RATIO_MIN: f64 = 0.35;

/// Lines at WARN or ERROR that are printed of each round.
const WARNINGS_SHOWN: usize = 3;

/// Measures it; `None` if the server does not support the setting.
pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Option<Measured>> {
    if !is_known(&servers::nats::version().await?) {
        return Ok(None);
    }
    let stage = SenderSetup::start(Environment::start_synced(effort.layout).await?).await?;
    for number in 0..CHANNELS {
        stage.apply(number, RATE_PER_S).await?;
    }
    let mut rounds = Vec::new();
    for number in 0..effort.rounds {
        purge(&stage.environment, &["COMMANDS", "EVENTS"]).await?;
        let round = measure_once(&stage, number).await?;
        output::say(&format!("  synced: {:.0} sends/s, {:.0} writes/s alone", round.sends, round.alone));
        rounds.push(round);
    }
    stage.end();
    Ok(Some(measured(&rounds)))
}

fn measured(rounds: &[Round]) -> Measured {
    let sends = Row::against(
        "sends",
        "sends/s, against the writes/s of the ledger's stream alone",
        rounds.iter().map(|round| (round.alone, round.sends)),
    );
    let warnings: u32 = rounds.iter().map(|round| round.warnings).sum();
    let lines = Row::alone(
        "warnings",
        "lines of the sender at WARN or ERROR, all rounds",
        std::iter::once(f64::from(warnings)),
    );
    let rows = [
        sends.map(|row| row.with_aim(Aim::AtLeast(SENDS_RATIO_MIN)).with_width_max(WIDTH_MAX_RATE)),
        lines.map(|row| row.with_aim(Aim::AtMost(0.0))),
    ];
    Measured { rows: rows.into_iter().flatten().collect(), ..Measured::default() }
}

async fn measure_once(stage: &SenderSetup, number: usize) -> anyhow::Result<Round> {
    // Before and after, because the speed of machines drifts.
    let before = writes_alone(&stage.environment, &format!("before-{number}")).await?;
    let run = format!("s{number}");
    for channel in 0..CHANNELS {
        stage.publish(channel, &run, COMMANDS_EACH, Priority::Interactive).await?;
    }
    let sender = stage.sender()?;
    let count = CHANNELS * COMMANDS_EACH;
    let (first, last) = stage.arrived(&format!("imc-{run}-"), count).await?;
    sender.end().await;
    let log = std::fs::read_to_string(stage.environment.folder().join("imchannel-sender.log"))?;
    let warned: Vec<&str> =
        log.lines().filter(|line| line.contains("] WARN ") || line.contains("] ERROR ")).collect();
    for line in warned.iter().take(WARNINGS_SHOWN) {
        output::say(&format!("  {line}"));
    }
    let warnings = u32::try_from(warned.len())?;
    let after = writes_alone(&stage.environment, &format!("after-{number}")).await?;
    let sends = count as f64 / (last - first).as_secs_f64();
    Ok(Round { alone: f64::midpoint(before, after), sends, warnings })
}

/// Measures the throughput of the ledger's stream, in messages a second.
async fn writes_alone(place: &Environment, run: &str) -> anyhow::Result<f64> {
    let jetstream = jetstream::new(async_nats::connect(place.nats.url()).await?);
    let payload = bytes::Bytes::from(vec![b'x'; WRITE_BYTES]);
    let began = Instant::now();
    let mut writing = FuturesUnordered::new();
    for number in 0..WRITES {
        let subject = format!("$KV.imchannel_sends.bench.{run}-{number}");
        let (jetstream, payload) = (jetstream.clone(), payload.clone());
        writing.push(async move { jetstream.publish(subject, payload).await?.await });
        if writing.len() >= WRITES_AT_ONCE {
            writing.next().await.context("a write is in flight")??;
        }
    }
    while let Some(written) = writing.next().await {
        written?;
    }
    Ok(WRITES as f64 / began.elapsed().as_secs_f64())
}

/// Whether a server of this version supports `sync_interval: always`.
fn is_known(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or_default());
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    major > 2 || (major == 2 && minor >= MINOR_MIN)
}
