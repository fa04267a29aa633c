//! One sender with many channels, against a simulated account with a response time; a channel beside a slow one; and the memory of many
//! channels without commands.

use bus::Priority;

use crate::environment::Environment;
use crate::output;
use crate::results::{Aim, Measured, Row, WIDTH_MAX_RATE};
use crate::suite::sender_setup::{CHANNELS, RATE_PER_S, SenderSetup};
use crate::suite::{Effort, purge};

/// Commands of each of these channels.
const COMMANDS_EACH: usize = 1_500;
/// Pending commands of the slow channel.
const SLOW_WAITING: usize = 10_000;
/// Commands of the other channel.
const BESIDE: usize = 1_000;
/// Rate limit of the other channel, in calls per second.
const BESIDE_RATE_PER_S: u32 = 500;

/// Least sends a second, from the first to the last.
const SENDS_PER_S_MIN: f64 = 2000.0;
/// Most time of a channel beside a slow one, as a multiple of its time alone.
const BESIDE_RATIO_MAX: f64 = 2.0;
/// Most memory of the sender at full rate, in MiB.
const MEMORY_MIB_MAX: f64 = 128.0;
/// Channels of the measurement without commands.
const IDLE_CHANNELS: usize = 1_000;
/// Most memory of the sender with these channels, in MiB.
const IDLE_MEMORY_MIB_MAX: f64 = 64.0;

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let stage = SenderSetup::start(Environment::start(effort.layout).await?).await?;
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
    let idle_mib = measure_idle(effort).await?;
    let sends = Row::alone("sends", "sends/s", per_second.into_iter());
    let beside = Row::against(
        "beside",
        "seconds of a channel's 1,000 messages: alone, and beside 10,000 that wait for a channel limited to 1/s",
        beside.into_iter(),
    );
    let memory = Row::alone("memory", "most memory in the last round, MiB", peak_mib.into_iter());
    let idle =
        Row::alone("memory-idle", "memory with 1,000 channels without commands, MiB", idle_mib.into_iter());
    let rows = [
        sends.map(|row| row.with_aim(Aim::AtLeast(SENDS_PER_S_MIN)).with_width_max(WIDTH_MAX_RATE)),
        beside.map(|row| row.with_aim(Aim::Below(BESIDE_RATIO_MAX)).with_width_max(WIDTH_MAX_RATE)),
        memory.map(|row| row.with_aim(Aim::AtMost(MEMORY_MIB_MAX))),
        idle.map(|row| row.with_aim(Aim::AtMost(IDLE_MEMORY_MIB_MAX))),
    ];
    Ok(Measured { rows: rows.into_iter().flatten().collect(), ..Measured::default() })
}

/// Measures the time of a channel's messages, without and with ten thousand pending commands of a channel with a limit
/// of one a second. Returns the seconds of both.
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

/// Measures the memory with many channels without commands, a while after all of their lanes were ready to send.
async fn measure_idle(effort: Effort) -> anyhow::Result<Option<f64>> {
    let stage = SenderSetup::start(Environment::start(effort.layout).await?).await?;
    for number in 0..IDLE_CHANNELS {
        stage.apply(number, BESIDE_RATE_PER_S).await?;
    }
    let sender = stage.sender()?;
    stage.until_ready(IDLE_CHANNELS).await?;
    tokio::time::sleep(effort.time).await;
    let memory_mib = sender.resident_mib();
    output::say(&format!("  {:.1} MiB with idle channels", memory_mib.unwrap_or_default()));
    sender.end().await;
    stage.end();
    Ok(memory_mib)
}
