//! Infobip's notifications: objects about a template, a payment or a customer preference. They arrive without
//! `results` or inside it.
//!
//! Infobip's Subscriptions API names their events (`TEMPLATE_UPDATE`, `PAYMENT_STATUS`,
//! `MARKETING_SUBSCRIPTION_UPDATE`, …, read 2026-11) and documents few of their bodies. So the kind is
//! detected from keywords in the type, or from fields that only one kind has, and each field is read under
//! every name that it may have. The event contains the original object.

use proto::v1::{
    AccountEvent, AccountEventKind, AccountNumber, AccountTemplate, Customer, CustomerEvent,
    CustomerEventKind, Payment, ReportError,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::report::Status;
use crate::collector::Collector;
use crate::json::{self, LooseScalar, Part};
use crate::notice::Notice;
use crate::text;
use crate::whatsapp::Names;

/// The outer object. In some bodies it contains all members.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outer<'a> {
    #[serde(borrow, default)]
    from: LooseScalar<'a>,
    #[serde(borrow, default)]
    to: LooseScalar<'a>,
    #[serde(borrow, default)]
    sender: LooseScalar<'a>,
    #[serde(borrow, default)]
    created_at: LooseScalar<'a>,
    #[serde(borrow, default)]
    received_at: LooseScalar<'a>,
    #[serde(borrow, default)]
    updated_at: LooseScalar<'a>,
    #[serde(borrow, default)]
    timestamp: LooseScalar<'a>,
    #[serde(borrow)]
    content: Part<'a>,
}

/// The members of a notification, under every possible name.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Inner<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
    #[serde(borrow, default)]
    event: LooseScalar<'a>,
    #[serde(borrow, default)]
    event_type: LooseScalar<'a>,
    #[serde(borrow, default)]
    notification_type: LooseScalar<'a>,
    #[serde(borrow, default)]
    id: LooseScalar<'a>,
    #[serde(borrow, default)]
    template_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    name: LooseScalar<'a>,
    #[serde(borrow, default)]
    template_name: LooseScalar<'a>,
    #[serde(borrow, default)]
    language: LooseScalar<'a>,
    #[serde(borrow, default)]
    template_language: LooseScalar<'a>,
    /// A string, or an object of Infobip's that contains a name.
    #[serde(borrow)]
    status: Part<'a>,
    #[serde(borrow, default)]
    category: LooseScalar<'a>,
    #[serde(borrow, default)]
    new_category: LooseScalar<'a>,
    #[serde(borrow, default)]
    quality: LooseScalar<'a>,
    #[serde(borrow, default)]
    quality_score: LooseScalar<'a>,
    #[serde(borrow, default)]
    reason: LooseScalar<'a>,
    #[serde(borrow, default)]
    rejection_reason: LooseScalar<'a>,
    #[serde(borrow, default)]
    payment_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    reference_id: LooseScalar<'a>,
    #[serde(borrow)]
    error: Part<'a>,
    #[serde(borrow, default)]
    user_number: LooseScalar<'a>,
    #[serde(borrow, default)]
    user_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    value: LooseScalar<'a>,
    #[serde(borrow, default)]
    action: LooseScalar<'a>,
    #[serde(borrow, default)]
    preference: LooseScalar<'a>,
}

/// The type of a message that confirms a payment.
pub(super) const CONFIRMATION: &str = "INTERACTIVE_PAYMENT_CONFIRMATION";

/// The kind of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Template,
    Payment,
    Preference,
    Account,
    /// Deliberately ignored, under this name.
    Ignored(&'static str),
}

/// Keywords of a type, in the order of their precedence.
const WORDS: [(&str, Kind); 11] = [
    ("identity", Kind::Ignored("identity_changed")),
    ("echo", Kind::Ignored("message_echo")),
    ("business_app", Kind::Ignored("business_app")),
    ("billing", Kind::Ignored("billing_event")),
    ("click", Kind::Ignored("user_action")),
    ("template", Kind::Template),
    ("payment", Kind::Payment),
    ("marketing", Kind::Preference),
    ("opt", Kind::Preference),
    ("preference", Kind::Preference),
    ("account", Kind::Account),
];

/// Reads a notification. Returns whether the object was one.
pub(super) fn read(raw: &RawValue, out: &mut Collector<'_>) -> bool {
    let Ok(outer) = json::from_str::<Outer<'_>>(raw.get()) else { return false };
    // In the Messages API, `content` is a list; its messages are read elsewhere.
    let content = outer.content.filter(|content| content.get().starts_with('{'));
    if outer.content.is_some() && content.is_none() {
        return false;
    }
    let Ok(Some(inner)) = json::optional::<Inner<'_>>(content.or(Some(raw))) else { return false };
    let Some(kind) = inner.notification() else { return false };
    let word = inner.word();
    let notice = Notice {
        about: word.as_str(),
        word: content.unwrap_or(raw).get(),
        time: outer.time().as_str(),
        of: outer.from.or(&outer.sender).as_str(),
        raw: raw.get(),
    };
    match kind {
        Kind::Ignored(counted_as) => out.ignored(counted_as),
        Kind::Template => out.account(&notice, inner.to_template_event(&outer)),
        Kind::Account => out.account(&notice, inner.to_account_event(&outer)),
        Kind::Payment => out.customer(&notice, inner.to_payment_event(&outer)),
        Kind::Preference => {
            let kind = inner.preference_kind().unwrap_or_else(|| {
                out.unrecognized("content.type", word.as_str(), "");
                CustomerEventKind::Other
            });
            out.customer(&notice, inner.to_customer_event(kind, &outer));
        }
    }
    true
}

/// A message by which WhatsApp confirms a payment is also an event of the payment, if it has a status.
pub(super) fn confirmation(
    raw: &RawValue,
    message_id: &str,
    time: &LooseScalar<'_>,
    customer: Option<Customer>,
    out: &mut Collector<'_>,
) {
    let Ok(inner) = json::from_str::<Inner<'_>>(raw.get()) else { return };
    let status = inner.status();
    if status.is_empty() {
        return;
    }
    let notice =
        Notice { about: message_id, word: &status, time: time.as_str(), raw: raw.get(), ..Notice::default() };
    let event = CustomerEvent {
        kind: CustomerEventKind::Payment.into(),
        customer,
        payment: Some(inner.to_payment()),
        ..CustomerEvent::default()
    };
    out.customer(&notice, event);
}

impl<'a> Outer<'a> {
    fn time(&self) -> &LooseScalar<'a> {
        self.created_at.or(self.updated_at.or(self.received_at.or(&self.timestamp)))
    }
}

impl<'a> Inner<'a> {
    fn word(&self) -> &LooseScalar<'a> {
        self.kind.or(self.event.or(self.event_type.or(&self.notification_type)))
    }

    /// Determined by keywords in its type, or, without a type, by fields that only one kind has.
    fn notification(&self) -> Option<Kind> {
        let word = self.word().as_str().to_ascii_lowercase();
        if let Some((_, kind)) = WORDS.iter().find(|(part, _)| word.contains(part)) {
            return Some(*kind);
        }
        let has_template = !self.template_id.is_empty() || !self.template_name.is_empty();
        let has_payment = !self.payment_id.is_empty() && self.status.is_some();
        match () {
            () if !word.is_empty() => None,
            () if has_template => Some(Kind::Template),
            () if has_payment => Some(Kind::Payment),
            () => None,
        }
    }

    /// The text of a status, which may be an object.
    fn status(&self) -> String {
        let word = LooseScalar::of_part(self.status);
        let status: Status<'_> = json::optional(self.status).ok().flatten().unwrap_or_default();
        word.or(status.name.or(&status.group_name)).owned()
    }

    fn error(&self) -> Option<ReportError> {
        let error: Status<'_> = json::optional(self.error).ok().flatten()?;
        super::report::reported(error)
    }

    fn to_template_event(&self, outer: &Outer<'_>) -> AccountEvent {
        let word = self.word().as_str().to_ascii_lowercase();
        let (category, quality) =
            (self.new_category.or(&self.category), self.quality.or(&self.quality_score));
        let status = self.status();
        let kind = if word.contains("quality") || (status.is_empty() && !quality.is_empty()) {
            AccountEventKind::TemplateQuality
        } else if word.contains("category") || (status.is_empty() && !category.is_empty()) {
            AccountEventKind::TemplateCategory
        } else {
            AccountEventKind::TemplateStatus
        };
        let template = AccountTemplate {
            id: self.template_id.or(&self.id).owned(),
            name: self.template_name.or(&self.name).owned(),
            language: self.template_language.or(&self.language).owned(),
            status,
            category: category.owned(),
            quality: quality.owned(),
            reason: self.reason.or(&self.rejection_reason).owned(),
        };
        AccountEvent {
            kind: kind.into(),
            template: Some(template),
            number: our_number(outer),
            errors: self.error().into_iter().collect(),
            ..AccountEvent::default()
        }
    }

    fn to_account_event(&self, outer: &Outer<'_>) -> AccountEvent {
        let status = self.status();
        AccountEvent {
            kind: AccountEventKind::Other.into(),
            number: our_number(outer),
            decision: if status.is_empty() { self.word().owned() } else { status },
            errors: self.error().into_iter().collect(),
            ..AccountEvent::default()
        }
    }

    fn to_payment_event(&self, outer: &Outer<'_>) -> CustomerEvent {
        let event = self.to_customer_event(CustomerEventKind::Payment, outer);
        CustomerEvent { payment: Some(self.to_payment()), ..event }
    }

    fn to_payment(&self) -> Payment {
        Payment {
            reference: self.reference_id.or(&self.payment_id).owned(),
            status: self.status(),
            error: self.error(),
        }
    }

    /// The customer preference, in any of the usual values.
    fn preference_kind(&self) -> Option<CustomerEventKind> {
        let status = self.status();
        let said = [self.value.as_str(), self.action.as_str(), self.preference.as_str(), &status];
        let said = said.into_iter().chain([self.word().as_str()]).filter(|word| !word.is_empty());
        said.map(str::to_ascii_lowercase).find_map(|word| {
            let has = |part: &str| word.contains(part);
            if has("stop") || has("out") || has("unsubscribe") {
                Some(CustomerEventKind::OptedOut)
            } else if has("resume")
                || has("start")
                || has("opt_in")
                || has("opted_in")
                || word == "subscribed"
            {
                Some(CustomerEventKind::OptedIn)
            } else {
                None
            }
        })
    }

    fn to_customer_event(&self, kind: CustomerEventKind, outer: &Outer<'_>) -> CustomerEvent {
        let names = Names {
            address: outer.from.as_str(),
            number: self.user_number.as_str(),
            user_id: self.user_id.as_str(),
            ..Names::default()
        };
        CustomerEvent { kind: kind.into(), customer: names.to_customer(), ..CustomerEvent::default() }
    }
}

fn our_number(outer: &Outer<'_>) -> Option<AccountNumber> {
    let display = text::address(outer.sender.or(&outer.to).as_str()).to_owned();
    (!display.is_empty()).then(|| AccountNumber { display, ..AccountNumber::default() })
}
