//! Meta's events about templates, numbers and the account inside Gupshup's version 3 (Meta, "Webhooks
//! reference", one page per field, 2026-05 to 2026-08). Each change is one event.

use proto::v1::{AccountEvent, AccountEventKind, AccountNumber, AccountTemplate, ReportError};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::envelope::Entry;
use super::status;
use crate::collector::Collector;
use crate::gupshup::account_values::{account_kind, number_kind, number_quality, reason, stated};
use crate::json::{self, LooseScalar, Part};
use crate::notice::Notice;
use crate::parsed::Rejection;
use crate::text;

/// The fields that are about the account.
const FIELDS: [&str; 18] = [
    "account_alerts",
    "account_review_update",
    "account_settings_update",
    "account_update",
    "business_capability_update",
    "business_status_update",
    "business_username_update",
    "business_username_updates",
    "flows",
    "message_template_components_update",
    "message_template_quality_update",
    "message_template_status_update",
    "payment_configuration_update",
    "phone_number_name_update",
    "phone_number_quality_update",
    "security",
    "template_category_update",
    "template_correct_category_detection",
];

/// Whether a field is about the account.
pub(super) fn is_about_account(field: &str) -> bool {
    FIELDS.contains(&field)
}

/// The members of all fields, as far as events contain them.
#[derive(Deserialize)]
struct Value<'a> {
    #[serde(borrow, default)]
    event: LooseScalar<'a>,
    #[serde(borrow, default)]
    decision: LooseScalar<'a>,
    /// The username of the business, or the place where payments are received.
    #[serde(borrow, default)]
    status: LooseScalar<'a>,
    #[serde(borrow, default)]
    display_phone_number: LooseScalar<'a>,
    #[serde(borrow, default)]
    phone_number: LooseScalar<'a>,
    #[serde(borrow, default)]
    current_limit: LooseScalar<'a>,
    /// The newer name of a number's messaging limit. The next two members are the older names.
    #[serde(borrow, default)]
    max_daily_conversations_per_business: LooseScalar<'a>,
    #[serde(borrow, default)]
    max_daily_conversation_per_phone: LooseScalar<'a>,
    #[serde(borrow, default)]
    rejection_reason: LooseScalar<'a>,
    #[serde(borrow, default)]
    message_template_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    message_template_name: LooseScalar<'a>,
    #[serde(borrow, default)]
    message_template_language: LooseScalar<'a>,
    #[serde(borrow, default)]
    message_template_category: LooseScalar<'a>,
    #[serde(borrow, default)]
    reason: LooseScalar<'a>,
    #[serde(borrow, default)]
    new_quality_score: LooseScalar<'a>,
    #[serde(borrow, default)]
    new_category: LooseScalar<'a>,
    #[serde(borrow, default)]
    correct_category: LooseScalar<'a>,
    #[serde(borrow)]
    other_info: Part<'a>,
    #[serde(borrow)]
    violation_info: Part<'a>,
    #[serde(borrow)]
    restriction_info: Part<'a>,
    #[serde(borrow)]
    ban_info: Part<'a>,
    #[serde(borrow)]
    alert_info: Part<'a>,
}

/// The objects that contain a reason.
#[derive(Deserialize, Default)]
struct Reason<'a> {
    #[serde(borrow, default)]
    title: LooseScalar<'a>,
    #[serde(borrow, default)]
    description: LooseScalar<'a>,
    #[serde(borrow, default)]
    violation_type: LooseScalar<'a>,
    #[serde(borrow, default)]
    restriction_type: LooseScalar<'a>,
    #[serde(borrow, default)]
    expiration: LooseScalar<'a>,
    #[serde(borrow, default)]
    waba_ban_state: LooseScalar<'a>,
    #[serde(borrow, default)]
    waba_ban_date: LooseScalar<'a>,
    #[serde(borrow, default)]
    alert_type: LooseScalar<'a>,
    #[serde(borrow, default)]
    alert_description: LooseScalar<'a>,
}

pub(super) fn read(
    field: &str,
    raw: &RawValue,
    entry: &Entry<'_>,
    out: &mut Collector<'_>,
) -> Result<(), Rejection> {
    let value: Value<'_> = json::from_str(raw.get())?;
    let word = value.event.or(value.decision.or(&value.status));
    let event = AccountEvent {
        kind: kind(field, word.as_str()).into(),
        template: value.template(field),
        number: value.number(field),
        decision: if field.contains("template") { String::new() } else { value.decision(word) },
        errors: value.errors(),
        ..AccountEvent::default()
    };
    out.account(&notice(field, raw, entry), event);
    Ok(())
}

/// Errors beside the messages of a change: those of the number. Unreadable errors are counted.
pub(super) fn errors(
    raw: &RawValue,
    our_number: &str,
    entry: &Entry<'_>,
    out: &mut Collector<'_>,
) -> Result<(), Rejection> {
    out.check_part(raw.get())?;
    let errors = status::errors(Some(raw));
    if errors.is_empty() {
        out.ignored("number_error");
        return Ok(());
    }
    let number = AccountNumber { display: our_number.to_owned(), ..AccountNumber::default() };
    let event = AccountEvent {
        kind: AccountEventKind::NumberError.into(),
        number: (!our_number.is_empty()).then_some(number),
        errors,
        ..AccountEvent::default()
    };
    out.account(&notice("errors", raw, entry), event);
    Ok(())
}

fn notice<'n>(field: &'n str, raw: &'n RawValue, entry: &'n Entry<'_>) -> Notice<'n> {
    Notice { about: field, word: raw.get(), time: entry.time.as_str(), of: entry.id.as_str(), raw: raw.get() }
}

fn kind(field: &str, word: &str) -> AccountEventKind {
    match field {
        "message_template_status_update" => AccountEventKind::TemplateStatus,
        "message_template_quality_update" => AccountEventKind::TemplateQuality,
        "template_category_update" | "template_correct_category_detection" => {
            AccountEventKind::TemplateCategory
        }
        "phone_number_quality_update" => number_kind(word),
        "phone_number_name_update" => AccountEventKind::NumberName,
        "business_capability_update" => AccountEventKind::NumberLimit,
        "account_review_update" => AccountEventKind::Review,
        "account_update" => account_kind(word),
        "security" => AccountEventKind::Security,
        _ => AccountEventKind::Other,
    }
}

impl Value<'_> {
    fn template(&self, field: &str) -> Option<AccountTemplate> {
        let is_status = field == "message_template_status_update";
        let why = why(self.other_info);
        let template = AccountTemplate {
            id: self.message_template_id.owned(),
            name: self.message_template_name.owned(),
            language: self.message_template_language.owned(),
            status: if is_status { self.event.owned() } else { String::new() },
            category: self.new_category.or(self.correct_category.or(&self.message_template_category)).owned(),
            quality: self.new_quality_score.owned(),
            reason: if stated(&self.reason).is_empty() { why.title.owned() } else { self.reason.owned() },
        };
        field.contains("template").then_some(template)
    }

    fn number(&self, field: &str) -> Option<AccountNumber> {
        let is_quality = field == "phone_number_quality_update";
        let per_number = self.max_daily_conversations_per_business.or(&self.max_daily_conversation_per_phone);
        let number = AccountNumber {
            display: text::address(self.display_phone_number.or(&self.phone_number).as_str()).to_owned(),
            quality: if is_quality { number_quality(&self.event) } else { String::new() },
            limit: self.current_limit.or(per_number).owned(),
        };
        (number != AccountNumber::default()).then_some(number)
    }

    fn decision(&self, word: &LooseScalar<'_>) -> String {
        let alert = why(self.alert_info);
        word.or(&alert.alert_type).owned()
    }

    fn errors(&self) -> Vec<ReportError> {
        let other = why(self.other_info);
        let (violation, ban) = (why(self.violation_info), why(self.ban_info));
        let alert = why(self.alert_info);
        let mut errors: Vec<ReportError> = [
            reason(&self.rejection_reason, ""),
            reason(&other.title, other.description.as_str()),
            reason(&violation.violation_type, ""),
            reason(&ban.waba_ban_state, ban.waba_ban_date.as_str()),
            reason(&alert.alert_type, alert.alert_description.as_str()),
        ]
        .into_iter()
        .flatten()
        .collect();
        let restrictions =
            json::optional::<Vec<&RawValue>>(self.restriction_info).ok().flatten().unwrap_or_default();
        errors.extend(restrictions.into_iter().filter_map(|raw| {
            let restriction = why(Some(raw));
            reason(&restriction.restriction_type, &until(&restriction.expiration))
        }));
        errors
    }
}

fn until(expiration: &LooseScalar<'_>) -> String {
    expiration.filled().map(|time| format!("until {time}")).unwrap_or_default()
}

/// An object that contains a reason. An object of another shape counts as empty.
fn why(part: Part<'_>) -> Reason<'_> {
    json::optional(part).ok().flatten().unwrap_or_default()
}
