//! Compares the events that this version produces for a webhook with those that were published. Pure.

use std::collections::BTreeSet;

use bsp::{Item, Outcome};
use jiff::Timestamp;
use serde_json::Value;

use super::history::{Event, Published};
use crate::mask;
use crate::mask::PersonalData;

/// A webhook whose items are compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) sequence: u64,
    pub(crate) stored_at: Timestamp,
}

/// How an item differs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// The event is the same.
    Same,
    /// The event has other contents.
    Changed(Vec<Field>),
    /// There was no event, and there may have been a dead letter for this reason.
    New(Option<String>),
    /// There was an event, and this version produces none, for this reason.
    Gone(String),
    /// It is a dead letter in both versions, for different reasons.
    OtherReason { then: String, now: String },
    /// The published event is no longer stored.
    NotStored,
    /// The normalizer has not processed this webhook yet.
    Waiting,
}

/// A field that differs, by its path in the event's JSON form.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) path: String,
    pub(crate) then: String,
    pub(crate) now: String,
}

/// A compared item.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) index: u32,
    /// `report`, `message`, `account`, `customer`, `rejected` or `ignored`.
    pub(crate) kind: &'static str,
    pub(crate) message_id: String,
    pub(crate) change: Change,
}

/// Replaces the reason of an item that shares a dead letter with others.
const LISTED: &str = "one of the items that share a dead letter";
/// Shown for a missing field.
const ABSENT: &str = "(absent)";

/// Compares every item of a webhook.
pub(crate) fn webhook(
    origin: Origin,
    items: &[Item],
    published: &Published,
    personal: PersonalData,
) -> Vec<Compared> {
    let mut all: Vec<Compared> =
        items.iter().map(|item| compare(origin, item, published, personal)).collect();
    // Items that were published and that this version does not find.
    let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
    for (index, event) in published.beyond((origin.sequence, count)) {
        if items.iter().all(|item| event_of(item).is_none_or(|now| now.id() != event.id())) {
            let change = Change::Gone("this version does not find the item".to_owned());
            all.push(Compared {
                index,
                kind: kind_of(event),
                message_id: message_id(event, personal),
                change,
            });
        }
    }
    all
}

fn compare(origin: Origin, item: &Item, published: &Published, personal: PersonalData) -> Compared {
    let place = (origin.sequence, item.index);
    let then = published.at(place);
    let letter = published.letter_at(place);
    let (kind, id, change) = match (&item.outcome, event_of(item)) {
        (_, Some(now)) => {
            let change = match published.by_id(now.id()).or(then) {
                Some(then) => changed(then, &now, personal),
                None if letter.is_some() => Change::New(letter.map(str::to_owned)),
                None if published.is_listed(place) => Change::New(Some(LISTED.to_owned())),
                None => unpublished(origin, published),
            };
            (kind_of(&now), message_id(&now, personal), change)
        }
        (Outcome::Rejected(reject), None) => {
            let change = match (then, letter) {
                (Some(_), _) => Change::Gone(format!("it is refused: {}", reject.reason)),
                (None, Some(letter)) if letter == reject.reason => Change::Same,
                (None, Some(letter)) => {
                    Change::OtherReason { then: letter.to_owned(), now: reject.reason.clone() }
                }
                // Its dead letter may have been dropped or replayed since.
                (None, None) => Change::Same,
            };
            ("rejected", String::new(), change)
        }
        (_, None) => {
            let change = match (then, letter) {
                (Some(_), _) => Change::Gone("it is ignored".to_owned()),
                (None, Some(letter)) => {
                    Change::OtherReason { then: letter.to_owned(), now: "none: it is ignored".to_owned() }
                }
                (None, None) if published.is_listed(place) => {
                    Change::OtherReason { then: LISTED.to_owned(), now: "none: it is ignored".to_owned() }
                }
                (None, None) => Change::Same,
            };
            ("ignored", String::new(), change)
        }
    };
    Compared { index: item.index, kind, message_id: id, change }
}

fn unpublished(origin: Origin, published: &Published) -> Change {
    if origin.sequence > published.processed_to {
        Change::Waiting
    } else if published.is_gone(origin.stored_at) {
        Change::NotStored
    } else {
        Change::New(None)
    }
}

fn event_of(item: &Item) -> Option<Event> {
    match &item.outcome {
        Outcome::Report(report) => Some(Event::Report(report.clone())),
        Outcome::Message(message) => Some(Event::Message(message.clone())),
        Outcome::Account(event) => Some(Event::Account(event.clone())),
        Outcome::Customer(event) => Some(Event::Customer(event.clone())),
        Outcome::Ignored(_) | Outcome::Rejected(_) => None,
    }
}

fn kind_of(event: &Event) -> &'static str {
    match event {
        Event::Report(_) => "report",
        Event::Message(_) => "message",
        Event::Account(_) => "account",
        Event::Customer(_) => "customer",
    }
}

/// Empty for an event that is not about a message.
fn message_id(event: &Event, personal: PersonalData) -> String {
    let id = match event {
        Event::Report(report) => &report.message_id,
        Event::Message(message) => &message.message_id,
        Event::Account(_) | Event::Customer(_) => return String::new(),
    };
    match personal {
        PersonalData::Masked => bsp::mask::message_id(id).into_owned(),
        PersonalData::Shown => id.clone(),
    }
}

fn changed(then: &Event, now: &Event, personal: PersonalData) -> Change {
    let (then, now) = (comparable(then), comparable(now));
    if then == now {
        return Change::Same;
    }
    let (plain_then, plain_now) = (fields(&then), fields(&now));
    let (shown_then, shown_now) = if personal == PersonalData::Shown {
        (plain_then.clone(), plain_now.clone())
    } else {
        (fields(&masked(&then)), fields(&masked(&now)))
    };
    let paths: BTreeSet<&String> = plain_then.iter().chain(&plain_now).map(|(path, _)| path).collect();
    let differing =
        paths.into_iter().filter(|path| value_at(&plain_then, path) != value_at(&plain_now, path));
    let fields = differing.map(|path| Field {
        path: path.clone(),
        then: value_at(&shown_then, path).unwrap_or(ABSENT).to_owned(),
        now: value_at(&shown_now, path).unwrap_or(ABSENT).to_owned(),
    });
    Change::Changed(fields.collect())
}

/// Removes the fields that belong to the copy and not to the event.
fn comparable(event: &Event) -> Event {
    match event {
        Event::Report(report) => {
            let mut report = report.clone();
            (report.received_at, report.source) = (None, None);
            Event::Report(report)
        }
        Event::Message(message) => {
            let mut message = message.clone();
            (message.received_at, message.source) = (None, None);
            Event::Message(message)
        }
        Event::Account(event) => {
            let mut event = event.clone();
            (event.received_at, event.source) = (None, None);
            Event::Account(event)
        }
        Event::Customer(event) => {
            let mut event = event.clone();
            (event.received_at, event.source) = (None, None);
            Event::Customer(event)
        }
    }
}

fn masked(event: &Event) -> Event {
    let mut event = event.clone();
    match &mut event {
        Event::Report(report) => mask::report(report),
        Event::Message(message) => mask::message(message),
        Event::Account(event) => mask::account(event),
        Event::Customer(event) => mask::customer(event),
    }
    event
}

type Fields = Vec<(String, String)>;

fn value_at<'f>(fields: &'f Fields, path: &str) -> Option<&'f str> {
    fields.iter().find(|(name, _)| name == path).map(|(_, value)| value.as_str())
}

/// Returns every scalar of the event's JSON form by its path.
fn fields(event: &Event) -> Fields {
    let json = match event {
        Event::Report(report) => serde_json::to_value(report),
        Event::Message(message) => serde_json::to_value(message),
        Event::Account(event) => serde_json::to_value(event),
        Event::Customer(event) => serde_json::to_value(event),
    };
    let mut all = Vec::new();
    flatten(&json.unwrap_or_default(), String::new(), &mut all);
    all
}

fn flatten(value: &Value, path: String, all: &mut Fields) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| flatten(value, below(name), all)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(place, value)| flatten(value, below(&place.to_string()), all));
        }
        Value::String(text) => all.push((path, text.clone())),
        scalar => all.push((path, scalar.to_string())),
    }
}
