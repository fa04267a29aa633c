//! Gupshup's version 3: Meta's webhook body, passed on, with Gupshup's ids added to each status. A body may hold
//! several entries, changes, statuses and messages, and each is an item of its own (Meta, "Status messages webhook
//! reference", 2025-11; Gupshup, "v3 message events").

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::v3_contacts::Contacts;
use super::{v3_message, v3_status};
use crate::json::{self, Part, Text};
use crate::parsed::{Collector, Refusal};
use crate::text;

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    changes: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow, default)]
    field: Text<'a>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Value<'a> {
    #[serde(borrow)]
    statuses: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    messages: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    contacts: Part<'a>,
    #[serde(borrow)]
    metadata: Part<'a>,
}

/// What all statuses and messages of a change share. A part of it that has another shape costs that part alone.
#[derive(Default)]
pub(super) struct Shared<'a> {
    /// Our number.
    pub(super) our_number: String,
    pub(super) contacts: Contacts<'a>,
}

impl<'a> Shared<'a> {
    fn read(value: &Value<'a>) -> Self {
        #[derive(Deserialize)]
        struct Metadata<'a> {
            #[serde(borrow, default)]
            display_phone_number: Text<'a>,
        }
        let metadata = json::optional::<Metadata<'_>>(value.metadata).ok().flatten();
        let our_number =
            metadata.map(|metadata| text::address(metadata.display_phone_number.as_str()).to_owned());
        Self {
            our_number: our_number.unwrap_or_default(),
            contacts: Contacts::read(value.contacts, value.messages.as_deref().unwrap_or_default()),
        }
    }
}

/// A body around one entry, change, status or message. What all of a change share is not in it.
pub(super) fn body_around(item: &[u8]) -> Bytes {
    let (head, tail) = match json::from_slice::<Kind<'_>>(item) {
        Ok(kind) if kind.field.is_some() => ("{\"entry\":[{\"changes\":[", "]}]}"),
        Ok(kind) if kind.status.is_some() => (STATUSES, "]}}]}]}"),
        Ok(kind) if kind.from.is_some() || kind.kind.is_some() => (MESSAGES, "]}}]}]}"),
        _ => ("{\"entry\":[", "]}"),
    };
    [head.as_bytes(), item, tail.as_bytes()].concat().into()
}

const STATUSES: &str = "{\"entry\":[{\"changes\":[{\"field\":\"messages\",\"value\":{\"statuses\":[";
const MESSAGES: &str = "{\"entry\":[{\"changes\":[{\"field\":\"messages\",\"value\":{\"messages\":[";

/// The fields that tell what a part of a body is.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    field: Part<'a>,
    #[serde(borrow)]
    status: Part<'a>,
    #[serde(borrow)]
    from: Part<'a>,
    #[serde(borrow, rename = "type")]
    kind: Part<'a>,
}

/// What Meta sends under other fields than `messages`.
const IGNORED_FIELDS: [(&str, &str); 6] = [
    ("platform-event", "platform_event"),
    ("billing-event", "billing_event"),
    ("account_update", "account_event"),
    ("account_alerts", "account_event"),
    ("message_template_status_update", "template_event"),
    ("user_preferences", "preference_event"),
];

pub(super) fn read(entries: &[&RawValue], out: &mut Collector<'_>) {
    for raw in entries {
        match json::from_str::<Entry<'_>>(raw.get()) {
            Ok(entry) => {
                entry.changes.iter().for_each(|raw| out.read_list(raw.get(), |out| change(raw, out)))
            }
            Err(error) => out.refuse_item(error.into(), raw.get()),
        }
    }
}

fn change(raw: &RawValue, out: &mut Collector<'_>) -> Result<(), Refusal> {
    let change: Change<'_> = json::from_str(raw.get())?;
    let field = change.field.as_str();
    if let Some((_, counted_as)) = IGNORED_FIELDS.iter().find(|(name, _)| *name == field) {
        out.ignored(counted_as);
        return Ok(());
    }
    let Some(value) = change.value.filter(|_| field == "messages") else {
        out.unrecognised("changes.field", field, "");
        return Err(Refusal::new("unknown_type", "the change's 'field' is none that is known"));
    };
    let value: Value<'_> = json::from_str(value.get())?;
    let (statuses, messages) = (value.statuses.as_deref(), value.messages.as_deref());
    if statuses.is_none() && messages.is_none() {
        return Err(Refusal::new("wrong_shape", "the change has neither 'statuses' nor 'messages'"));
    }
    for part in [value.metadata, value.contacts].into_iter().flatten() {
        out.check_shared(part.get())?;
    }
    let shared = Shared::read(&value);
    for raw in statuses.unwrap_or_default() {
        guarded(raw, out, |raw, out| v3_status::read(raw, &shared, out));
    }
    for raw in messages.unwrap_or_default() {
        guarded(raw, out, |raw, out| v3_message::read(raw, &shared, out));
    }
    Ok(())
}

/// Reads one item; where it cannot be understood, it alone is refused.
fn guarded(
    raw: &RawValue,
    out: &mut Collector<'_>,
    read: impl FnOnce(&RawValue, &mut Collector<'_>) -> Result<(), Refusal>,
) {
    out.read_item(raw.get(), |out| read(raw, out));
}
