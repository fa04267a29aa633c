//! The path of messages with the timeline beside it, against the same programs without it: the time from a webhook's first byte until
//! its event can be read. It is measured twice without the timeline, because the difference of the two is the noise.

use crate::client::Target;
use crate::environment::Environment;
use crate::output;
use crate::results::{Aim, Measured, Row, WIDTH_MAX_LATENCY};
use crate::suite::end_to_end::{Chain, Latency, at_rate};
use crate::suite::ingress::start_ours;
use crate::suite::timeline_http::Service;
use crate::suite::{Effort, purge};

/// A rate at which the path is measured.
#[derive(Debug, Clone, Copy)]
struct Rate {
    /// Begins the names of the rows in JSON.
    id: &'static str,
    webhooks_per_s: f64,
}

/// What 100 and 1,000 messages a second cause, with three reports each: the larger rates of the sizing tables.
const RATES: [Rate; 2] =
    [Rate { id: "300-", webhooks_per_s: 300.0 }, Rate { id: "", webhooks_per_s: 3000.0 }];
/// How many times as long as another one a measurement takes: the slowest hundredth of a few seconds are one or two events of the machine.
const TIMES: u32 = 2;
/// Largest ratio of two measurements without the timeline with which the rows count.
const NOISE_MAX: f64 = 2.0;

/// The latencies of one round.
struct Round {
    without: Latency,
    with: Latency,
    /// Without the timeline again.
    again: Latency,
}

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let effort = Effort { time: effort.time * TIMES, ..effort };
    let place = Environment::start(effort.layout).await?;
    let (ingress, target) = start_ours(&place).await?;
    let normalizer = place.program("imchannel-normalizer", &[])?;
    let (mut rows, mut missing) = (Vec::new(), 0);
    for rate in RATES {
        let mut rounds: Vec<Round> = Vec::new();
        for number in 0..effort.rounds {
            rounds.push(round(&place, &target, rate.webhooks_per_s, number, effort).await?);
        }
        let words = format!("at {} webhooks/s, ms", rate.webhooks_per_s);
        rows.extend(rows_of(&rounds, &format!("{}median", rate.id), &format!("median {words}"), 0.5));
        rows.extend(rows_of(&rounds, &format!("{}p99", rate.id), &format!("99th percentile {words}"), 0.99));
        missing += rounds.iter().map(|round| round.with.missing).sum::<u64>();
    }
    ingress.end().await;
    normalizer.end().await;
    let remark = format!("Events that did not come out beside the timeline: {missing}.");
    Ok(Measured { rows, remarks: vec![remark], ..Measured::default() })
}

async fn round(
    place: &Environment,
    target: &Target,
    rate: f64,
    number: usize,
    effort: Effort,
) -> anyhow::Result<Round> {
    let without = async || at_rate(place, Chain::Ours, target, rate, effort).await;
    let with = async || {
        purge(place, &Chain::Ours.streams()).await?;
        let folder = tempfile::tempdir()?;
        let timeline = Service::start(place, folder.path()).await?;
        let measured = without().await?;
        timeline.end().await?;
        anyhow::Ok(measured)
    };
    // Another one is first in every round.
    let round = match number % 3 {
        0 => Round { without: without().await?, with: with().await?, again: without().await? },
        1 => Round { with: with().await?, again: without().await?, without: without().await? },
        _ => Round { again: without().await?, without: without().await?, with: with().await? },
    };
    for (name, of) in [("without", &round.without), ("with   ", &round.with), ("again  ", &round.again)] {
        let [p50, p99] = [0.5, 0.99].map(|quantile| of.millis(quantile));
        output::say(&format!("  {rate}/s {name} p50 {p50:.2} ms, p99 {p99:.2} ms, {} missing", of.missing));
    }
    Ok(round)
}

/// The row of a percentile, whose aim is the noise, and the row of the noise.
fn rows_of(rounds: &[Round], id: &str, name: &str, at: f64) -> Vec<Row> {
    // Against both measurements without the timeline: which of them is lower is chance.
    let pairs = rounds.iter().flat_map(|round| {
        let with = round.with.millis(at);
        [(round.without.millis(at), with), (round.again.millis(at), with)]
    });
    let twice: Vec<(f64, f64)> =
        rounds.iter().map(|round| (round.without.millis(at), round.again.millis(at))).collect();
    let row = Row::against(id, name, pairs).map(|row| {
        let row = row.with_aim(Aim::AtMost(noise(&twice))).with_width_max(WIDTH_MAX_LATENCY);
        if noise(&twice) > NOISE_MAX { row.refused_for(too_noisy(noise(&twice))) } else { row }
    });
    let again = format!("{name}, twice without the timeline");
    let again = Row::against(&format!("{id}-again"), &again, twice.iter().copied());
    row.into_iter().chain(again).collect()
}

/// The largest ratio of two measurements of the same, rounded up to hundredths.
fn noise(twice: &[(f64, f64)]) -> f64 {
    let largest = twice.iter().map(|(one, other)| (one / other).max(other / one)).fold(1.0, f64::max);
    (largest * 100.0).ceil() / 100.0
}

fn too_noisy(noise: f64) -> String {
    format!("without the timeline, two measurements differ by a factor of {noise} (limit {NOISE_MAX})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noise_is_the_largest_difference_in_either_direction() {
        assert_eq!(noise(&[(2.0, 2.0)]).to_string(), "1");
        assert_eq!(noise(&[(3.0, 3.3), (2.0, 2.0)]).to_string(), "1.1");
        assert_eq!(noise(&[(3.0, 3.3), (2.5, 2.0)]).to_string(), "1.25");
    }
}
