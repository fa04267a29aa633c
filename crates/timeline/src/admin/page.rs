//! One answer of an admin port: which process it is, and what it counts.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::admin::samples::{self, Sample};
use crate::admin::{Counter, CounterKey};

/// Most counters of one process. Ingress has about ten for each channel.
pub const COUNTERS_MAX: usize = 100_000;

const BUILD: &str = "imchannel_build_info";
const STARTED: &str = "process_start_time_seconds";
const REQUESTS: &str = "imchannel_ingress_requests_total";
const REFUSED: &str = "imchannel_ingress_channel_refused_total";
const CREDENTIALS: &str = "imchannel_ingress_credential_used_total";
const RESULTS: &str = "imchannel_sender_results_total";
/// A gauge that only ingress has, and always.
const OF_INGRESS: &str = "imchannel_ingress_channels";
/// A gauge that only the sender has, and always.
const OF_SENDER: &str = "imchannel_sender_lanes";

/// Every metric that is read.
const WANTED: [&str; 8] = [BUILD, STARTED, REQUESTS, REFUSED, CREDENTIALS, RESULTS, OF_INGRESS, OF_SENDER];

/// Outcomes of a webhook that are no refusals. `challenged` is the normal first call of a BSP that sends its password only after
/// a 401.
const NO_REFUSALS: [&str; 4] = ["stored", "duplicate", "spooled", "challenged"];

/// What a process says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Its program, such as `imchannel-ingress`.
    pub program: String,
    /// Its version.
    pub version: String,
    /// When it started; `None` if it does not say.
    pub started_at: Option<Timestamp>,
    /// Whether it has an ingress.
    pub has_ingress: bool,
    /// Whether it has a sender.
    pub has_sender: bool,
    /// Its counters.
    pub counts: HashMap<CounterKey, u64>,
}

/// The text is not that of an admin port of imchannel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPage {
    /// A line has another form.
    #[error("line {0} of /metrics cannot be read")]
    Line(usize),
    /// The process does not say that it is one of imchannel.
    #[error("/metrics does not have {BUILD}: it is not an admin port of imchannel")]
    Other,
    /// It has too many counters.
    #[error("/metrics has more than {COUNTERS_MAX} counters of channels")]
    TooMany,
}

impl Page {
    /// Reads a text of `/metrics`.
    ///
    /// # Errors
    /// [`InvalidPage`] when it is not one of imchannel.
    pub fn read(text: &str) -> Result<Self, InvalidPage> {
        let mut page = Self::default();
        // Refused webhooks by BSP and outcome: of all, and of those whose channel is known.
        let mut by_outcome = HashMap::new();
        let mut is_ours = false;
        for (index, line) in text.lines().enumerate() {
            if !samples::name(line).is_some_and(|name| WANTED.contains(&name)) {
                continue;
            }
            let sample = samples::sample(line).ok_or(InvalidPage::Line(index + 1))?;
            match sample.name {
                BUILD => {
                    is_ours = true;
                    page.program = sample.label("program").to_owned();
                    page.version = sample.label("version").to_owned();
                }
                STARTED => page.started_at = Timestamp::from_millisecond((sample.value * 1000.0) as i64).ok(),
                OF_INGRESS => page.has_ingress = true,
                OF_SENDER => page.has_sender = true,
                REQUESTS => add(&mut by_outcome, &sample, 1),
                REFUSED => {
                    add(&mut by_outcome, &sample, -1);
                    page.take_refused(&sample);
                }
                CREDENTIALS => page.take(Counter::Credential, "", sample.label("credential"), &sample),
                _ => page.take(Counter::Result, "", sample.label("outcome"), &sample),
            }
            if page.counts.len() > COUNTERS_MAX {
                return Err(InvalidPage::TooMany);
            }
        }
        if !is_ours {
            return Err(InvalidPage::Other);
        }
        page.take_without_channel(by_outcome);
        Ok(page)
    }

    fn take_refused(&mut self, sample: &Sample<'_>) {
        if sample.label("outcome") == "challenged" {
            return;
        }
        self.take(Counter::Refused, sample.label("bsp"), sample.label("cause"), sample);
    }

    /// Adds a sample to its counter: results of several contents are one.
    fn take(&mut self, counter: Counter, bsp: &str, label: &str, sample: &Sample<'_>) {
        let key = CounterKey {
            counter,
            channel: sample.label("channel").to_owned(),
            bsp: bsp.to_owned(),
            label: label.to_owned(),
        };
        *self.counts.entry(key).or_default() += sample.count();
    }

    /// Webhooks that were refused and belong to no known channel.
    fn take_without_channel(&mut self, by_outcome: HashMap<(String, String), i64>) {
        for ((bsp, outcome), count) in by_outcome {
            if NO_REFUSALS.contains(&outcome.as_str()) {
                continue;
            }
            let label = if outcome == "unauthorized" { "unknown_channel".to_owned() } else { outcome };
            let key = CounterKey { counter: Counter::Refused, channel: String::new(), bsp, label };
            self.counts.insert(key, u64::try_from(count).unwrap_or_default());
        }
    }
}

/// Adds the value of a sample, with a sign, to its BSP and outcome.
fn add(counts: &mut HashMap<(String, String), i64>, sample: &Sample<'_>, sign: i64) {
    let key = (sample.label("bsp").to_owned(), sample.label("outcome").to_owned());
    *counts.entry(key).or_default() += sign * i64::try_from(sample.count()).unwrap_or(i64::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP imchannel_build_info The program.\n\
        imchannel_build_info{program=\"imchannel-ingress\",version=\"0.1.0\"} 1\n\
        process_start_time_seconds 1796000000\n\
        imchannel_ingress_channels 3\n\
        imchannel_ingress_requests_total{bsp=\"infobip\",outcome=\"unauthorized\"} 9\n\
        imchannel_ingress_requests_total{bsp=\"infobip\",outcome=\"stored\"} 7\n\
        imchannel_ingress_channel_refused_total{bsp=\"infobip\",channel=\"a\",outcome=\"unauthorized\",cause=\"wrong_credential\"} 4\n\
        imchannel_ingress_channel_refused_total{bsp=\"twilio\",channel=\"t\",outcome=\"challenged\",cause=\"challenged\"} 8\n\
        imchannel_ingress_credential_used_total{channel=\"a\",credential=\"2\"} 5\n\
        imchannel_sender_results_total{bsp=\"infobip\",channel=\"a\",content=\"text\",outcome=\"accepted\"} 2\n\
        imchannel_sender_results_total{bsp=\"infobip\",channel=\"a\",content=\"document\",outcome=\"accepted\"} 3\n\
        another_metric{broken\n";

    fn count(page: &Page, counter: Counter, channel: &str, label: &str) -> Option<u64> {
        let found = page
            .counts
            .iter()
            .find(|(key, _)| key.counter == counter && key.channel == channel && key.label == label);
        found.map(|(_, count)| *count)
    }

    #[test]
    fn a_process_says_who_it_is_and_what_it_counts() {
        let page = Page::read(TEXT).unwrap();
        assert_eq!((page.program.as_str(), page.version.as_str()), ("imchannel-ingress", "0.1.0"));
        assert_eq!(page.started_at.unwrap().as_second(), 1_796_000_000);
        assert!(page.has_ingress && !page.has_sender);
        assert_eq!(count(&page, Counter::Refused, "a", "wrong_credential"), Some(4));
        assert_eq!(count(&page, Counter::Refused, "", "unknown_channel"), Some(5));
        assert_eq!(count(&page, Counter::Refused, "t", "challenged"), None);
        assert_eq!(count(&page, Counter::Credential, "a", "2"), Some(5));
        assert_eq!(count(&page, Counter::Result, "a", "accepted"), Some(5));
    }

    #[test]
    fn another_text_is_an_error() {
        assert_eq!(Page::read("up 1\n"), Err(InvalidPage::Other));
        assert_eq!(Page::read("<html>"), Err(InvalidPage::Other));
        let broken = "imchannel_build_info{program=\"x\",version=\"1\"} 1\nimchannel_sender_lanes x\n";
        assert_eq!(Page::read(broken), Err(InvalidPage::Line(2)));
    }
}
