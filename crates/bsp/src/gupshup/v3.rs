//! Gupshup's version 3: Meta's webhook body, passed on, with Gupshup's ids added to each status. A body may hold
//! several entries, changes, statuses and messages, and each is an item of its own (Meta, "Status messages webhook
//! reference", 2025-11; Gupshup, "v3 message events").

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::v3_contacts::Contacts;
use super::{v3_account, v3_customer, v3_message, v3_status};
use crate::json::{self, Part, Text};
use crate::parsed::{Collector, Refusal};
use crate::text;

#[derive(Deserialize)]
pub(super) struct Entry<'a> {
    /// Of the WhatsApp Business Account.
    #[serde(borrow, default)]
    pub(super) id: Text<'a>,
    /// When Meta made the body, in Unix seconds: the only time of what is about the account.
    #[serde(borrow, default)]
    pub(super) time: Text<'a>,
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
    /// Of the number, beside those of single messages.
    #[serde(borrow)]
    errors: Part<'a>,
    /// Taps on links of marketing messages.
    #[serde(borrow)]
    user_actions: Part<'a>,
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

/// Fields that are deliberately ignored, and the names that they are counted under: what the business wrote on its own phone,
/// what its phone shares with the account, bills, calls, groups as such, profiles, and conversations that somebody else leads.
const IGNORED_FIELDS: [(&str, &str); 18] = [
    ("platform-event", "platform_event"),
    ("billing-event", "billing_event"),
    ("smb_message_echoes", "message_echo"),
    ("message_echoes", "message_echo"),
    ("smb_app_state_sync", "business_app"),
    ("history", "business_app"),
    ("calls", "call_event"),
    ("call_settings_update", "call_event"),
    ("group_lifecycle_update", "group_event"),
    ("group_participants_update", "group_event"),
    ("group_settings_update", "group_event"),
    ("group_status_update", "group_event"),
    ("consumer_profile", "profile_event"),
    ("messaging_handovers", "handover_event"),
    ("standby", "handover_event"),
    ("partner_solutions", "partner_event"),
    ("automatic_events", "tracking_event"),
    ("tracking_events", "tracking_event"),
];

pub(super) fn read(entries: &[&RawValue], out: &mut Collector<'_>) {
    for raw in entries {
        match serde_json::from_str::<Entry<'_>>(raw.get()) {
            Ok(entry) => {
                entry.changes.iter().for_each(|raw| guarded(raw, out, |raw, out| change(raw, &entry, out)));
            }
            Err(error) => out.refuse_item(error.into(), raw.get()),
        }
    }
}

fn change(raw: &RawValue, entry: &Entry<'_>, out: &mut Collector<'_>) -> Result<(), Refusal> {
    let change: Change<'_> = serde_json::from_str(raw.get())?;
    let field = change.field.as_str();
    if let Some((_, counted_as)) = IGNORED_FIELDS.iter().find(|(name, _)| *name == field) {
        out.ignored(counted_as);
        return Ok(());
    }
    let is_about_account = v3_account::is_about_account(field);
    if is_about_account || matches!(field, "user_preferences" | "user_id_update") {
        undamaged(raw, out)?;
    }
    match (field, change.value) {
        ("user_preferences", value) => v3_customer::preferences(value, &entry.time, out),
        ("user_id_update", value) => v3_customer::user_id_updates(value, &entry.time, out),
        ("messages", Some(value)) => messages(value, entry, out)?,
        (_, Some(value)) if is_about_account => v3_account::read(field, value, entry, out)?,
        ("messages", None) => return Err(Refusal::new("wrong_shape", "the change has no 'value'")),
        (_, None) if is_about_account => {
            return Err(Refusal::new("wrong_shape", "the change has no 'value'"));
        }
        _ => {
            out.unrecognised("changes.field", field, "");
            return Err(Refusal::new("unknown_type", "the change's 'field' is not known"));
        }
    }
    Ok(())
}

fn messages(value: &RawValue, entry: &Entry<'_>, out: &mut Collector<'_>) -> Result<(), Refusal> {
    let value: Value<'_> = serde_json::from_str(value.get())?;
    let (statuses, messages) = (value.statuses.as_deref(), value.messages.as_deref());
    let is_empty = value.errors.is_none() && value.user_actions.is_none();
    if statuses.is_none() && messages.is_none() && is_empty {
        return Err(Refusal::new("wrong_shape", "the change has neither 'statuses' nor 'messages'"));
    }
    let shared = Shared::read(&value);
    for raw in statuses.unwrap_or_default() {
        guarded(raw, out, |raw, out| v3_status::read(undamaged(raw, out)?, &shared, out));
    }
    for raw in messages.unwrap_or_default() {
        guarded(raw, out, |raw, out| v3_message::read(undamaged(raw, out)?, &shared, out));
    }
    if value.user_actions.is_some() {
        out.ignored("user_action");
    }
    v3_account::errors(value.errors, &shared.our_number, entry, out);
    Ok(())
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
