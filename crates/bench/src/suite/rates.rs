//! Ingress and the baseline receiver at a series of constant rates, up to more than they carry: the plot of throughput and
//! 99th percentile over the rate.

use crate::load::Outcome;
use crate::output;
use crate::pair::Pair;
use crate::results::{Curve, CurveName, Measured, Row, Side, WIDTH_MAX_RATE};
use crate::statistics::Spread;
use crate::suite::Effort;
use crate::suite::ingress::{Both, both_of};

/// The rates, as shares of what the baseline receiver answers as fast as it can.
const SHARES: [f64; 8] = [0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 1.1];

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let both = Both::start(effort).await?;
    let capacity = both.closed(0, effort).await?.baseline.per_second;
    let mut curves = Curves::default();
    let mut last = Vec::new();
    for share in SHARES {
        let rate = (capacity * share / 100.0).round().max(1.0) * 100.0;
        let mut pairs = Vec::new();
        // A curve has eight points; half of the rounds show where it bends.
        for round in 0..effort.rounds.div_ceil(2) {
            let pair = both.open(round, rate, effort).await?;
            output::say(&format!("  {rate:.0}/s  bare      {}", pair.baseline));
            output::say(&format!("  {rate:.0}/s  imchannel {}", pair.ours));
            pairs.push(pair);
        }
        curves.add(rate, &pairs);
        last = pairs;
    }
    both.end().await;
    let overload = Row::against(
        "overload",
        &format!(
            "requests/s answered when {:.1} times the bare receiver's are offered",
            SHARES[SHARES.len() - 1]
        ),
        both_of(&last, |outcome| outcome.per_second),
    );
    let rows = overload.map(|row| row.with_width_max(WIDTH_MAX_RATE)).into_iter().collect();
    Ok(Measured { rows, curves: curves.finish(), remarks: Vec::new() })
}

/// The points of each curve.
#[derive(Default)]
struct Curves {
    answered: [Vec<[f64; 2]>; 2],
    p99_ms: [Vec<[f64; 2]>; 2],
}

/// The sides in the order of the arrays.
const SIDES: [Side; 2] = [Side::Other, Side::Imchannel];

impl Curves {
    /// Adds a rate: the median of its rounds.
    fn add(&mut self, rate: f64, pairs: &[Pair<Outcome>]) {
        for (place, side) in SIDES.into_iter().enumerate() {
            let outcomes = || {
                pairs.iter().map(move |pair| if side == Side::Other { &pair.baseline } else { &pair.ours })
            };
            let answered = Spread::of(outcomes().map(|outcome| outcome.per_second));
            self.answered[place].extend(answered.map(|spread| [rate, spread.median]));
            let p99 = Spread::of(outcomes().map(|outcome| outcome.millis(0.99)));
            self.p99_ms[place].extend(p99.map(|spread| [rate, spread.median]));
        }
    }

    fn finish(self) -> Vec<Curve> {
        let named = |name: CurveName, points: [Vec<[f64; 2]>; 2]| {
            SIDES.into_iter().zip(points).map(move |(side, points)| Curve { name, side, points })
        };
        let answered = named(CurveName::Answered, self.answered);
        answered.chain(named(CurveName::P99Ms, self.p99_ms)).collect()
    }
}
