//! Meta's events about customers other than their messages, inside Gupshup's version 3: changed numbers and
//! user ids, preferences for marketing messages, payments (Meta, "System messages" 2026-08,
//! "user_preferences" 2026-05, "Business-scoped user IDs" 2026-11, "Payments" 2026-06). Version 2 passes
//! preferences on in the same form.

use proto::v1::{Customer, CustomerEvent, CustomerEventKind, Payment};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::envelope::our_number;
use crate::collector::Collector;
use crate::gupshup::report;
use crate::json::{self, LooseScalar, Part};
use crate::notice::Notice;
use crate::text;
use crate::whatsapp::Names;

/// The value of a change of the fields `user_preferences` and `user_id_update`.
#[derive(Deserialize)]
struct Value<'a> {
    #[serde(borrow)]
    user_preferences: Part<'a>,
    #[serde(borrow)]
    user_id_update: Part<'a>,
    #[serde(borrow)]
    metadata: Part<'a>,
}

impl<'a> Value<'a> {
    fn read(value: Part<'a>) -> Option<Self> {
        let value = json::optional::<Value<'_>>(value).ok().flatten()?;
        // The channel identifies the number, so no event contains it. The rest of the metadata counts as
        // unread.
        our_number(value.metadata);
        Some(value)
    }
}

#[derive(Deserialize)]
struct Preference<'a> {
    #[serde(borrow, default)]
    wa_id: LooseScalar<'a>,
    #[serde(borrow, default, alias = "userid")]
    user_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    parent_user_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    category: LooseScalar<'a>,
    /// `stop` or `resume`.
    #[serde(borrow, default)]
    value: LooseScalar<'a>,
    #[serde(borrow, default)]
    timestamp: LooseScalar<'a>,
}

/// Reads customer preferences, one event for each entry. Invalid entries are counted.
pub(in crate::gupshup) fn preferences(value: Part<'_>, time: &LooseScalar<'_>, out: &mut Collector<'_>) {
    let value = Value::read(value);
    let entries = list(value.and_then(|value| value.user_preferences));
    if entries.is_empty() {
        out.ignored("preference_event");
    }
    for raw in entries {
        preference(raw, time, out);
    }
}

fn preference(raw: &RawValue, time: &LooseScalar<'_>, out: &mut Collector<'_>) {
    let Ok(preference) = json::from_str::<Preference<'_>>(raw.get()) else {
        return out.ignored("preference_event");
    };
    let kind = preference_kind(preference.value.as_str()).unwrap_or_else(|| {
        out.unrecognized("user_preferences.value", preference.value.as_str(), "");
        CustomerEventKind::Other
    });
    let names = Names {
        number: preference.wa_id.as_str(),
        user_id: preference.user_id.as_str(),
        parent_user_id: preference.parent_user_id.as_str(),
        ..Names::default()
    };
    let notice = Notice {
        about: preference.category.as_str(),
        word: preference.value.as_str(),
        time: preference.timestamp.or(time).as_str(),
        of: preference.wa_id.or(&preference.user_id).as_str(),
        raw: raw.get(),
    };
    out.customer(&notice, event(kind, names.to_customer()));
}

/// A customer preference, in Meta's and in Gupshup's values.
pub(in crate::gupshup) fn preference_kind(word: &str) -> Option<CustomerEventKind> {
    match word.to_ascii_lowercase().as_str() {
        "stop" | "opted-out" => Some(CustomerEventKind::OptedOut),
        "resume" | "opted-in" => Some(CustomerEventKind::OptedIn),
        _ => None,
    }
}

pub(in crate::gupshup) fn event(kind: CustomerEventKind, customer: Option<Customer>) -> CustomerEvent {
    CustomerEvent { kind: kind.into(), customer, ..CustomerEvent::default() }
}

/// An entry of `user_id_update`, which contains both ids.
#[derive(Deserialize)]
struct UserIdUpdate<'a> {
    #[serde(borrow, default)]
    wa_id: LooseScalar<'a>,
    #[serde(borrow)]
    user_id: Part<'a>,
    #[serde(borrow)]
    parent_user_id: Part<'a>,
    #[serde(borrow, default)]
    timestamp: LooseScalar<'a>,
}

#[derive(Deserialize, Default)]
struct Changed<'a> {
    #[serde(borrow, default)]
    previous: LooseScalar<'a>,
    #[serde(borrow, default)]
    current: LooseScalar<'a>,
}

/// Reads changed user ids. Meta sends them in system messages since 2026-08, and sent them in a separate
/// field before.
pub(super) fn user_id_updates(value: Part<'_>, time: &LooseScalar<'_>, out: &mut Collector<'_>) {
    let value = Value::read(value);
    let entries = list(value.and_then(|value| value.user_id_update));
    if entries.is_empty() {
        out.ignored("user_id_update");
    }
    for raw in entries {
        let Ok(update) = json::from_str::<UserIdUpdate<'_>>(raw.get()) else {
            out.ignored("user_id_update");
            continue;
        };
        let own: Changed<'_> = json::optional(update.user_id).ok().flatten().unwrap_or_default();
        let parent: Changed<'_> = json::optional(update.parent_user_id).ok().flatten().unwrap_or_default();
        let notice = Notice {
            about: "user_id_update",
            word: own.current.as_str(),
            time: update.timestamp.or(time).as_str(),
            of: own.previous.or(&update.wa_id).as_str(),
            raw: raw.get(),
        };
        let names = Names {
            number: update.wa_id.as_str(),
            user_id: own.current.as_str(),
            parent_user_id: parent.current.as_str(),
            ..Names::default()
        };
        let event = CustomerEvent {
            old_user_id: own.previous.owned(),
            old_parent_user_id: parent.previous.owned(),
            ..event(CustomerEventKind::UserIdChanged, names.to_customer())
        };
        out.customer(&notice, event);
    }
}

/// The members around a system message.
pub(super) struct SystemMessage<'a> {
    pub(super) id: &'a LooseScalar<'a>,
    pub(super) from: &'a LooseScalar<'a>,
    pub(super) from_user_id: &'a LooseScalar<'a>,
    pub(super) time: &'a LooseScalar<'a>,
    pub(super) system: Part<'a>,
    pub(super) raw: &'a str,
}

#[derive(Deserialize)]
struct System<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
    /// The customer's current number; the second name is the older one.
    #[serde(borrow, default)]
    wa_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    new_wa_id: LooseScalar<'a>,
    /// The previous number, in bodies from before 2023.
    #[serde(borrow, default)]
    customer: LooseScalar<'a>,
    #[serde(borrow, default)]
    user_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    parent_user_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    previous_user_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    previous_parent_user_id: LooseScalar<'a>,
    /// `stop` or `resume`.
    #[serde(borrow, default)]
    marketing: LooseScalar<'a>,
}

/// Reads a system message about its customer. Returns whether it was one.
pub(super) fn system(message: &SystemMessage<'_>, out: &mut Collector<'_>) -> bool {
    let Ok(Some(system)) = json::optional::<System<'_>>(message.system) else { return false };
    let event = match system.kind.as_str() {
        "user_changed_number" | "customer_changed_number" => {
            system.changed(CustomerEventKind::NumberChanged, message)
        }
        "user_changed_user_id" => system.changed(CustomerEventKind::UserIdChanged, message),
        "user_preference_changed" => {
            let Some(kind) = preference_kind(system.marketing.as_str()) else { return false };
            let names = Names {
                address: message.from.as_str(),
                user_id: message.from_user_id.as_str(),
                ..Names::default()
            };
            event(kind, names.to_customer())
        }
        "user_identity_changed" | "customer_identity_changed" => {
            out.ignored("identity_changed");
            return true;
        }
        _ => return false,
    };
    let notice = Notice {
        about: message.id.as_str(),
        word: system.kind.as_str(),
        time: message.time.as_str(),
        of: message.from.or(&system.previous_user_id).as_str(),
        raw: message.raw,
    };
    out.customer(&notice, event);
    true
}

impl System<'_> {
    fn changed(&self, kind: CustomerEventKind, message: &SystemMessage<'_>) -> CustomerEvent {
        let now = self.new_wa_id.or(&self.wa_id);
        let names = Names {
            number: now.as_str(),
            user_id: self.user_id.as_str(),
            parent_user_id: self.parent_user_id.as_str(),
            ..Names::default()
        };
        CustomerEvent {
            old_number: old_number(message.from.or(&self.customer).as_str(), now.as_str()).to_owned(),
            old_user_id: self.previous_user_id.owned(),
            old_parent_user_id: self.previous_parent_user_id.owned(),
            ..event(kind, names.to_customer())
        }
    }
}

/// The number before a change; empty if it equals the new number, or is a user id.
fn old_number<'a>(before: &'a str, now: &str) -> &'a str {
    let before = text::address(before);
    let is_number = before.starts_with(|first: char| first.is_ascii_digit());
    if is_number && before != text::address(now) { before } else { "" }
}

/// The members around the status of a payment.
pub(super) struct PaymentStatus<'a> {
    pub(super) message_id: &'a LooseScalar<'a>,
    pub(super) status: &'a LooseScalar<'a>,
    pub(super) time: &'a LooseScalar<'a>,
    pub(super) recipient: &'a LooseScalar<'a>,
    pub(super) user_id: &'a LooseScalar<'a>,
    pub(super) payment: Part<'a>,
    pub(super) raw: &'a str,
}

#[derive(Deserialize, Default)]
struct MetaPayment<'a> {
    #[serde(borrow, default)]
    reference_id: LooseScalar<'a>,
    #[serde(borrow)]
    transaction: Part<'a>,
}

#[derive(Deserialize, Default)]
struct Transaction<'a> {
    #[serde(borrow, default)]
    id: LooseScalar<'a>,
    #[serde(borrow, default)]
    status: LooseScalar<'a>,
    #[serde(borrow)]
    error: Part<'a>,
}

#[derive(Deserialize, Default)]
struct TransactionError<'a> {
    #[serde(borrow, default)]
    code: LooseScalar<'a>,
    #[serde(borrow, default)]
    reason: LooseScalar<'a>,
}

/// Reads the status of a payment.
pub(super) fn payment(status: &PaymentStatus<'_>, out: &mut Collector<'_>) {
    let payment: MetaPayment<'_> = json::optional(status.payment).ok().flatten().unwrap_or_default();
    let transaction: Transaction<'_> = json::optional(payment.transaction).ok().flatten().unwrap_or_default();
    let error: TransactionError<'_> = json::optional(transaction.error).ok().flatten().unwrap_or_default();
    let word =
        [status.status, &payment.reference_id, &transaction.id, &transaction.status].map(LooseScalar::as_str);
    let word = word.join("/");
    let notice = Notice {
        about: status.message_id.as_str(),
        word: &word,
        time: status.time.as_str(),
        of: status.recipient.or(status.user_id).as_str(),
        raw: status.raw,
    };
    let names =
        Names { address: status.recipient.as_str(), user_id: status.user_id.as_str(), ..Names::default() };
    let event = CustomerEvent {
        payment: Some(Payment {
            reference: payment.reference_id.owned(),
            status: status.status.or(&transaction.status).owned(),
            error: report::error(&error.code, &LooseScalar::default(), &error.reason),
        }),
        ..event(CustomerEventKind::Payment, names.to_customer())
    };
    out.customer(&notice, event);
}

fn list(part: Part<'_>) -> Vec<&RawValue> {
    json::optional(part).ok().flatten().unwrap_or_default()
}
