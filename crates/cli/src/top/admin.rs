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

/// BSP, channel (empty for what belongs to none) and outcome.
pub(super) type Refused = (String, String, String);

/// Refusals since their processes began.
type Counts = BTreeMap<Refused, u64>;

/// An admin port of ingress.
#[derive(Debug)]
pub(super) struct Port {
    url: String,
    /// What it said first: only what comes after is shown.
    before: Option<Counts>,
    /// What it said last.
    last: Counts,
}

impl Port {
    pub(super) fn new(url: &str) -> Self {
        let url = format!("{}/metrics", url.trim_end_matches('/'));
        Self { url, before: None, last: Counts::new() }
    }

    /// Asks anew; says whether it answered.
    pub(super) async fn ask(&mut self, client: &reqwest::Client) -> bool {
        let Ok(answer) = client.get(&self.url).timeout(TIMEOUT).send().await else { return false };
        let Ok(text) = answer.text().await else { return false };
        self.take(&text);
        true
    }

    fn take(&mut self, text: &str) {
        let counts = counts(text);
        // A count that has fallen is of a process that began anew.
        let before = self.before.get_or_insert_with(|| counts.clone());
        if before.iter().any(|(key, count)| counts.get(key).is_none_or(|now| now < count)) {
            before.clear();
        }
        self.last = counts;
    }

    /// Refusals since the first answer.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&Refused, u64)> {
        self.last.iter().filter_map(|(key, count)| {
            let before = self.before.as_ref()?.get(key).copied().unwrap_or_default();
            Some((key, count.saturating_sub(before))).filter(|(_, count)| *count > 0)
        })
    }
}

fn counts(text: &str) -> Counts {
    let mut counts = Counts::new();
    for sample in samples(text, "imchannel_ingress_channel_refused_total") {
        let key = (sample.label("bsp"), sample.label("channel"), sample.label("outcome"));
        counts.insert(key, sample.value as u64);
    }
    for sample in samples(text, "imchannel_ingress_requests_total") {
        let (bsp, outcome) = (sample.label("bsp"), sample.label("outcome"));
        if matches!(outcome.as_str(), "stored" | "duplicate" | "challenged") {
            continue;
        }
        // What belongs to a channel is no stranger's.
        let known = counts.iter().filter(|((of, _, what), _)| *of == bsp && *what == outcome);
        let known: u64 = known.map(|(_, count)| count).sum();
        counts.insert((bsp, String::new(), outcome), (sample.value as u64).saturating_sub(known));
    }
    counts
}

impl Sample {
    fn label(&self, name: &str) -> String {
        self.labels.get(name).cloned().unwrap_or_default()
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

    fn metrics(unauthorized: u64, of_channel: u64) -> String {
        format!(
            "# TYPE imchannel_ingress_requests counter\n\
             imchannel_ingress_requests_total{{bsp=\"infobip\",outcome=\"stored\"}} 7\n\
             imchannel_ingress_requests_total{{bsp=\"infobip\",outcome=\"unauthorized\"}} {unauthorized}\n\
             imchannel_ingress_requests_total{{bsp=\"twilio\",outcome=\"challenged\"}} 9\n\
             imchannel_ingress_channel_refused_total{{bsp=\"infobip\",channel=\"c-1\",outcome=\"unauthorized\"}} {of_channel}\n"
        )
    }

    fn refused(port: &Port) -> Vec<(&str, u64)> {
        port.refused().map(|((_, channel, _), count)| (channel.as_str(), count)).collect()
    }

    #[test]
    fn only_refusals_since_the_first_answer_count_each_once() {
        let mut port = Port::new("http://127.0.0.1:9090/");
        port.take(&metrics(3, 2));
        assert!(refused(&port).is_empty());
        port.take(&metrics(8, 4));
        assert_eq!(refused(&port), [("", 3), ("c-1", 2)]);
        // The process was begun anew.
        port.take(&metrics(1, 1));
        assert_eq!(refused(&port), [("c-1", 1)]);
    }
}
