//! Ingress in a separate process, without a worker, against the baseline receiver.

use std::sync::Arc;

use hdrhistogram::Histogram;

use crate::bench_channel::{CHANNEL, PASSWORD};
use crate::body::Bodies;
use crate::client::Target;
use crate::environment::{Environment, Program, free_address};
use crate::load::{self, Outcome};
use crate::output;
use crate::pair::Pair;
use crate::results::{Aim, Curve, CurveName, Measured, Row, Side, WIDTH_MAX_LATENCY, WIDTH_MAX_RATE};
use crate::suite::{CONNECTIONS, Effort, purge};

/// Least throughput of ingress, as a share of the baseline receiver's.
const REQUESTS_RATIO_MIN: f64 = 0.92;
/// Most latency of ingress at the 99th percentile, as a multiple of the baseline receiver's.
const P99_RATIO_MAX: f64 = 1.25;
/// Most memory of ingress, in MiB.
const MEMORY_MIB_MAX: f64 = 40.0;
/// The most nines of a percentile in the curves: 99.99 %.
const NINES_MAX: f64 = 4.0;
/// Points of a curve, less one.
const CURVE_STEPS: u32 = 80;

/// Ingress and the baseline receiver on the same servers.
pub(crate) struct Both {
    pub(crate) place: Environment,
    pub(crate) ours: Program,
    pub(crate) our_target: Target,
    pub(crate) baseline: Program,
    pub(crate) baseline_target: Target,
}

impl Both {
    /// Starts both, and waits until they are ready.
    pub(crate) async fn start(effort: Effort) -> anyhow::Result<Self> {
        let place = Environment::start(effort.layout).await?;
        let (ours, our_target) = start_ours(&place).await?;
        let address = free_address()?;
        let path = format!("/js/infobip/{CHANNEL}");
        let baseline_target = Target { address, path, password: PASSWORD.to_owned() };
        let mut baseline = place.baseline(&["baseline-serve", "--listen", &address.to_string()])?;
        baseline.until_it_serves(&baseline_target).await?;
        Ok(Self { place, ours, our_target, baseline, baseline_target })
    }

    /// Posts to one after the other, as fast as responses arrive.
    pub(crate) async fn closed(&self, round: usize, effort: Effort) -> anyhow::Result<Pair<Outcome>> {
        turns(round, &self.baseline_target, &self.our_target, async |target: &Target| {
            purge(&self.place, &["WEBHOOKS", "RAW"]).await?;
            load::closed(target, CONNECTIONS, effort.time, &Arc::new(Bodies::new())).await
        })
        .await
    }

    /// Posts to one after the other at a constant rate.
    pub(crate) async fn open(
        &self,
        round: usize,
        rate_per_s: f64,
        effort: Effort,
    ) -> anyhow::Result<Pair<Outcome>> {
        turns(round, &self.baseline_target, &self.our_target, async |target: &Target| {
            purge(&self.place, &["WEBHOOKS", "RAW"]).await?;
            load::open(target, CONNECTIONS, rate_per_s, effort.time, &Arc::new(Bodies::new()), None).await
        })
        .await
    }

    /// Stops both.
    pub(crate) async fn end(self) {
        self.ours.end().await;
        self.baseline.end().await;
    }
}

/// Starts ingress and waits until it is ready.
pub(crate) async fn start_ours(place: &Environment) -> anyhow::Result<(Program, Target)> {
    start_ours_with(place, &[]).await
}

/// The same with other settings.
pub(crate) async fn start_ours_with(
    place: &Environment,
    variables: &[(&str, &str)],
) -> anyhow::Result<(Program, Target)> {
    let address = free_address()?;
    let path = format!("/social/on/whatsapp/infobip/report/{CHANNEL}");
    let target = Target { address, path, password: PASSWORD.to_owned() };
    let listen = address.to_string();
    let variables = [&[("IMCHANNEL_INGRESS_LISTEN", listen.as_str())], variables].concat();
    let mut ours = place.program("imchannel-ingress", &variables)?;
    ours.until_it_serves(&target).await?;
    Ok((ours, target))
}

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let both = Both::start(effort).await?;
    let (mut closed, mut open) = (Vec::new(), Vec::new());
    let mut open_rate = 0.0;
    for round in 0..effort.rounds {
        let pair = both.closed(round, effort).await?;
        if round == 0 {
            open_rate = (pair.baseline.per_second / 2.0 / 1000.0).round().max(1.0) * 1000.0;
        }
        say("closed", &pair);
        closed.push(pair);
        let pair = both.open(round, open_rate, effort).await?;
        say("open  ", &pair);
        open.push(pair);
    }
    let mut rows = rows(&closed, &open, open_rate);
    let peak = Row::alone("memory", "most memory, MiB", both.ours.peak_mib().into_iter());
    rows.extend(peak.map(|row| row.with_aim(Aim::Below(MEMORY_MIB_MAX))));
    both.end().await;
    let pairs = || closed.iter().chain(&open);
    let bare: u64 = pairs().map(|pair| pair.baseline.errors).sum();
    let ours: u64 = pairs().map(|pair| pair.ours.errors).sum();
    let remarks = vec![format!(
        "Answers other than 200, which are not counted above: {bare} of the bare receiver, {ours} of imchannel."
    )];
    Ok(Measured { rows, curves: curves(&open)?, remarks })
}

fn say(load: &str, pair: &Pair<Outcome>) {
    output::say(&format!("  {load}  bare      {}", pair.baseline));
    output::say(&format!("  {load}  imchannel {}", pair.ours));
}

/// Pairs of a figure of both.
pub(crate) fn both_of(
    pairs: &[Pair<Outcome>],
    of: impl Fn(&Outcome) -> f64,
) -> impl Iterator<Item = (f64, f64)> {
    pairs.iter().map(move |pair| (of(&pair.baseline), of(&pair.ours)))
}

fn rows(closed: &[Pair<Outcome>], open: &[Pair<Outcome>], rate: f64) -> Vec<Row> {
    let requests = Row::against(
        "requests",
        "requests/s, as fast as answers come",
        both_of(closed, |outcome| outcome.per_second),
    );
    let p99 =
        Row::against("p99", "99th percentile of that, ms", both_of(closed, |outcome| outcome.millis(0.99)));
    let at_rate = |id: &str, name: &str, quantile: f64| {
        let name = format!("{name} at {rate:.0} requests/s, ms");
        Row::against(id, &name, both_of(open, move |outcome| outcome.millis(quantile)))
    };
    let median = at_rate("median-at-rate", "median", 0.5);
    let p99_at_rate = at_rate("p99-at-rate", "99th percentile", 0.99);
    [
        requests.map(|row| row.with_aim(Aim::AtLeast(REQUESTS_RATIO_MIN)).with_width_max(WIDTH_MAX_RATE)),
        p99.map(|row| row.with_aim(Aim::AtMost(P99_RATIO_MAX)).with_width_max(WIDTH_MAX_LATENCY)),
        median.map(|row| row.with_width_max(WIDTH_MAX_LATENCY)),
        p99_at_rate.map(|row| row.with_width_max(WIDTH_MAX_LATENCY)),
        at_rate("p999-at-rate", "99.9th percentile", 0.999),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The latencies at the constant rate, all rounds together.
fn curves(open: &[Pair<Outcome>]) -> anyhow::Result<Vec<Curve>> {
    let (mut bare, mut ours) = (load::histogram(), load::histogram());
    for pair in open {
        bare.add(&pair.baseline.latency_us)?;
        ours.add(&pair.ours.latency_us)?;
    }
    let curve = |side: Side, histogram: &Histogram<u64>| {
        let points = (0..=CURVE_STEPS).map(|step| {
            let nines = f64::from(step) / f64::from(CURVE_STEPS) * NINES_MAX;
            [nines, histogram.value_at_quantile(1.0 - 10_f64.powf(-nines)) as f64 / 1000.0]
        });
        Curve { name: CurveName::LatencyMs, side, points: points.collect() }
    };
    Ok(vec![curve(Side::Other, &bare), curve(Side::Imchannel, &ours)])
}

/// Measures both. Which one is first changes from round to round.
pub(crate) async fn turns<T>(
    round: usize,
    baseline: &Target,
    ours: &Target,
    measure: impl AsyncFn(&Target) -> anyhow::Result<T>,
) -> anyhow::Result<Pair<T>> {
    if round.is_multiple_of(2) {
        let baseline = measure(baseline).await?;
        return Ok(Pair { baseline, ours: measure(ours).await? });
    }
    let ours = measure(ours).await?;
    Ok(Pair { baseline: measure(baseline).await?, ours })
}
