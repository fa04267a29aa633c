//! Refused requests of ingress by cause, from its metrics.

use std::collections::BTreeMap;

/// Outcomes that are not refusals, or intended: the first call of a BSP that sends its credential only when asked for
/// it.
const NO_REFUSALS: [&str; 4] = ["stored", "duplicate", "spooled", "challenged"];

/// A group of refused requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Refused {
    pub(crate) bsp: String,
    /// Channel; empty if it is unknown.
    pub(crate) channel: String,
    pub(crate) cause: String,
}

/// Refused requests since the process started.
pub(crate) type Counts = BTreeMap<Refused, u64>;

/// A sample of a metric: its labels and its value.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Sample {
    fn label(&self, name: &str) -> String {
        self.labels.get(name).cloned().unwrap_or_default()
    }
}

/// Parses the metrics of ingress; empty for another service.
pub(crate) fn counts(metrics: &str) -> Counts {
    let mut counts = Counts::new();
    // Requests for known channels, by BSP and outcome, which are subtracted from all requests.
    let mut known: BTreeMap<(String, String), u64> = BTreeMap::new();
    for sample in samples(metrics, "imchannel_ingress_channel_refused_total") {
        let (bsp, outcome) = (sample.label("bsp"), sample.label("outcome"));
        // Services of versions before this label leave it out.
        let cause = Some(sample.label("cause")).filter(|cause| !cause.is_empty());
        *known.entry((bsp.clone(), outcome.clone())).or_default() += sample.value as u64;
        if outcome == "challenged" {
            continue;
        }
        let refused = Refused { bsp, channel: sample.label("channel"), cause: cause.unwrap_or(outcome) };
        *counts.entry(refused).or_default() += sample.value as u64;
    }
    for sample in samples(metrics, "imchannel_ingress_requests_total") {
        let (bsp, outcome) = (sample.label("bsp"), sample.label("outcome"));
        if NO_REFUSALS.contains(&outcome.as_str()) {
            continue;
        }
        let of_channels = known.get(&(bsp.clone(), outcome.clone())).copied().unwrap_or_default();
        let cause = if outcome == "unauthorized" { "unknown_channel".to_owned() } else { outcome };
        let count = (sample.value as u64).saturating_sub(of_channels);
        counts.insert(Refused { bsp, channel: String::new(), cause }, count);
    }
    counts
}

/// Returns the samples of one metric in an OpenMetrics text. None of our label values contains a quote or a comma.
fn samples(text: &str, name: &str) -> Vec<Sample> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
    let sample = |(labels, value): (&str, &str)| {
        let labels = labels.split(',').filter_map(|label| label.split_once('='));
        let labels =
            labels.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect();
        Some(Sample { labels, value: value.split(' ').next()?.parse().ok()? })
    };
    lines.filter_map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_distinguished_and_each_refusal_counts_once() {
        let metrics = "imchannel_ingress_requests_total{bsp=\"koomessage\",outcome=\"unauthorized\"} 9\n\
             imchannel_ingress_requests_total{bsp=\"koomessage\",outcome=\"stored\"} 7\n\
             imchannel_ingress_requests_total{bsp=\"koomessage\",outcome=\"spooled\"} 5\n\
             imchannel_ingress_channel_refused_total{bsp=\"koomessage\",channel=\"c-1\",outcome=\"unauthorized\",cause=\"other_bsp\"} 4\n\
             imchannel_ingress_channel_refused_total{bsp=\"koomessage\",channel=\"k-1\",outcome=\"unauthorized\",cause=\"wrong_credential\"} 2\n\
             imchannel_ingress_channel_refused_total{bsp=\"twilio\",channel=\"t-1\",outcome=\"challenged\",cause=\"challenged\"} 8\n";
        let counts = counts(metrics);
        let found: Vec<_> =
            counts.iter().map(|(refused, count)| (&*refused.channel, &*refused.cause, *count)).collect();
        assert_eq!(
            found,
            [("", "unknown_channel", 3), ("c-1", "other_bsp", 4), ("k-1", "wrong_credential", 2)]
        );
    }
}
