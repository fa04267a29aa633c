//! Gupshup's version 2 events other than messages: templates, the account, and customer preferences (Gupshup,
//! "System events" 2026-05, "User events" and "BSUID" 2026-11).

use proto::v1::{AccountEvent, AccountEventKind, AccountNumber, AccountTemplate, ReportError};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::account_values::{account_kind, number_kind, number_quality, reason};
use super::v3::customer::{self, preference_kind};
use crate::collector::Collector;
use crate::json::{self, LooseScalar, Part};
use crate::notice::Notice;
use crate::parsed::Rejection;
use crate::text;
use crate::whatsapp::Names;

/// The body around an event.
pub(super) struct Around<'a> {
    /// Its `type`.
    pub(super) kind: &'a str,
    /// The time of the body, which is the only time of most events.
    pub(super) time: &'a LooseScalar<'a>,
    pub(super) our_number: &'a LooseScalar<'a>,
    /// Gupshup's application.
    pub(super) app: &'a LooseScalar<'a>,
    pub(super) payload: Part<'a>,
}

/// Events that are deliberately ignored, with the names under which they are counted.
const IGNORED_TYPES: [(&str, &str); 2] =
    [("billing-event", "billing_event"), ("platform-event", "platform_event")];

#[derive(Deserialize, Default)]
struct Payload<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
    /// The customer of a user event.
    #[serde(borrow, default)]
    phone: LooseScalar<'a>,
    #[serde(borrow, default)]
    id: LooseScalar<'a>,
    #[serde(borrow, default)]
    status: LooseScalar<'a>,
    #[serde(borrow, default, rename = "elementName")]
    element_name: LooseScalar<'a>,
    #[serde(borrow, default, rename = "languageCode")]
    language_code: LooseScalar<'a>,
    #[serde(borrow, default, rename = "rejectedReason")]
    rejected_reason: LooseScalar<'a>,
    #[serde(borrow, default)]
    reason: LooseScalar<'a>,
    #[serde(borrow, default)]
    description: LooseScalar<'a>,
    /// A string, or an object with a member `new`.
    #[serde(borrow)]
    category: Part<'a>,
    #[serde(borrow)]
    quality: Part<'a>,
    /// The details of an account event.
    #[serde(borrow)]
    payload: Part<'a>,
}

/// The details of an account event.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    #[serde(borrow, default)]
    status: LooseScalar<'a>,
    #[serde(borrow, default)]
    event: LooseScalar<'a>,
    #[serde(borrow, default)]
    current_limit: LooseScalar<'a>,
    #[serde(borrow, default)]
    max_daily_conversation_per_phone: LooseScalar<'a>,
    #[serde(borrow, default)]
    rejected_reason: LooseScalar<'a>,
    #[serde(borrow, default, rename = "violation_type")]
    violation_type: LooseScalar<'a>,
    #[serde(borrow)]
    restriction_info: Part<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Restriction<'a> {
    #[serde(borrow, default)]
    restriction_type: LooseScalar<'a>,
    #[serde(borrow, default)]
    expiration: LooseScalar<'a>,
}

/// Reads an event of one of these types. Returns whether the event had one of them.
pub(super) fn read(around: &Around<'_>, out: &mut Collector<'_>) -> Result<bool, Rejection> {
    if let Some((_, counted_as)) = IGNORED_TYPES.iter().find(|(name, _)| *name == around.kind) {
        out.ignored(counted_as);
        return Ok(true);
    }
    let read = match around.kind {
        "user-event" => user,
        "template-event" => template,
        "account-event" | "system-event" | "onboarding-event" => account,
        "preference-event" => preference,
        _ => return Ok(false),
    };
    out.check_part(raw(around))?;
    read(around, out);
    Ok(true)
}

/// Customers who opted in or out. Gupshup sends `sandbox-start` when the URL is set; it is not about a
/// customer.
fn user(around: &Around<'_>, out: &mut Collector<'_>) {
    let payload = payload(around.payload);
    let Some(kind) = preference_kind(payload.kind.as_str()) else { return out.ignored("user_event") };
    let names = Names { number: payload.phone.as_str(), ..Names::default() };
    let notice = Notice {
        about: around.kind,
        word: payload.kind.as_str(),
        time: around.time.as_str(),
        of: payload.phone.as_str(),
        raw: raw(around),
    };
    out.customer(&notice, customer::event(kind, names.to_customer()));
}

/// Marketing messages that a customer has allowed or stopped.
fn preference(around: &Around<'_>, out: &mut Collector<'_>) {
    let payload = payload(around.payload);
    customer::preferences(payload.payload.or(around.payload), around.time, out);
}

fn template(around: &Around<'_>, out: &mut Collector<'_>) {
    let payload = payload(around.payload);
    let kind = match payload.kind.as_str() {
        "category-update" => AccountEventKind::TemplateCategory,
        "quality-update" => AccountEventKind::TemplateQuality,
        _ => AccountEventKind::TemplateStatus,
    };
    let template = AccountTemplate {
        id: payload.id.owned(),
        name: payload.element_name.owned(),
        language: payload.language_code.owned(),
        status: payload.status.owned(),
        category: latest(payload.category),
        quality: latest(payload.quality),
        reason: payload.rejected_reason.or(&payload.reason).owned(),
    };
    let event = AccountEvent {
        kind: kind.into(),
        template: Some(template),
        number: our_number(around),
        errors: reason(&LooseScalar::default(), payload.description.as_str()).into_iter().collect(),
        ..AccountEvent::default()
    };
    out.account(&notice(around), event);
}

fn account(around: &Around<'_>, out: &mut Collector<'_>) {
    let payload = payload(around.payload);
    let details: Details<'_> = json::optional(payload.payload).ok().flatten().unwrap_or_default();
    let word = details.status.or(&details.event);
    let kind = match payload.kind.as_str() {
        "review-event" => AccountEventKind::Review,
        "status-event" => account_kind(word.as_str()),
        "pndn-event" => AccountEventKind::NumberName,
        "tier-event" => number_kind(word.as_str()),
        "capability-event" => AccountEventKind::NumberLimit,
        _ => AccountEventKind::Other,
    };
    let is_tier = payload.kind.as_str() == "tier-event";
    let number = AccountNumber {
        display: text::address(around.our_number.as_str()).to_owned(),
        quality: if is_tier { number_quality(&details.event) } else { String::new() },
        limit: details.current_limit.or(&details.max_daily_conversation_per_phone).owned(),
    };
    let event = AccountEvent {
        kind: kind.into(),
        number: (number != AccountNumber::default()).then_some(number),
        decision: word.or(&payload.kind).owned(),
        errors: details.errors(),
        ..AccountEvent::default()
    };
    out.account(&notice(around), event);
}

impl Details<'_> {
    fn errors(&self) -> Vec<ReportError> {
        let said = [reason(&self.rejected_reason, ""), reason(&self.violation_type, "")];
        let restrictions: Vec<&RawValue> =
            json::optional(self.restriction_info).ok().flatten().unwrap_or_default();
        let restrictions = restrictions.into_iter().filter_map(|raw| {
            let restriction: Restriction<'_> = json::from_str(raw.get()).ok()?;
            let until = restriction.expiration.filled().map(|time| format!("until {time}"));
            reason(&restriction.restriction_type, &until.unwrap_or_default())
        });
        said.into_iter().flatten().chain(restrictions).collect()
    }
}

fn our_number(around: &Around<'_>) -> Option<AccountNumber> {
    let display = text::address(around.our_number.as_str()).to_owned();
    (!display.is_empty()).then(|| AccountNumber { display, ..AccountNumber::default() })
}

fn notice<'n>(around: &Around<'n>) -> Notice<'n> {
    Notice {
        about: around.kind,
        word: raw(around),
        time: around.time.as_str(),
        of: around.app.as_str(),
        raw: raw(around),
    }
}

fn raw<'n>(around: &Around<'n>) -> &'n str {
    around.payload.map(RawValue::get).unwrap_or_default()
}

fn payload(part: Part<'_>) -> Payload<'_> {
    json::optional(part).ok().flatten().unwrap_or_default()
}

/// A string, or the newer value of an object with an old and a new one.
fn latest(part: Part<'_>) -> String {
    #[derive(Deserialize)]
    struct Change<'a> {
        #[serde(borrow, default, alias = "newCategory", alias = "newQuality")]
        new: LooseScalar<'a>,
    }
    let word = LooseScalar::of_part(part);
    let change = json::optional::<Change<'_>>(part).ok().flatten();
    change.map_or_else(|| word.owned(), |change| word.or(&change.new).owned())
}
