//! The metrics of the normalizer.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bsp::unread::OTHER_PATHS;
use bsp::{BspId, NO_BSP, Outcome, UNKNOWN_CHANNEL};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use proto::v1::inbound_message::Content;
use service::Histogram;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    bsp: &'static str,
    kind: &'static str,
    detail: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FieldLabels {
    bsp: &'static str,
    field: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    bsp: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabels {
    bsp: &'static str,
    path: String,
}

/// Most paths of unread members with a separate counter. This limits the memory if a BSP keeps sending new
/// paths.
const PATHS_MAX: usize = 200;

/// Members that the parser does not read, by BSP and path.
#[derive(Debug, Default)]
struct UnreadPaths {
    members: Family<PathLabels, Counter>,
    /// Number of paths with a separate counter.
    known: Mutex<usize>,
}

impl UnreadPaths {
    fn add(&self, bsp: BspId, path: &str, times: u64) {
        let mut labels = PathLabels { bsp: bsp.as_str(), path: path.to_owned() };
        if let Some(counter) = self.members.get(&labels) {
            counter.inc_by(times);
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have added it first.
        if self.members.get(&labels).is_none() {
            if *known < PATHS_MAX {
                *known += 1;
            } else {
                OTHER_PATHS.clone_into(&mut labels.path);
            }
        }
        self.members.get_or_create(&labels).inc_by(times);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    bsp: &'static str,
    channel: String,
    reason: &'static str,
}

/// Most channels with a separate label. All others are `other`.
const CHANNELS_MAX: usize = 1_000;
/// Label of all other channels.
const OTHER: &str = "other";

/// The metrics.
#[derive(Debug, Default)]
pub(crate) struct NormalizerMetrics {
    items: Family<EventLabels, Counter>,
    unrecognized: Family<FieldLabels, Counter>,
    replaced: Family<FieldLabels, Counter>,
    unread: UnreadPaths,
    dead_letters: Family<ReasonLabels, Counter>,
    letters_refused: Family<RefusedLabels, Counter>,
    channels: Mutex<HashSet<String>>,
    age: Histogram,
}

impl NormalizerMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { age: Histogram::for_queueing(), ..Self::default() };
        let registry = registry.sub_registry_with_prefix("normalizer");
        let help = "Items of finished webhooks by BSP, kind (report, message, account, customer, ignored, rejected) and \
                    detail (status, type of content, kind of event, or what was ignored or rejected)";
        registry.register("items", help, metrics.items.clone());
        let help =
            "Values that the parser does not know, by BSP and field; their events were published anyway";
        registry.register("unrecognized", help, metrics.unrecognized.clone());
        let help =
            "Texts of events in which bytes that are not UTF-8 were replaced by U+FFFD, by BSP and field";
        registry.register("invalid_utf8", help, metrics.replaced.clone());
        let help = "Members that the parser does not read, by BSP and path; the events of their items carry them in unread_json. \
                    After 200 paths the rest is 'other'";
        registry.register("unread", help, metrics.unread.members.clone());
        let help = "Items and whole bodies that became dead letters, by BSP and reason; from the ninth item of a body on, several \
                    share a dead letter";
        registry.register("dead_letters", help, metrics.dead_letters.clone());
        let help = "Webhooks that were nacked because their dead letters could not be stored, by BSP, channel and reason \
                    (channel_full: the channel fills its quarter of DEADLETTERS; full: the stream is full)";
        registry.register("dead_letters_rejected", help, metrics.letters_refused.clone());
        // Present from the start, so that queries return a value and alerts have a first value to compare
        // with.
        for reason in ["channel_full", "full"] {
            let labels = RefusedLabels { bsp: NO_BSP, channel: UNKNOWN_CHANNEL.to_owned(), reason };
            drop(metrics.letters_refused.get_or_create(&labels));
        }
        let help = "Time from a webhook's arrival at ingress to the storage of its last event, in seconds";
        registry.register("webhook_age_seconds", help, metrics.age.clone());
        metrics
    }

    pub(crate) fn item(&self, bsp: BspId, outcome: &Outcome) {
        let (kind, detail) = match outcome {
            Outcome::Report(report) => ("report", report.status().as_str_name()),
            Outcome::Message(message) => ("message", content_name(message.content.as_ref())),
            Outcome::Account(event) => ("account", event.kind().as_str_name()),
            Outcome::Customer(event) => ("customer", event.kind().as_str_name()),
            Outcome::Ignored(what) => ("ignored", *what),
            Outcome::Rejected(reject) => ("rejected", reject.kind),
        };
        self.items.get_or_create(&EventLabels { bsp: bsp.as_str(), kind, detail }).inc();
    }

    pub(crate) fn unrecognized(&self, bsp: BspId, field: &'static str) {
        self.unrecognized.get_or_create(&FieldLabels { bsp: bsp.as_str(), field }).inc();
    }

    pub(crate) fn replaced(&self, bsp: BspId, field: &'static str) {
        self.replaced.get_or_create(&FieldLabels { bsp: bsp.as_str(), field }).inc();
    }

    pub(crate) fn unread(&self, bsp: BspId, path: &str, times: u64) {
        self.unread.add(bsp, path, times);
    }

    pub(crate) fn dead_letter(&self, bsp: Option<BspId>, reason: &'static str) {
        let bsp = bsp.map_or("none", BspId::as_str);
        self.dead_letters.get_or_create(&ReasonLabels { bsp, reason }).inc();
    }

    pub(crate) fn letters_refused(&self, bsp: Option<BspId>, channel: &str, reason: &'static str) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = channels.contains(channel);
        if !is_known && channels.len() < CHANNELS_MAX {
            channels.insert(channel.to_owned());
        }
        let channel = if channels.contains(channel) { channel } else { OTHER }.to_owned();
        let bsp = bsp.map_or(NO_BSP, BspId::as_str);
        self.letters_refused.get_or_create(&RefusedLabels { bsp, channel, reason }).inc();
    }

    pub(crate) fn finished(&self, age: Duration) {
        self.age.observe(age);
    }
}

fn content_name(content: Option<&Content>) -> &'static str {
    match content {
        Some(Content::Text(_)) => "text",
        Some(Content::Image(_)) => "image",
        Some(Content::Document(_)) => "document",
        Some(Content::Audio(_)) => "audio",
        Some(Content::Video(_)) => "video",
        Some(Content::Sticker(_)) => "sticker",
        Some(Content::Location(_)) => "location",
        Some(Content::Contacts(_)) => "contacts",
        Some(Content::ButtonReply(_)) => "button_reply",
        Some(Content::ListReply(_)) => "list_reply",
        Some(Content::Reaction(_)) => "reaction",
        Some(Content::Order(_)) => "order",
        Some(Content::Unsupported(_)) => "unsupported",
        Some(Content::FormReply(_)) => "form_reply",
        Some(Content::Edit(_)) => "edit",
        Some(Content::Revoke(_)) => "revoke",
        Some(Content::RequestWelcome(_)) => "request_welcome",
        None => "none",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    #[test]
    fn a_process_counts_200_paths_separately_and_the_rest_together() {
        let [infobip, twilio] =
            ["infobip", "twilio"].map(|name| bsp::registry::find(name).unwrap().profile().id);
        let unread = UnreadPaths::default();
        let count = |bsp: BspId, path: &str| {
            let labels = PathLabels { bsp: bsp.as_str(), path: path.to_owned() };
            unread.members.get(&labels).map(|counter| counter.get())
        };
        for number in 0..PATHS_MAX + 50 {
            unread.add(infobip, &format!("path{number}"), 1);
        }
        unread.add(infobip, "path0", 2);
        unread.add(infobip, "path249", 3);
        unread.add(twilio, "path0", 5);
        assert_eq!(count(infobip, "path0"), Some(3));
        assert_eq!((count(infobip, "path199"), count(infobip, "path200")), (Some(1), None));
        assert_eq!((count(infobip, OTHER_PATHS), count(twilio, OTHER_PATHS)), (Some(53), Some(5)));
        assert_eq!(count(twilio, "path0"), None);
    }
}
