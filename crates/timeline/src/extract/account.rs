//! What an event about the account or a customer is, in a few words.

use proto::v1::{AccountEvent, AccountEventKind, CustomerEvent, CustomerEventKind};

use crate::extract::text;

/// Such as `template status order_update (en) APPROVED`.
pub(super) fn account(event: &AccountEvent) -> String {
    let kind = AccountEventKind::try_from(event.kind).map_or("", |kind| kind.as_str_name());
    let mut parts = vec![readable(kind, "ACCOUNT_EVENT_KIND_")];
    if let Some(template) = &event.template {
        parts.push(text::words(&template.name));
        if !template.language.is_empty() {
            parts.push(format!("({})", text::words(&template.language)));
        }
        parts.extend(
            [&template.status, &template.category, &template.quality, &template.reason]
                .map(|word| text::words(word)),
        );
    }
    if let Some(number) = &event.number {
        parts.extend([&number.quality, &number.limit].map(|word| text::words(word)));
    }
    parts.push(text::words(&event.decision));
    joined(&parts)
}

/// Such as `opted out`.
pub(super) fn customer(event: &CustomerEvent) -> String {
    let kind = CustomerEventKind::try_from(event.kind).map_or("", |kind| kind.as_str_name());
    let payment = event.payment.as_ref().map(|payment| text::words(&payment.status));
    joined(&[readable(kind, "CUSTOMER_EVENT_KIND_"), payment.unwrap_or_default()])
}

fn readable(kind: &str, prefix: &str) -> String {
    kind.trim_start_matches(prefix).to_ascii_lowercase().replace('_', " ")
}

fn joined(parts: &[String]) -> String {
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}
