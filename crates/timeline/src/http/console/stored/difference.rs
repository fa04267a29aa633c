//! Compares the events that were published for a webhook with those that today's parser makes of it. Pure.
//!
//! `imchannel replay webhooks` compares in the same way over many webhooks, and also publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;

use bsp::{Item, Outcome, Webhook, mask, registry};
use bus::{Delivery, EventKind, Subject, headers};
use prost::Message;
use proto::v1::{AccountEvent, CustomerEvent, InboundMessage, ReportEvent};
use serde_json::Value;

use crate::row::shown;

/// Most differing fields of an event that are shown.
pub(super) const FIELDS_MAX: usize = 50;
/// Longest value of a field that is shown, in characters.
const VALUE_CHARS_MAX: usize = 200;

/// What today's parser makes of a webhook, beside what was published.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Difference {
    /// Each event, and each item without one that the parser refuses.
    pub(super) items: Vec<Compared>,
    /// Items that the back end does not need.
    pub(super) ignored: usize,
}

/// An event or a refused item.
#[derive(Debug, PartialEq)]
pub(super) struct Compared {
    /// `report`, `message`, `account`, `customer` or `item`.
    pub(super) kind: &'static str,
    /// The event's id; empty for a refused item.
    pub(super) event_id: String,
    /// How it differs.
    pub(super) change: Change,
}

/// How an event differs.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    /// It is the same.
    Same,
    /// Fields have other values.
    Fields(Vec<Field>),
    /// It was not published, and this version makes it.
    NotPublished,
    /// It was published, and this version does not make it.
    NotMade,
    /// This version refuses the item, for this reason.
    Refused(String),
}

/// A field that differs, as people may see it. A value is empty where the field is absent.
#[derive(Debug, PartialEq)]
pub(super) struct Field {
    pub(super) path: String,
    pub(super) published: String,
    pub(super) now: String,
}

/// The fields of an event, as they are and masked.
struct Fields {
    kind: EventKind,
    plain: BTreeMap<String, String>,
    masked: BTreeMap<String, String>,
}

/// Compares. `None` if the webhook's subject names no BSP and channel.
pub(super) fn of(webhook: &Delivery, published: &[Delivery]) -> Option<Difference> {
    let Some(Subject::Webhook(bsp, channel)) = webhook.address() else { return None };
    let received_at = webhook.headers.get(headers::RECEIVED_AT).and_then(|text| text.parse().ok());
    let input = Webhook {
        channel: &channel,
        body: &webhook.payload,
        received_at: received_at.unwrap_or(webhook.stored_at),
        sequence: webhook.sequence,
    };
    // A parser that panics refuses the whole body in the normalizer.
    let parsed = std::panic::catch_unwind(AssertUnwindSafe(|| registry::get(bsp).parse(&input)));
    let Ok(parsed) = parsed else {
        let change = Change::Refused("the parser panicked on this body".to_owned());
        return Some(Difference { items: vec![refused(change)], ignored: 0 });
    };
    let mut then: BTreeMap<String, Fields> = published.iter().filter_map(of_delivery).collect();
    let mut difference = Difference::default();
    for item in &parsed.items {
        match (&item.outcome, of_item(item)) {
            (_, Some((id, now))) => {
                let change = then.remove(&id).map_or(Change::NotPublished, |then| changed(&then, &now));
                difference.items.push(compared(&id, now.kind, change));
            }
            (Outcome::Rejected(rejected), None) => {
                difference.items.push(refused(Change::Refused(rejected.reason.clone())));
            }
            (_, None) => difference.ignored += 1,
        }
    }
    let gone = then.into_iter().map(|(id, then)| compared(&id, then.kind, Change::NotMade));
    difference.items.extend(gone);
    Some(difference)
}

fn compared(id: &str, kind: EventKind, change: Change) -> Compared {
    Compared { kind: name(kind), event_id: shown::id(id), change }
}

fn refused(change: Change) -> Compared {
    Compared { kind: "item", event_id: String::new(), change }
}

const fn name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Report => "report",
        EventKind::Message => "message",
        EventKind::Account => "account",
        EventKind::Customer => "customer",
        EventKind::SendResult => "result",
        EventKind::Media => "fetch",
    }
}

/// The event of an item, by its id.
fn of_item(item: &Item) -> Option<(String, Fields)> {
    match &item.outcome {
        Outcome::Report(event) => report((**event).clone()),
        Outcome::Message(event) => message((**event).clone()),
        Outcome::Account(event) => account((**event).clone()),
        Outcome::Customer(event) => customer((**event).clone()),
        Outcome::Ignored(_) | Outcome::Rejected(_) => None,
    }
}

/// The published event, by its id; `None` for one that is not made of a webhook, or cannot be decoded.
fn of_delivery(delivery: &Delivery) -> Option<(String, Fields)> {
    let Some(Subject::Event(kind, ..)) = delivery.address() else { return None };
    let payload = delivery.payload.clone();
    match kind {
        EventKind::Report => report(ReportEvent::decode(payload).ok()?),
        EventKind::Message => message(InboundMessage::decode(payload).ok()?),
        EventKind::Account => account(AccountEvent::decode(payload).ok()?),
        EventKind::Customer => customer(CustomerEvent::decode(payload).ok()?),
        EventKind::SendResult | EventKind::Media => None,
    }
}

// What belongs to the copy and not to the event is left out: when it was received, and from which webhook.

fn report(mut event: ReportEvent) -> Option<(String, Fields)> {
    (event.received_at, event.source) = (None, None);
    let (id, plain) = (event.event_id.clone(), serde_json::to_value(&event).ok()?);
    mask::events::report(&mut event);
    fields(id, EventKind::Report, &plain, &serde_json::to_value(&event).ok()?)
}

fn message(mut event: InboundMessage) -> Option<(String, Fields)> {
    (event.received_at, event.source) = (None, None);
    let (id, plain) = (event.event_id.clone(), serde_json::to_value(&event).ok()?);
    mask::events::message(&mut event);
    fields(id, EventKind::Message, &plain, &serde_json::to_value(&event).ok()?)
}

fn account(mut event: AccountEvent) -> Option<(String, Fields)> {
    (event.received_at, event.source) = (None, None);
    let (id, plain) = (event.event_id.clone(), serde_json::to_value(&event).ok()?);
    mask::events::account(&mut event);
    fields(id, EventKind::Account, &plain, &serde_json::to_value(&event).ok()?)
}

fn customer(mut event: CustomerEvent) -> Option<(String, Fields)> {
    (event.received_at, event.source) = (None, None);
    let (id, plain) = (event.event_id.clone(), serde_json::to_value(&event).ok()?);
    mask::events::customer(&mut event);
    fields(id, EventKind::Customer, &plain, &serde_json::to_value(&event).ok()?)
}

fn fields(id: String, kind: EventKind, plain: &Value, masked: &Value) -> Option<(String, Fields)> {
    let mut of = Fields { kind, plain: BTreeMap::new(), masked: BTreeMap::new() };
    flatten(plain, String::new(), &mut of.plain);
    flatten(masked, String::new(), &mut of.masked);
    Some((id, of))
}

/// Every scalar of a JSON value by its path.
fn flatten(value: &Value, path: String, all: &mut BTreeMap<String, String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| flatten(value, below(name), all)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(place, value)| flatten(value, below(&place.to_string()), all));
        }
        Value::String(text) => drop(all.insert(path, text.clone())),
        scalar => drop(all.insert(path, scalar.to_string())),
    }
}

fn changed(then: &Fields, now: &Fields) -> Change {
    let paths: BTreeSet<&String> = then.plain.keys().chain(now.plain.keys()).collect();
    let differing = paths.into_iter().filter(|path| then.plain.get(*path) != now.plain.get(*path));
    let fields: Vec<Field> = differing
        .map(|path| Field {
            path: path.clone(),
            published: shown_value(&then.masked, path),
            now: shown_value(&now.masked, path),
        })
        .collect();
    if fields.is_empty() && then.kind == now.kind { Change::Same } else { Change::Fields(fields) }
}

/// A value as people may see it.
fn shown_value(masked: &BTreeMap<String, String>, path: &str) -> String {
    let value = masked.get(path).map_or("", String::as_str);
    let id = mask::message_ids(value);
    let is_cut = id.chars().nth(VALUE_CHARS_MAX).is_some();
    let mut value: String = id.chars().take(VALUE_CHARS_MAX).collect();
    if is_cut {
        value.push('…');
    }
    value
}

#[cfg(test)]
mod tests {
    use bus::Headers;
    use prost::Message as _;

    use super::*;

    const BODY: &str = r#"{"results":[{"messageId":"m-1","to":"4915112345678","status":{"groupName":"DELIVERED","groupId":3,"description":"to 4915112345678"},"doneAt":"2026-03-01T12:00:00.000+0000"},{"no":"id"}]}"#;

    fn delivery(subject: &str, payload: impl Into<bytes::Bytes>) -> Delivery {
        Delivery {
            subject: subject.to_owned(),
            headers: Headers::new(),
            payload: payload.into(),
            sequence: 5,
            attempt: 1,
            stored_at: "2026-03-01T12:00:05Z".parse().unwrap(),
        }
    }

    fn webhook() -> Delivery {
        delivery("imchannel.webhook.infobip.sales", BODY)
    }

    /// The event that this version makes of the webhook.
    fn report_of(webhook: &Delivery) -> ReportEvent {
        let channel = bsp::ChannelId::parse("sales").unwrap();
        let received_at = webhook.stored_at;
        let input = Webhook { channel: &channel, body: &webhook.payload, received_at, sequence: 5 };
        let parsed = registry::find("infobip").unwrap().parse(&input);
        match &parsed.items[0].outcome {
            Outcome::Report(report) => (**report).clone(),
            other => panic!("{other:?}"),
        }
    }

    fn published(report: &ReportEvent) -> Delivery {
        delivery("imchannel.event.report.infobip.sales", report.encode_to_vec())
    }

    #[test]
    fn the_same_event_has_no_difference_and_a_bad_item_says_why() {
        let webhook = webhook();
        let mut report = report_of(&webhook);
        // Of the copy, not of the event.
        report.received_at = None;
        let difference = of(&webhook, &[published(&report)]).unwrap();
        assert_eq!((difference.items.len(), &difference.items[0].change), (2, &Change::Same));
        assert!(matches!(&difference.items[1].change, Change::Refused(reason) if !reason.is_empty()));
    }

    #[test]
    fn other_values_are_named_and_masked() {
        let webhook = webhook();
        let mut report = report_of(&webhook);
        report.recipient = "4915187654321".to_owned();
        report.status = 2;
        let difference = of(&webhook, &[published(&report)]).unwrap();
        let Change::Fields(fields) = &difference.items[0].change else { panic!("{difference:?}") };
        let paths: Vec<_> = fields.iter().map(|field| field.path.as_str()).collect();
        assert_eq!(paths, ["recipient", "status"]);
        assert!(!format!("{difference:?}").contains("49151"), "{difference:?}");
    }

    #[test]
    fn events_that_only_one_of_both_has_are_named() {
        let webhook = webhook();
        assert_eq!(of(&webhook, &[]).unwrap().items[0].change, Change::NotPublished);
        let other = ReportEvent { event_id: "other".to_owned(), ..report_of(&webhook) };
        let changes: Vec<_> =
            of(&webhook, &[published(&other)]).unwrap().items.into_iter().map(|item| item.change).collect();
        assert_eq!((&changes[0], changes.last()), (&Change::NotPublished, Some(&Change::NotMade)));
        assert_eq!(of(&delivery("imchannel.webhook.unknown.sales", BODY), &[]), None);
    }
}
