//! The path of messages with the timeline beside it, against the same programs without it: the time from a webhook's first byte until
//! its event can be read.

use crate::environment::Environment;
use crate::output;
use crate::results::{Aim, Measured, Row, WIDTH_MAX_LATENCY};
use crate::suite::end_to_end::{Chain, Latency, at_rate};
use crate::suite::ingress::start_ours;
use crate::suite::timeline_http::Service;
use crate::suite::{Effort, purge};

/// Webhooks a second: what 1,000 messages a second cause, which is the most in the sizing tables, with three reports each.
pub(crate) const RATE: f64 = 3000.0;
/// Most latency with the timeline, as a multiple of that without it. A median that the timeline does not change was seen at up to 1.22 times in
/// three rounds on two cores.
const LATENCY_RATIO_MAX: f64 = 1.25;

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let place = Environment::start(effort.layout).await?;
    let (ingress, target) = start_ours(&place).await?;
    let normalizer = place.program("imchannel-normalizer", &[])?;
    let mut rounds: Vec<(Latency, Latency)> = Vec::new();
    for round in 0..effort.rounds {
        let without = async || at_rate(&place, Chain::Ours, &target, RATE, effort).await;
        let with = async || {
            purge(&place, &Chain::Ours.streams()).await?;
            let folder = tempfile::tempdir()?;
            let timeline = Service::start(&place, folder.path()).await?;
            let measured = without().await?;
            timeline.end().await?;
            anyhow::Ok(measured)
        };
        // The other one is first in every round.
        let pair = if round % 2 == 0 {
            let first = without().await?;
            (first, with().await?)
        } else {
            let first = with().await?;
            (without().await?, first)
        };
        for (name, of) in [("without", &pair.0), ("with   ", &pair.1)] {
            let [p50, p99] = [0.5, 0.99].map(|quantile| of.millis(quantile));
            output::say(&format!("  {name} p50 {p50:.2} ms, p99 {p99:.2} ms, {} missing", of.missing));
        }
        rounds.push(pair);
    }
    ingress.end().await;
    normalizer.end().await;
    let row = |id: &str, name: &str, at: f64| {
        Row::against(id, name, rounds.iter().map(|(without, with)| (without.millis(at), with.millis(at))))
            .map(|row| row.with_aim(Aim::AtMost(LATENCY_RATIO_MAX)).with_width_max(WIDTH_MAX_LATENCY))
    };
    let rows = [row("median", "median, ms", 0.5), row("p99", "99th percentile, ms", 0.99)];
    let missing: u64 = rounds.iter().map(|(_, with)| with.missing).sum();
    let remark = format!("Events that did not come out beside the timeline: {missing}.");
    Ok(Measured { rows: rows.into_iter().flatten().collect(), remarks: vec![remark], ..Measured::default() })
}
