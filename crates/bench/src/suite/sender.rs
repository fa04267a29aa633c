//! One sender with many channels, against a simulated account with a response time; and a channel beside a slow one.

use bus::Priority;

use crate::environment::Environment;
use crate::output;
use crate::suite::sender_setup::{CHANNELS, RATE_PER_S, SenderSetup};
use crate::suite::{Effort, purge, synced};

/// Commands of each of these channels.
const COMMANDS_EACH: usize = 1_500;
/// Pending commands of the slow channel.
const SLOW_WAITING: usize = 10_000;
/// Commands of the other channel.
const BESIDE: usize = 1_000;
/// Rate limit of the other channel, in calls per second.
const BESIDE_RATE_PER_S: u32 = 500;

/// Results.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Sends a second, from the first to the last, in every round.
    pub(crate) per_second: Vec<f64>,
    /// Seconds for the messages of a channel: alone, and beside a slow one.
    pub(crate) beside: Vec<(f64, f64)>,
    /// Peak memory of the sender of the last round.
    pub(crate) peak_mib: Option<f64>,
    /// On a server that syncs every message; `None` if the server does not support it.
    pub(crate) synced: Option<Vec<synced::Round>>,
}

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let stage = SenderSetup::start(Environment::start().await?).await?;
    let mut per_second = Vec::new();
    let mut peak_mib = None;
    for number in 0..CHANNELS {
        stage.apply(number, RATE_PER_S).await?;
    }
    for round in 0..effort.rounds {
        purge(&stage.environment, &["COMMANDS", "EVENTS"]).await?;
        for number in 0..CHANNELS {
            stage.publish(number, &format!("r{round}"), COMMANDS_EACH, Priority::Interactive).await?;
        }
        let sender = stage.sender()?;
        let count = CHANNELS * COMMANDS_EACH;
        let (first, last) = stage.arrived(&format!("imc-r{round}-"), count).await?;
        let rate = count as f64 / (last - first).as_secs_f64();
        output::say(&format!("  {rate:.0} sends/s"));
        per_second.push(rate);
        peak_mib = sender.peak_mib().or(peak_mib);
        sender.end().await;
    }
    let beside = measure_beside(&stage, effort).await?;
    stage.end();
    let synced = synced::measure(effort).await?;
    Ok(Measured { per_second, beside, peak_mib, synced })
}

/// Measures the time of a channel's messages, without and with ten thousand pending commands of a channel with a limit
/// of one a second.
async fn measure_beside(stage: &SenderSetup, effort: Effort) -> anyhow::Result<Vec<(f64, f64)>> {
    let (slow, quick) = (CHANNELS, CHANNELS + 1);
    purge(&stage.environment, &["COMMANDS", "EVENTS"]).await?;
    stage.apply(slow, 1).await?;
    stage.apply(quick, BESIDE_RATE_PER_S).await?;
    let sender = stage.sender()?;
    let mut pairs = Vec::new();
    let run = async |name: &str| -> anyhow::Result<f64> {
        stage.publish(quick, name, BESIDE, Priority::Interactive).await?;
        let (first, last) = stage.arrived(&format!("imc-{name}-"), BESIDE).await?;
        Ok((last - first).as_secs_f64())
    };
    run("warm").await?;
    let mut alone = Vec::new();
    for round in 0..effort.rounds {
        alone.push(run(&format!("alone{round}")).await?);
    }
    stage.publish(slow, "slow", SLOW_WAITING, Priority::Bulk).await?;
    stage.arrived("imc-slow-", 1).await?;
    for (round, alone) in alone.into_iter().enumerate() {
        let beside = run(&format!("beside{round}")).await?;
        output::say(&format!("  alone {alone:.2} s, beside a slow channel {beside:.2} s"));
        pairs.push((alone, beside));
    }
    sender.end().await;
    Ok(pairs)
}
