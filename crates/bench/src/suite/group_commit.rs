//! Group commit: ingress and sender on one server that syncs every message, with batches and without; ingress on one with the default
//! sync, where batches have nothing to win; and on three servers that sync every message, which sync together what comes at the same
//! time.

use std::sync::Arc;
use std::time::Duration;

use bus::Priority;

use crate::body::Bodies;
use crate::client::Target;
use crate::environment::{Environment, Program};
use crate::load::{self, Outcome};
use crate::output;
use crate::pair::Pair;
use crate::results::{Aim, Measured, Row, WIDTH_MAX_LATENCY, WIDTH_MAX_RATE};
use crate::suite::ingress::{start_ours_with, turns};
use crate::suite::sender_setup::{CHANNELS, RATE_PER_S, SenderSetup};
use crate::suite::{Effort, purge};

/// Room for all connections of the load, which come from one address: ingress gives a tenth of its connections to each.
const CONNECTIONS: (&str, &str) = ("IMCHANNEL_CONNECTIONS_MAX", "8192");
/// Batches where they are quicker, as set up by default.
const ON: [(&str, &str); 2] = [("IMCHANNEL_GROUP_COMMIT", "auto"), CONNECTIONS];
/// Turns batches off.
const OFF: [(&str, &str); 2] = [("IMCHANNEL_GROUP_COMMIT", "off"), CONNECTIONS];
/// Webhooks a second of a small installation.
const SMALL_RATE_PER_S: f64 = 300.0;
/// Connections of the load at that rate.
const SMALL_CONNECTIONS: usize = 64;
/// How many times as long as another one the measurement at that rate takes. The slowest hundredth of 5 s is 15 webhooks, which are late together
/// when the disk once takes 50 ms.
const SMALL_TIMES: u32 = 3;
/// Commands of each channel: enough that most of the time the limits of the writes in flight have grown to what the server takes.
const COMMANDS_EACH: usize = 1_500;
/// Time after the start of a program in which it has looked at its streams.
const LOOKED_AFTER: Duration = Duration::from_secs(2);

/// A load, and by how much batches should raise its rate.
#[derive(Debug, Clone, Copy)]
struct Load {
    id: &'static str,
    connections: usize,
    ratio_min: f64,
}

const LOADS: [Load; 2] = [
    Load { id: "64", connections: 64, ratio_min: 2.0 },
    Load { id: "512", connections: 512, ratio_min: 5.0 },
];

/// Measures it; `None` if the server does not sync a batch once.
pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Option<Measured>> {
    if !takes_batches(&servers::nats::version().await?) {
        return Ok(None);
    }
    let mut rows = one_server(effort).await?;
    rows.extend(small_rate(effort).await?);
    rows.extend(default_sync(effort).await?);
    rows.extend(sends(effort).await?);
    rows.extend(three_servers(effort).await?);
    Ok(Some(Measured { rows, ..Measured::default() }))
}

fn takes_batches(version: &str) -> bool {
    let version = bus::versions::ServerVersion::parse(version);
    version.is_some_and(|version| version >= bus::versions::ONE_SYNC_A_BATCH)
}

/// Ingress with batches against ingress without, in turns.
async fn one_server(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let place = Environment::start_synced(effort.layout).await?;
    let (off, off_target) = start_ours_with(&place, &OFF).await?;
    let (on, on_target) = start_ours_with(&place, &ON).await?;
    tokio::time::sleep(LOOKED_AFTER).await;
    let mut rows = Vec::new();
    for load in LOADS {
        let mut pairs = Vec::new();
        for round in 0..effort.rounds {
            let pair = turns(round, &off_target, &on_target, async |target: &Target| {
                closed(&place, target, load.connections, effort).await
            });
            pairs.push(said(load.id, pair.await?));
        }
        let name = format!("webhooks/s, {} connections", load.connections);
        let row = Row::against(&format!("webhooks-{}", load.id), &name, rates(&pairs));
        rows.extend(row.map(|row| row.with_aim(Aim::AtLeast(load.ratio_min)).with_width_max(WIDTH_MAX_RATE)));
        let name = format!("99th percentile of that, ms, {} connections", load.connections);
        rows.extend(Row::against(&format!("p99-{}", load.id), &name, p99s(&pairs)));
    }
    ended(off, on).await;
    Ok(rows)
}

/// Ingress at the rate of a small installation. On a server of its own: after the loads above, the file system still deletes what they stored.
async fn small_rate(effort: Effort) -> anyhow::Result<Option<Row>> {
    let place = Environment::start_synced(effort.layout).await?;
    let (off, off_target) = start_ours_with(&place, &OFF).await?;
    let (on, on_target) = start_ours_with(&place, &ON).await?;
    tokio::time::sleep(LOOKED_AFTER).await;
    let mut pairs = Vec::new();
    for round in 0..effort.rounds {
        let pair = turns(round, &off_target, &on_target, async |target: &Target| {
            let (time, bodies) = (effort.time * SMALL_TIMES, Arc::new(Bodies::new()));
            load::open(target, SMALL_CONNECTIONS, SMALL_RATE_PER_S, time, &bodies, None).await
        });
        pairs.push(said("300/s", pair.await?));
    }
    ended(off, on).await;
    let row = Row::against("p99-small", "99th percentile at 300 webhooks/s, ms", p99s(&pairs));
    Ok(row.map(|row| row.with_aim(Aim::AtMost(1.0)).with_width_max(WIDTH_MAX_LATENCY)))
}

/// Ingress on a server that syncs every two minutes. Batches should cost nothing there.
async fn default_sync(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let place = Environment::start(effort.layout).await?;
    let (off, off_target) = start_ours_with(&place, &OFF).await?;
    let (on, on_target) = start_ours_with(&place, &ON).await?;
    tokio::time::sleep(LOOKED_AFTER).await;
    let mut pairs = Vec::new();
    for round in 0..effort.rounds {
        let pair = turns(round, &off_target, &on_target, async |target: &Target| {
            closed(&place, target, SMALL_CONNECTIONS, effort).await
        });
        pairs.push(said("default sync, 64", pair.await?));
    }
    let name = "webhooks/s, 64 connections, default sync";
    let rate =
        Row::against("webhooks-default", name, rates(&pairs)).map(|row| row.with_width_max(WIDTH_MAX_RATE));
    let p99 = Row::against("p99-default", "99th percentile of that, ms, default sync", p99s(&pairs));
    ended(off, on).await;
    Ok(rate.into_iter().chain(p99).collect())
}

/// A sender over many channels with batches against one without, in turns.
async fn sends(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let stage = SenderSetup::start(Environment::start_synced(effort.layout).await?).await?;
    for number in 0..CHANNELS {
        stage.apply(number, RATE_PER_S).await?;
    }
    let mut pairs = Vec::new();
    for round in 0..effort.rounds {
        let off = sends_once(&stage, &format!("off{round}"), &OFF).await?;
        let on = sends_once(&stage, &format!("on{round}"), &ON).await?;
        output::say(&format!("  sends/s without batches {off:.0}, with {on:.0}"));
        pairs.push((off, on));
    }
    stage.end();
    let row = Row::against("sends", "sends/s, 20 channels, 50 ms an answer", pairs.into_iter());
    Ok(row.map(|row| row.with_aim(Aim::AtLeast(3.0)).with_width_max(WIDTH_MAX_RATE)).into_iter().collect())
}

async fn sends_once(stage: &SenderSetup, run: &str, variables: &[(&str, &str)]) -> anyhow::Result<f64> {
    purge(&stage.environment, &["COMMANDS", "EVENTS"]).await?;
    for channel in 0..CHANNELS {
        stage.publish(channel, run, COMMANDS_EACH, Priority::Interactive).await?;
    }
    let sender = stage.sender_with(variables)?;
    let count = CHANNELS * COMMANDS_EACH;
    let (first, last) = stage.arrived(&format!("imc-{run}-"), count).await?;
    sender.end().await;
    Ok(count as f64 / (last - first).as_secs_f64())
}

/// Ingress on three servers, where it uses no batches.
async fn three_servers(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let place = Environment::start_three_synced(effort.layout).await?;
    let (ours, target) = start_ours_with(&place, &[CONNECTIONS]).await?;
    let mut rows = Vec::new();
    for load in LOADS {
        let mut outcomes = Vec::new();
        for _ in 0..effort.rounds {
            let outcome = closed(&place, &target, load.connections, effort).await?;
            output::say(&format!("  three servers, {}: {outcome}", load.id));
            outcomes.push(outcome.per_second);
        }
        let name = format!("webhooks/s, {} connections, three servers", load.connections);
        rows.extend(Row::alone(&format!("three-{}", load.id), &name, outcomes.into_iter()));
    }
    ours.end().await;
    Ok(rows)
}

async fn closed(
    place: &Environment,
    target: &Target,
    connections: usize,
    effort: Effort,
) -> anyhow::Result<Outcome> {
    purge(place, &["WEBHOOKS"]).await?;
    load::closed(target, connections, effort.time, &Arc::new(Bodies::new())).await
}

fn said(what: &str, pair: Pair<Outcome>) -> Pair<Outcome> {
    output::say(&format!("  {what}  without  {}", pair.baseline));
    output::say(&format!("  {what}  with     {}", pair.ours));
    pair
}

fn rates(pairs: &[Pair<Outcome>]) -> impl Iterator<Item = (f64, f64)> {
    pairs.iter().map(|pair| (pair.baseline.per_second, pair.ours.per_second))
}

fn p99s(pairs: &[Pair<Outcome>]) -> impl Iterator<Item = (f64, f64)> {
    pairs.iter().map(|pair| (pair.baseline.millis(0.99), pair.ours.millis(0.99)))
}

async fn ended(off: Program, on: Program) {
    off.end().await;
    on.end().await;
}
