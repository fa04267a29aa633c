//! Gupshup's version 3: Meta's webhook body, passed on, with Gupshup's ids added to each status. A body may hold
//! several entries, changes, statuses and messages, and each is an item of its own (Meta, "Status messages webhook
//! reference", 2025-11; Gupshup, "v3 message events").

use serde::Deserialize;
use serde_json::value::RawValue;

use super::report::{Error, Status};
use super::{report, v3_message};
use crate::json::Text;
use crate::parsed::{Collector, Refusal};

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
pub(super) struct Value<'a> {
    #[serde(borrow)]
    statuses: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    messages: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    pub(super) contacts: Vec<Customer<'a>>,
    #[serde(borrow)]
    pub(super) metadata: Option<Metadata<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Customer<'a> {
    #[serde(borrow, default)]
    pub(super) wa_id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) user_id: Text<'a>,
    #[serde(borrow)]
    pub(super) profile: Option<CustomerProfile<'a>>,
}

#[derive(Deserialize)]
pub(super) struct CustomerProfile<'a> {
    #[serde(borrow, default)]
    pub(super) name: Text<'a>,
}

#[derive(Deserialize)]
pub(super) struct Metadata<'a> {
    #[serde(borrow, default)]
    pub(super) display_phone_number: Text<'a>,
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
    errors: Vec<MetaError<'a>>,
}

#[derive(Deserialize)]
struct MetaError<'a> {
    #[serde(borrow, default)]
    code: Text<'a>,
    #[serde(borrow, default)]
    title: Text<'a>,
    #[serde(borrow, default)]
    message: Text<'a>,
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
    for raw in statuses.unwrap_or_default() {
        guarded(raw, out, |raw, out| status(raw, &value, out));
    }
    for raw in messages.unwrap_or_default() {
        guarded(raw, out, |raw, out| v3_message::read(raw, &value, out));
    }
    Ok(())
}

fn status(raw: &RawValue, value: &Value<'_>, out: &mut Collector<'_>) -> Result<(), Refusal> {
    let status: MetaStatus<'_> = serde_json::from_str(raw.get())?;
    let error = status.errors.first().map(|error| Error {
        code: error.code.as_str(),
        name: error.title.as_str(),
        description: error.message.as_str(),
    });
    let sender = value.metadata.as_ref().map(|metadata| metadata.display_phone_number.as_str());
    report::push(
        &Status {
            message_id: status.gs_id.or(&status.id).as_str(),
            status: status.status.as_str(),
            time: status.timestamp.as_str(),
            recipient: status.recipient_id.or(&status.recipient_user_id).as_str(),
            sender: sender.unwrap_or_default(),
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
