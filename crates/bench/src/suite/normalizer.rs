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
use crate::suite::{Effort, purge};

/// Interval of the checks how far the durable consumer is.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Publishes in flight while the webhooks are stored.
const IN_FLIGHT: usize = 1024;

/// One round: webhooks a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) baseline: f64,
    /// With the default settings: a log line with a masked body for every webhook.
    pub(crate) masked: f64,
    /// With `IMCHANNEL_LOG_PAYLOADS=off`: a line without a body.
    pub(crate) off: f64,
    /// With `IMCHANNEL_LOG_LEVEL=warn`: no line.
    pub(crate) silent: f64,
}

/// Results.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) rounds: Vec<Round>,
    /// Peak memory of the normalizer.
    pub(crate) peak_mib: Option<f64>,
}

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let place = Environment::start().await?;
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
    Ok(Measured { rounds, peak_mib })
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
