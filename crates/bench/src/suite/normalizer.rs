//! The normalizer against the baseline loop, with webhooks that are already stored; and the cost of its log line.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream;
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::Instant;

use crate::baseline;
use crate::bench_channel::CHANNEL;
use crate::body::Bodies;
use crate::environment::{Environment, Program};
use crate::output;
use crate::results::{Aim, Measured, Row, WIDTH_MAX_RATE};
use crate::statistics::Spread;
use crate::suite::{Effort, purge};

/// Interval of the checks how far the durable consumer is.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Publishes in flight while the webhooks are stored.
const IN_FLIGHT: usize = 1024;

/// One round: webhooks a second.
#[derive(Debug, Clone, Copy)]
struct Round {
    baseline: f64,
    /// With the default settings: a log line with a masked body for every webhook.
    masked: f64,
    /// With `IMCHANNEL_LOG_PAYLOADS=off`: a line without a body.
    off: f64,
    /// With `IMCHANNEL_LOG_LEVEL=warn`: no line.
    silent: f64,
}

/// Least throughput with the default settings, as a share of the baseline loop's.
const WEBHOOKS_RATIO_MIN: f64 = 0.85;

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let place = Environment::start(effort.layout).await?;
    let jetstream = jetstream::new(async_nats::connect(place.nats.url()).await?);
    let (mut rounds, mut peak_mib) = (Vec::new(), None);
    for round in 0..effort.rounds {
        let mut rates = [0.0; VARIANTS];
        // Another one is first in every round.
        for turn in 0..VARIANTS {
            let variant = (turn + round) % VARIANTS;
            rates[variant] = if variant == 0 {
                store(&place, &jetstream, baseline::RAW, effort.webhooks).await?;
                let program = place.baseline(&["baseline-normalize"])?;
                drained(&jetstream, baseline::RAW, baseline::DURABLE, program, &mut None).await?
            } else {
                store(&place, &jetstream, "WEBHOOKS", effort.webhooks).await?;
                let program = place.program("imchannel-normalizer", SETTINGS[variant])?;
                drained(&jetstream, "WEBHOOKS", "normalizer", program, &mut peak_mib).await?
            };
        }
        let [baseline, masked, off, silent] = rates;
        let round = Round { baseline, masked, off, silent };
        output::say(&format!(
            "  bare {baseline:.0}/s, imchannel {masked:.0}/s, without bodies in the log {off:.0}/s, without the line {silent:.0}/s"
        ));
        rounds.push(round);
    }
    let memory = Row::alone("memory", "most memory, MiB", peak_mib.into_iter());
    let rows = rows(&rounds).into_iter().chain(memory).collect();
    let cost = Spread::of(rounds.iter().map(|round| 1e6 / round.masked - 1e6 / round.silent));
    let remark = cost.map(|Spread { median, least, most, .. }| {
        format!(
            "In throughput, the log line costs {median:.1} µs a webhook (median; {least:.1}–{most:.1}, less than nothing \
             being the noise)."
        )
    });
    Ok(Measured { rows, remarks: remark.into_iter().collect(), ..Measured::default() })
}

fn rows(rounds: &[Round]) -> Vec<Row> {
    let row = |id: &str, name: &str, of: fn(&Round) -> f64| {
        let row = Row::against(id, name, rounds.iter().map(|round| (round.baseline, of(round))));
        row.map(|row| row.with_width_max(WIDTH_MAX_RATE))
    };
    let by_default = row("webhooks", "webhooks/s, as set up by default", |round| round.masked);
    [
        by_default.map(|row| row.with_aim(Aim::AtLeast(WEBHOOKS_RATIO_MIN))),
        row("without-body", "`IMCHANNEL_LOG_PAYLOADS=off`: the line without the body", |round| round.off),
        row("without-line", "`IMCHANNEL_LOG_LEVEL=warn`: no line", |round| round.silent),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The baseline loop, and imchannel with three settings.
const VARIANTS: usize = 4;
/// Settings of each variant, as flags and values.
const SETTINGS: [&[(&str, &str)]; VARIANTS] =
    [&[], &[], &[("IMCHANNEL_LOG_PAYLOADS", "off")], &[("IMCHANNEL_LOG_LEVEL", "warn")]];

/// Fills an empty stream like ingress does.
async fn store(
    place: &Environment,
    jetstream: &jetstream::Context,
    stream: &str,
    count: u64,
) -> anyhow::Result<()> {
    purge(place, &["WEBHOOKS", "EVENTS", baseline::RAW, baseline::OUT]).await?;
    let subject = if stream == baseline::RAW {
        "raw.infobip.x".to_owned()
    } else {
        format!("imchannel.webhook.infobip.{CHANNEL}")
    };
    let bodies = Bodies::new();
    let received_at = jiff::Timestamp::now().to_string();
    let publish = |number: u64| {
        let mut body = Vec::new();
        bodies.write(bodies.next_number(), &mut body);
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{stream}-{received_at}-{number}"));
        headers.insert("Imchannel-Route", "report");
        headers.insert("Imchannel-Received-At", received_at.as_str());
        headers.insert("Content-Type", "application/json; charset=UTF-8");
        let subject = subject.clone();
        async move {
            jetstream.publish_with_headers(subject, headers, body.into()).await?.await?;
            anyhow::Ok(())
        }
    };
    let publishing = futures_util::stream::iter(0..count).map(publish).buffer_unordered(IN_FLIGHT);
    publishing.try_for_each(|()| async { Ok(()) }).await
}

/// Webhooks a second, from the first acknowledged one to the last.
async fn drained(
    jetstream: &jetstream::Context,
    stream: &str,
    durable: &str,
    mut program: Program,
    peak_mib: &mut Option<f64>,
) -> anyhow::Result<f64> {
    let stream = jetstream.get_stream(stream).await?;
    let mut begun: Option<(Instant, u64)> = None;
    let mut whole = 0;
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        program.check()?;
        let Ok(info) = stream.consumer_info(durable).await else { continue };
        let left = info.num_pending + info.num_ack_pending as u64;
        whole = whole.max(left);
        match begun {
            None if left < whole => begun = Some((Instant::now(), left)),
            Some((at, first)) if left == 0 => {
                let rate = first as f64 / at.elapsed().as_secs_f64();
                let peak = program.peak_mib().unwrap_or_default();
                *peak_mib = Some(peak_mib.unwrap_or_default().max(peak));
                program.end().await;
                return Ok(rate);
            }
            _ => {}
        }
        (whole > 0).then_some(()).context("the stream is empty")?;
    }
}
