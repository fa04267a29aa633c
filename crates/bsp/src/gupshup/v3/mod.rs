//! Gupshup's version 3: Meta's webhook body, with Gupshup's ids added to each status. A body may contain
//! several entries, changes, statuses and messages, and each becomes a separate item (Meta, "Status messages
//! webhook reference", 2025-11; Gupshup, "v3 message events").

mod account;
mod contacts;
mod content;
pub(super) mod customer;
mod envelope;
mod message;
mod message_object;
mod status;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::collector::Collector;
use crate::json::{self, LooseScalar, Part};
use crate::parsed::Rejection;
use crate::unread;
use envelope::{Entry, Shared};

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow, default)]
    field: LooseScalar<'a>,
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
    /// Errors of the number, in addition to those of single messages.
    #[serde(borrow)]
    errors: Part<'a>,
    /// Taps on links of marketing messages.
    #[serde(borrow)]
    user_actions: Part<'a>,
}

/// A body around one entry, change, status or message. It does not contain the members that a change's items
/// share.
pub(super) fn wrap_item(item: &[u8]) -> Bytes {
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

/// The fields that identify the kind of a part.
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

/// Fields that are deliberately ignored, with the names under which they are counted: messages that the
/// business wrote on its own phone, data that its phone shares with the account, billing, calls, groups,
/// profiles, and conversations of another party.
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
        match json::from_str::<Entry<'_>>(raw.get()) {
            Ok(mut entry) => {
                entry.has_damaged_key = out.has_damaged_key(raw.get());
                for raw in &entry.changes {
                    out.read_list(raw.get(), |out| change(raw, &entry, out));
                }
            }
            Err(error) => out.reject_item(error.into(), raw.get()),
        }
    }
}

fn change(raw: &RawValue, entry: &Entry<'_>, out: &mut Collector<'_>) -> Result<(), Rejection> {
    let change: Change<'_> = json::from_str(raw.get())?;
    let field = change.field.as_str();
    if let Some((_, counted_as)) = IGNORED_FIELDS.iter().find(|(name, _)| *name == field) {
        unread::mark_read(raw.get());
        out.ignored(counted_as);
        return Ok(());
    }
    match field {
        "messages" => messages(change.value.ok_or_else(no_value)?, entry, out)?,
        _ if is_notice(field) => out.read_item(raw.get(), |out| notice(raw, entry, out)),
        _ => {
            out.unrecognized("changes.field", field, "");
            return Err(Rejection::new("unknown_type", "unknown 'field' in the change"));
        }
    }
    Ok(())
}

fn no_value() -> Rejection {
    Rejection::new("wrong_shape", "missing field 'value' in the change")
}

/// Whether a field is about the account or a customer. Its change is one item.
fn is_notice(field: &str) -> bool {
    matches!(field, "user_preferences" | "user_id_update") || account::is_about_account(field)
}

fn notice(raw: &RawValue, entry: &Entry<'_>, out: &mut Collector<'_>) -> Result<(), Rejection> {
    entry.check()?;
    out.check_part(raw.get())?;
    // Parsed again as a separate item, so that its unread members belong to its events.
    let change: Change<'_> = json::from_str(raw.get())?;
    match change.field.as_str() {
        "user_preferences" => customer::preferences(change.value, &entry.time, out),
        "user_id_update" => customer::user_id_updates(change.value, &entry.time, out),
        field => account::read(field, change.value.ok_or_else(no_value)?, entry, out)?,
    }
    Ok(())
}

fn messages(value: &RawValue, entry: &Entry<'_>, out: &mut Collector<'_>) -> Result<(), Rejection> {
    // The damaged key may have been the key of a list.
    if out.has_damaged_key(value.get()) {
        return Err(Rejection::no_utf8());
    }
    let value: Value<'_> = json::from_str(value.get())?;
    let (statuses, messages) = (value.statuses.as_deref(), value.messages.as_deref());
    let is_empty = value.errors.is_none() && value.user_actions.is_none();
    if statuses.is_none() && messages.is_none() && is_empty {
        return Err(Rejection::new("wrong_shape", "missing field 'statuses' or 'messages' in the change"));
    }
    for part in [value.metadata, value.contacts].into_iter().flatten() {
        out.check_part(part.get())?;
    }
    let shared = Shared::read(value.metadata, value.contacts, messages.unwrap_or_default());
    for raw in statuses.unwrap_or_default() {
        guarded(raw, out, |raw, out| status::read(raw, &shared, out));
    }
    for raw in messages.unwrap_or_default() {
        guarded(raw, out, |raw, out| message::read(raw, &shared, out));
    }
    if let Some(actions) = value.user_actions {
        unread::mark_read(actions.get());
        out.ignored("user_action");
    }
    if let Some(raw) = value.errors {
        guarded(raw, out, |raw, out| {
            entry.check()?;
            account::errors(raw, &shared.our_number, entry, out)
        });
    }
    Ok(())
}

/// Reads one item. If it cannot be parsed, only this item is rejected.
fn guarded(
    raw: &RawValue,
    out: &mut Collector<'_>,
    read: impl FnOnce(&RawValue, &mut Collector<'_>) -> Result<(), Rejection>,
) {
    out.read_item(raw.get(), |out| read(raw, out));
}
