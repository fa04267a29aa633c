//! Refusals, out of the metrics of ingress.

use std::collections::BTreeMap;
use std::time::Duration;

/// For an admin port to answer.
const TIMEOUT: Duration = Duration::from_millis(800);

/// A sample of a metric: its labels and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    labels: BTreeMap<String, String>,
    value: f64,
}

/// Refusals by what they belong to.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusals {
    /// By channel and outcome.
    pub(super) of_channels: BTreeMap<(String, String), u64>,
    /// Of all senders, by BSP and outcome.
    pub(super) of_bsps: BTreeMap<(String, String), u64>,
}

impl Refusals {
    /// Adds up what all admin ports say; also how many answered.
    pub(super) async fn ask(client: &reqwest::Client, admins: &[String]) -> (Self, usize) {
        let (mut refusals, mut answering) = (Self::default(), 0);
        for admin in admins {
            let url = format!("{}/metrics", admin.trim_end_matches('/'));
            let Ok(answer) = client.get(url).timeout(TIMEOUT).send().await else { continue };
            let Ok(text) = answer.text().await else { continue };
            answering += 1;
            refusals.add(&text);
        }
        (refusals, answering)
    }

    fn add(&mut self, text: &str) {
        for sample in samples(text, "imchannel_ingress_channel_refused_total") {
            *self.of_channels.entry(sample.pair("channel", "outcome")).or_default() += sample.value as u64;
        }
        for sample in samples(text, "imchannel_ingress_requests_total") {
            let (bsp, outcome) = sample.pair("bsp", "outcome");
            if !matches!(outcome.as_str(), "stored" | "duplicate" | "challenged") {
                *self.of_bsps.entry((bsp, outcome)).or_default() += sample.value as u64;
            }
        }
    }
}

impl Sample {
    fn pair(&self, first: &str, second: &str) -> (String, String) {
        let label = |name| self.labels.get(name).cloned().unwrap_or_default();
        (label(first), label(second))
    }
}

/// The samples of one metric in an OpenMetrics text. None of our labels holds a quote or a comma.
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
    fn refusals_are_told_from_what_was_taken() {
        let mut refusals = Refusals::default();
        refusals.add(
            "# TYPE imchannel_ingress_requests counter\n\
             imchannel_ingress_requests_total{bsp=\"infobip\",outcome=\"stored\"} 7\n\
             imchannel_ingress_requests_total{bsp=\"infobip\",outcome=\"unauthorized\"} 3\n\
             imchannel_ingress_requests_total{bsp=\"twilio\",outcome=\"challenged\"} 9\n\
             imchannel_ingress_channel_refused_total{channel=\"c-1\",outcome=\"unauthorized\"} 2\n",
        );
        let unauthorized = |of: &str| (of.to_owned(), "unauthorized".to_owned());
        assert_eq!(refusals.of_bsps, BTreeMap::from([(unauthorized("infobip"), 3)]));
        assert_eq!(refusals.of_channels, BTreeMap::from([(unauthorized("c-1"), 2)]));
    }
}
