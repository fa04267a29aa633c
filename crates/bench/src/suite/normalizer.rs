//! The normalizer against the baseline loop, with webhooks that are already stored; the cost of its log line; and the CPU time
//! that the program and nats-server use for a webhook, also with few and with many that wait.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream;
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::Instant;

use crate::baseline;
use crate::bench_channel::CHANNEL;
use crate::body::Bodies;
use crate::cpu_time;
use crate::environment::{Environment, Program};
use crate::output;
use crate::results::{Aim, Measured, Row, WIDTH_MAX_RATE};
use crate::statistics::Spread;
use crate::suite::{Effort, purge};

/// Interval of the checks how far the durable consumer is.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Publishes in flight while the webhooks are stored.
const IN_FLIGHT: usize = 1024;

/// How fast waiting webhooks were processed, and what it cost.
#[derive(Debug, Clone, Copy, Default)]
struct Drained {
    webhooks: f64,
    seconds: f64,
    /// CPU time of the program, in seconds.
    program_s: f64,
    /// CPU time of nats-server, in seconds.
    nats_s: f64,
}

impl Drained {
    fn per_second(self) -> f64 {
        self.webhooks / self.seconds
    }

    /// CPU time of the program for a webhook, in microseconds.
    fn program_us(self) -> f64 {
        self.program_s / self.webhooks * 1e6
    }

    /// CPU time of nats-server for a webhook, in microseconds.
    fn nats_us(self) -> f64 {
        self.nats_s / self.webhooks * 1e6
    }

    fn plus(self, other: Self) -> Self {
        Self {
            webhooks: self.webhooks + other.webhooks,
            seconds: self.seconds + other.seconds,
            program_s: self.program_s + other.program_s,
            nats_s: self.nats_s + other.nats_s,
        }
    }
}

/// One round.
#[derive(Debug, Clone, Copy)]
struct Round {
    baseline: Drained,
    /// With the default settings: a log line with a masked body for every webhook.
    masked: Drained,
    /// With `IMCHANNEL_LOG_PAYLOADS=off`: a line without a body.
    off: Drained,
    /// With `IMCHANNEL_LOG_LEVEL=warn`: no line.
    silent: Drained,
}

/// The same webhooks in several small amounts, and in one large amount.
#[derive(Debug, Clone, Copy)]
struct Backlogs {
    few: Drained,
    many: Drained,
}

/// Part of the measurement's webhooks that are few, and the number of times that they are processed.
const FEW_PART: u64 = 10;
/// Multiple of the measurement's webhooks that are many.
const MANY_TIMES: u64 = 10;
/// Most CPU time of a webhook with many that wait, as a share of that with few.
const BACKLOG_RATIO_MAX: f64 = 1.1;

/// Least throughput with the default settings, as a share of the baseline loop's.
const WEBHOOKS_RATIO_MIN: f64 = 0.85;

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let place = Environment::start(effort.layout).await?;
    let jetstream = jetstream::new(async_nats::connect(place.nats.url()).await?);
    let (mut rounds, mut peak_mib) = (Vec::new(), None);
    for round in 0..effort.rounds {
        let mut drained = [Drained::default(); VARIANTS];
        // Another one is first in every round.
        for turn in 0..VARIANTS {
            let variant = (turn + round) % VARIANTS;
            drained[variant] = if variant == 0 {
                store(&place, &jetstream, baseline::RAW, effort.webhooks).await?;
                let program = place.baseline(&["baseline-normalize"])?;
                let of = Consumer { stream: baseline::RAW, durable: baseline::DURABLE };
                drain(&place, &jetstream, of, program, &mut None).await?
            } else {
                ours(&place, &jetstream, effort.webhooks, SETTINGS[variant], &mut peak_mib).await?
            };
        }
        let [baseline, masked, off, silent] = drained;
        let [bare_s, masked_s, off_s, silent_s] = drained.map(Drained::per_second);
        output::say(&format!(
            "  bare {bare_s:.0}/s, imchannel {masked_s:.0}/s, without bodies in the log {off_s:.0}/s, without the line {silent_s:.0}/s"
        ));
        rounds.push(Round { baseline, masked, off, silent });
    }
    let memory = Row::alone("memory", "most memory, MiB", peak_mib.into_iter());
    let backlogs = backlogs(&place, &jetstream, effort.webhooks).await?;
    let rows =
        rows(&rounds).into_iter().chain(memory).chain(backlog_rows(backlogs, effort.webhooks)).collect();
    let micros = |drained: Drained| 1e6 / drained.per_second();
    let cost = Spread::of(rounds.iter().map(|round| micros(round.masked) - micros(round.silent)));
    let remark = cost.map(|Spread { median, least, most, .. }| {
        format!(
            "In throughput, the log line costs {median:.1} µs a webhook (median; {least:.1}–{most:.1}, less than nothing \
             being the noise)."
        )
    });
    Ok(Measured { rows, remarks: remark.into_iter().collect(), ..Measured::default() })
}

fn rows(rounds: &[Round]) -> Vec<Row> {
    let row = |id: &str, name: &str, of: fn(&Round) -> Drained| {
        let rates = rounds.iter().map(|round| (round.baseline.per_second(), of(round).per_second()));
        Row::against(id, name, rates).map(|row| row.with_width_max(WIDTH_MAX_RATE))
    };
    let cpu = |id: &str, name: &str, of: fn(Drained) -> f64| {
        Row::against(id, name, rounds.iter().map(|round| (of(round.baseline), of(round.masked))))
    };
    let by_default = row("webhooks", "webhooks/s, as set up by default", |round| round.masked);
    [
        by_default.map(|row| row.with_aim(Aim::AtLeast(WEBHOOKS_RATIO_MIN))),
        row("without-body", "`IMCHANNEL_LOG_PAYLOADS=off`: the line without the body", |round| round.off),
        row("without-line", "`IMCHANNEL_LOG_LEVEL=warn`: no line", |round| round.silent),
        cpu("cpu", "CPU time of the program a webhook, µs", Drained::program_us),
        cpu("cpu-nats", "CPU time of nats-server a webhook, µs", Drained::nats_us),
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

/// Processes the same number of webhooks in small amounts, and ten times as many in one amount.
async fn backlogs(
    place: &Environment,
    jetstream: &jetstream::Context,
    webhooks: u64,
) -> anyhow::Result<Backlogs> {
    let mut few = Drained::default();
    for _ in 0..FEW_PART {
        few = few.plus(ours(place, jetstream, webhooks / FEW_PART, &[], &mut None).await?);
    }
    let many = ours(place, jetstream, webhooks * MANY_TIMES, &[], &mut None).await?;
    Ok(Backlogs { few, many })
}

fn backlog_rows(backlogs: Backlogs, webhooks: u64) -> impl Iterator<Item = Row> {
    let Backlogs { few, many } = backlogs;
    let name = |whose: &str| {
        let (few, many) = (webhooks / FEW_PART, webhooks * MANY_TIMES);
        format!("CPU time {whose} a webhook with {many} that wait, against {few}")
    };
    let row = |id: &str, whose: &str, ratio: f64| {
        let row = Row::alone(id, &name(whose), std::iter::once(ratio));
        row.map(|row| row.with_aim(Aim::AtMost(BACKLOG_RATIO_MAX)))
    };
    let program = row("cpu-backlog", "of the program", many.program_us() / few.program_us());
    let nats = row("cpu-backlog-nats", "of nats-server", many.nats_us() / few.nats_us());
    program.into_iter().chain(nats)
}

/// Stores webhooks, and has the normalizer process them.
async fn ours(
    place: &Environment,
    jetstream: &jetstream::Context,
    webhooks: u64,
    settings: &[(&str, &str)],
    peak_mib: &mut Option<f64>,
) -> anyhow::Result<Drained> {
    store(place, jetstream, "WEBHOOKS", webhooks).await?;
    let program = place.program("imchannel-normalizer", settings)?;
    let of = Consumer { stream: "WEBHOOKS", durable: "normalizer" };
    drain(place, jetstream, of, program, peak_mib).await
}

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

/// A durable consumer of a stream.
#[derive(Debug, Clone, Copy)]
struct Consumer {
    stream: &'static str,
    durable: &'static str,
}

/// The state when the first webhook was acknowledged.
struct Begun {
    at: Instant,
    left: u64,
    program: Duration,
    nats: Duration,
}

/// Waits until all webhooks are processed. What it measures is from the first acknowledged one to the last.
async fn drain(
    place: &Environment,
    jetstream: &jetstream::Context,
    of: Consumer,
    mut program: Program,
    peak_mib: &mut Option<f64>,
) -> anyhow::Result<Drained> {
    let stream = jetstream.get_stream(of.stream).await?;
    let nats_time = || cpu_time::of_process(place.nats.pid());
    let mut begun: Option<Begun> = None;
    let mut whole = 0;
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        program.check()?;
        let Ok(info) = stream.consumer_info(of.durable).await else { continue };
        let left = info.num_pending + info.num_ack_pending as u64;
        whole = whole.max(left);
        match &begun {
            None if left < whole => {
                let (at, program, nats) = (Instant::now(), program.cpu_time(), nats_time());
                begun = Some(Begun { at, left, program, nats });
            }
            Some(begun) if left == 0 => {
                let drained = Drained {
                    webhooks: begun.left as f64,
                    seconds: begun.at.elapsed().as_secs_f64(),
                    program_s: (program.cpu_time() - begun.program).as_secs_f64(),
                    nats_s: (nats_time() - begun.nats).as_secs_f64(),
                };
                let peak = program.peak_mib().unwrap_or_default();
                *peak_mib = Some(peak_mib.unwrap_or_default().max(peak));
                program.end().await;
                return Ok(drained);
            }
            _ => {}
        }
        (whole > 0).then_some(()).context("the stream is empty")?;
    }
}
