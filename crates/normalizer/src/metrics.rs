//! What the normalizer counts.

use std::time::Duration;

use bsp::{BspId, Outcome};
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

/// The metrics.
#[derive(Debug)]
pub(crate) struct NormalizerMetrics {
    items: Family<EventLabels, Counter>,
    unrecognised: Family<FieldLabels, Counter>,
    replaced: Family<FieldLabels, Counter>,
    dead_letters: Family<ReasonLabels, Counter>,
    age: Histogram,
}

impl NormalizerMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            items: Family::default(),
            unrecognised: Family::default(),
            replaced: Family::default(),
            dead_letters: Family::default(),
            age: Histogram::of_waiting(),
        };
        let registry = registry.sub_registry_with_prefix("normalizer");
        let help = "Items of finished webhooks by BSP, kind (report, message, account, customer, ignored, rejected) and \
                    detail (status, type of content, kind of event, or what was ignored or rejected)";
        registry.register("items", help, metrics.items.clone());
        let help =
            "Values that the parser does not know, by BSP and field; their events went out all the same";
        registry.register("unrecognised", help, metrics.unrecognised.clone());
        let help =
            "Texts of events in which bytes that are not UTF-8 were replaced by U+FFFD, by BSP and field";
        registry.register("replaced", help, metrics.replaced.clone());
        let help = "Dead letters by BSP and reason";
        registry.register("dead_letters", help, metrics.dead_letters.clone());
        let help = "From a webhook's arrival at ingress to the storage of its last event, in seconds";
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

    pub(crate) fn unrecognised(&self, bsp: BspId, field: &'static str) {
        self.unrecognised.get_or_create(&FieldLabels { bsp: bsp.as_str(), field }).inc();
    }

    pub(crate) fn replaced(&self, bsp: BspId, field: &'static str) {
        self.replaced.get_or_create(&FieldLabels { bsp: bsp.as_str(), field }).inc();
    }

    pub(crate) fn dead_letter(&self, bsp: Option<BspId>, reason: &'static str) {
        let bsp = bsp.map_or("none", BspId::as_str);
        self.dead_letters.get_or_create(&ReasonLabels { bsp, reason }).inc();
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
