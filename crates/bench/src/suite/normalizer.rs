//! The normalizer against the baseline loop, with webhooks that are already stored; the cost of its log line; and the CPU time
//! that the program and nats-server use for a webhook.

use async_nats::jetstream;

use crate::environment::Environment;
use crate::output;
use crate::results::{Aim, Measured, Row, WIDTH_MAX_RATE};
use crate::statistics::Spread;
use crate::suite::drain::{self, Drained};
use crate::suite::{Effort, backlog};

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

/// Least throughput with the default settings, as a share of the baseline loop's.
const WEBHOOKS_RATIO_MIN: f64 = 0.85;
/// The baseline loop, and imchannel with three settings.
const VARIANTS: usize = 4;
/// Settings of each variant, as flags and values.
const SETTINGS: [&[(&str, &str)]; VARIANTS] =
    [&[], &[], &[("IMCHANNEL_LOG_PAYLOADS", "off")], &[("IMCHANNEL_LOG_LEVEL", "warn")]];

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let rounds = rounds(effort).await?;
    let mut measured = backlog::measure(effort).await?;
    measured.rows = rows(&rounds).into_iter().chain(measured.rows).collect();
    let micros = |drained: Drained| 1e6 / drained.per_second();
    let cost = Spread::of(rounds.iter().map(|round| micros(round.masked) - micros(round.silent)));
    measured.remarks.extend(cost.map(|Spread { median, least, most, .. }| {
        format!(
            "In throughput, the log line costs {median:.1} µs a webhook (median; {least:.1}–{most:.1}, less than nothing \
             being the noise)."
        )
    }));
    Ok(measured)
}

async fn rounds(effort: Effort) -> anyhow::Result<Vec<Round>> {
    let place = Environment::start(effort.layout).await?;
    let jetstream = jetstream::new(async_nats::connect(place.nats.url()).await?);
    let mut rounds = Vec::new();
    for round in 0..effort.rounds {
        let mut drained = [Drained::default(); VARIANTS];
        // Another one is first in every round.
        for turn in 0..VARIANTS {
            let variant = (turn + round) % VARIANTS;
            drained[variant] = if variant == 0 {
                drain::bare(&place, &jetstream, effort.webhooks).await?
            } else {
                drain::ours(&place, &jetstream, effort.webhooks, SETTINGS[variant]).await?
            };
        }
        let [baseline, masked, off, silent] = drained;
        let [bare_s, masked_s, off_s, silent_s] = drained.map(Drained::per_second);
        output::say(&format!(
            "  bare {bare_s:.0}/s, imchannel {masked_s:.0}/s, without bodies in the log {off_s:.0}/s, without the line {silent_s:.0}/s"
        ));
        rounds.push(Round { baseline, masked, off, silent });
    }
    Ok(rounds)
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
    let peaks = rounds.iter().flat_map(|round| [round.masked, round.off, round.silent]);
    let peak_mib = peaks.filter_map(|drained| drained.peak_mib).reduce(f64::max);
    [
        by_default.map(|row| row.with_aim(Aim::AtLeast(WEBHOOKS_RATIO_MIN))),
        row("without-body", "`IMCHANNEL_LOG_PAYLOADS=off`: the line without the body", |round| round.off),
        row("without-line", "`IMCHANNEL_LOG_LEVEL=warn`: no line", |round| round.silent),
        cpu("cpu", "CPU time of the program a webhook, µs", Drained::program_us),
        cpu("cpu-nats", "CPU time of nats-server a webhook, µs", Drained::nats_us),
        Row::alone("memory", "most memory, MiB", peak_mib.into_iter()),
    ]
    .into_iter()
    .flatten()
    .collect()
}
