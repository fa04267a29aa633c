//! Refusals and the spool, out of the metrics of ingress.

use std::time::Duration;

use crate::refusals::{self, Counts, Refused};
use crate::spooled::{self, Spooled};

/// Timeout of one request to an admin port.
const TIMEOUT: Duration = Duration::from_millis(800);

/// An admin port of ingress.
#[derive(Debug)]
pub(super) struct Port {
    url: String,
    /// What it said first: only what comes after is shown.
    before: Option<Counts>,
    /// What it said last.
    last: Counts,
    /// Its spool, as it said last; `None` if it has none.
    spooled: Option<Spooled>,
}

impl Port {
    pub(super) fn new(url: &str) -> Self {
        let url = format!("{}/metrics", url.trim_end_matches('/'));
        Self { url, before: None, last: Counts::new(), spooled: None }
    }

    /// Asks again and returns whether it answered.
    pub(super) async fn ask(&mut self, client: &reqwest::Client) -> bool {
        let Ok(answer) = client.get(&self.url).timeout(TIMEOUT).send().await else { return false };
        let Ok(text) = answer.text().await else { return false };
        self.take(&text);
        true
    }

    fn take(&mut self, text: &str) {
        let counts = refusals::counts(text);
        // A count falls only when the process was restarted.
        let before = self.before.get_or_insert_with(|| counts.clone());
        if before.iter().any(|(key, count)| counts.get(key).is_none_or(|now| now < count)) {
            before.clear();
        }
        self.last = counts;
        self.spooled = spooled::read(text);
    }

    /// Its spool; `None` if it has none, or has not answered yet.
    pub(super) fn spooled(&self) -> Option<Spooled> {
        self.spooled
    }

    /// Refusals since the first answer.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&Refused, u64)> {
        self.last.iter().filter_map(|(key, count)| {
            let before = self.before.as_ref()?.get(key).copied().unwrap_or_default();
            Some((key, count.saturating_sub(before))).filter(|(_, count)| *count > 0)
        })
    }
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
        port.refused().map(|(refused, count)| (refused.channel.as_str(), count)).collect()
    }

    #[test]
    fn only_refusals_since_the_first_answer_count_each_once() {
        let mut port = Port::new("http://127.0.0.1:9090/");
        port.take(&metrics(3, 2));
        assert!(refused(&port).is_empty());
        port.take(&metrics(8, 4));
        assert_eq!(refused(&port), [("", 3), ("c-1", 2)]);
        // The process was restarted.
        port.take(&metrics(1, 1));
        assert_eq!(refused(&port), [("c-1", 1)]);
    }
}
