//! Gupshup's version 3: Meta's webhook body, passed on, with Gupshup's ids added to each status. A body may hold
//! several entries, changes, statuses and messages, and each is an item of its own (Meta, "Status messages webhook
//! reference", 2025-11; Gupshup, "v3 message events").

use std::collections::HashMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::report::{Error, Status};
use super::{report, v3_message};
use crate::json::{self, Part, Text};
use crate::parsed::{Collector, Refusal};
use crate::{text, time};

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
pub(super) struct Shared {
    /// Our number.
    pub(super) our_number: String,
    /// Names by WhatsApp id and by business-scoped user id.
    names: HashMap<String, String>,
}

impl Shared {
    fn read(value: &Value<'_>) -> Self {
        #[derive(Deserialize)]
        struct Metadata<'a> {
            #[serde(borrow, default)]
            display_phone_number: Text<'a>,
        }
        #[derive(Deserialize)]
        struct Contact<'a> {
            #[serde(borrow, default)]
            wa_id: Text<'a>,
            #[serde(borrow, default)]
            user_id: Text<'a>,
            #[serde(borrow)]
            profile: Part<'a>,
        }
        #[derive(Deserialize)]
        struct Profile<'a> {
            #[serde(borrow, default)]
            name: Text<'a>,
        }
        let mut shared = Self::default();
        if let Ok(Some(metadata)) = json::optional::<Metadata<'_>>(value.metadata) {
            shared.our_number = text::address(metadata.display_phone_number.as_str()).to_owned();
        }
        let contacts = json::optional::<Vec<&RawValue>>(value.contacts).ok().flatten().unwrap_or_default();
        for raw in contacts {
            let Ok(contact) = serde_json::from_str::<Contact<'_>>(raw.get()) else { continue };
            let Ok(Some(profile)) = json::optional::<Profile<'_>>(contact.profile) else { continue };
            for id in [&contact.wa_id, &contact.user_id].into_iter().filter_map(Text::filled) {
                shared.names.insert(id.to_owned(), profile.name.owned());
            }
        }
        shared
    }

    /// The name of a customer with one of these ids.
    pub(super) fn name(&self, ids: [&Text<'_>; 2]) -> String {
        let known = ids.into_iter().filter_map(Text::filled).find_map(|id| self.names.get(id));
        known.cloned().unwrap_or_default()
    }
}

/// A body around one entry, change, status or message. What all of a change share is not in it.
pub(super) fn body_around(item: &[u8]) -> Bytes {
    let (head, tail) = match serde_json::from_slice::<Kind<'_>>(item) {
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

#[derive(Deserialize)]
struct MetaStatus<'a> {
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    gs_id: Text<'a>,
    #[serde(borrow, default)]
    status: Text<'a>,
    /// Unix seconds as a string; milliseconds as a number on `enqueued`.
    #[serde(borrow, default)]
    timestamp: Text<'a>,
    #[serde(borrow, default)]
    recipient_id: Text<'a>,
    #[serde(borrow, default)]
    recipient_user_id: Text<'a>,
    #[serde(borrow, default)]
    recipient_participant_id: Text<'a>,
    #[serde(borrow, default)]
    meta_msg_id: Text<'a>,
    #[serde(borrow)]
    errors: Part<'a>,
}

#[derive(Deserialize)]
struct MetaError<'a> {
    #[serde(borrow, default)]
    code: Text<'a>,
    #[serde(borrow, default)]
    title: Text<'a>,
    #[serde(borrow, default)]
    message: Text<'a>,
    #[serde(borrow)]
    error_data: Part<'a>,
}

#[derive(Deserialize, Default)]
struct ErrorData<'a> {
    #[serde(borrow, default)]
    details: Text<'a>,
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
        match serde_json::from_str::<Entry<'_>>(raw.get()) {
            Ok(entry) => entry.changes.iter().for_each(|raw| guarded(raw, out, change)),
            Err(error) => out.refuse_item(error.into(), raw.get()),
        }
    }
}

fn change(raw: &RawValue, out: &mut Collector<'_>) -> Result<(), Refusal> {
    let change: Change<'_> = serde_json::from_str(raw.get())?;
    let field = change.field.as_str();
    if let Some((_, counted_as)) = IGNORED_FIELDS.iter().find(|(name, _)| *name == field) {
        out.ignored(counted_as);
        return Ok(());
    }
    let Some(value) = change.value.filter(|_| field == "messages") else {
        out.unrecognised("changes.field", field, "");
        return Err(Refusal::new("unknown_type", "the change's 'field' is none that is known"));
    };
    let value: Value<'_> = serde_json::from_str(value.get())?;
    let (statuses, messages) = (value.statuses.as_deref(), value.messages.as_deref());
    if statuses.is_none() && messages.is_none() {
        return Err(Refusal::new("wrong_shape", "the change has neither 'statuses' nor 'messages'"));
    }
    let shared = Shared::read(&value);
    for raw in statuses.unwrap_or_default() {
        guarded(raw, out, |raw, out| status(undamaged(raw, out)?, &shared, out));
    }
    for raw in messages.unwrap_or_default() {
        guarded(raw, out, |raw, out| v3_message::read(undamaged(raw, out)?, &shared, out));
    }
    Ok(())
}

fn status(raw: &RawValue, shared: &Shared, out: &mut Collector<'_>) -> Result<(), Refusal> {
    let status: MetaStatus<'_> = serde_json::from_str(raw.get())?;
    let errors = json::optional::<Vec<MetaError<'_>>>(status.errors).ok().flatten().unwrap_or_default();
    let data =
        errors.first().and_then(|error| json::optional::<ErrorData<'_>>(error.error_data).ok().flatten());
    let data = data.unwrap_or_default();
    let error = errors.first().map(|error| Error {
        code: error.code.as_str(),
        name: error.title.as_str(),
        description: data.details.or(&error.message).as_str(),
    });
    // `enqueued` has the time at which the body was made, in milliseconds; the others have the event's.
    let is_event_time = status.timestamp.number().is_some_and(|number| number < time::MILLISECONDS_FROM);
    report::push(
        &Status {
            message_id: status.gs_id.or(&status.id).as_str(),
            status: status.status.as_str(),
            time: status.timestamp.as_str(),
            event_time: if is_event_time { status.timestamp.as_str() } else { "" },
            other_id: if status.gs_id.is_empty() { status.meta_msg_id.as_str() } else { status.id.as_str() },
            recipient: status.recipient_id.or(&status.recipient_user_id).as_str(),
            participant: status.recipient_participant_id.as_str(),
            sender: &shared.our_number,
            error: error.unwrap_or_default(),
        },
        out,
    )
}

/// Reads one item; where it cannot be understood, it alone is refused.
fn guarded(
    raw: &RawValue,
    out: &mut Collector<'_>,
    read: impl FnOnce(&RawValue, &mut Collector<'_>) -> Result<(), Refusal>,
) {
    if let Err(refusal) = read(raw, out) {
        out.refuse_item(refusal, raw.get());
    }
}

fn undamaged<'r>(raw: &'r RawValue, out: &Collector<'_>) -> Result<&'r RawValue, Refusal> {
    if out.is_damaged(raw.get()) { Err(Refusal::no_utf8()) } else { Ok(raw) }
}
