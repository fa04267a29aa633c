//! Maps Meta's values about accounts and numbers, which both versions of Gupshup pass on (Meta,
//! "account_update" and "phone_number_quality_update webhook reference", 2026-05; Gupshup, "System events",
//! 2026-05).

use proto::v1::{AccountEventKind, ReportError};

use crate::json::LooseScalar;

/// The kind of an account event. Version 2 shortens some of Meta's values.
pub(super) fn account_kind(event: &str) -> AccountEventKind {
    match event.to_ascii_uppercase().as_str() {
        "ACCOUNT_RESTRICTION" | "ACCOUNT_RESTRICTED" | "ACCOUNT_VIOLATION" => AccountEventKind::Restriction,
        "DISABLED_UPDATE" | "ACCOUNT_DISABLE" | "DISABLE" | "REINSTATE" => AccountEventKind::Ban,
        _ => AccountEventKind::Other,
    }
}

/// The kind of a number event: its quality or the limit of its messages.
pub(super) fn number_kind(event: &str) -> AccountEventKind {
    if is_quality(event) { AccountEventKind::NumberQuality } else { AccountEventKind::NumberLimit }
}

/// The value as a quality; empty if the value is about the limit.
pub(super) fn number_quality(event: &LooseScalar<'_>) -> String {
    if is_quality(event.as_str()) { event.owned() } else { String::new() }
}

fn is_quality(event: &str) -> bool {
    ["FLAGGED", "UNFLAGGED"].iter().any(|word| word.eq_ignore_ascii_case(event))
}

/// A reason as an error; `None` without a reason, for which Meta sends `NONE`.
pub(super) fn reason(name: &LooseScalar<'_>, description: &str) -> Option<ReportError> {
    let name = stated(name);
    let is_said = !name.is_empty() || !description.is_empty();
    is_said.then(|| ReportError {
        name: name.to_owned(),
        description: description.to_owned(),
        ..ReportError::default()
    })
}

/// A reason as it appears in the body; empty for `NONE`.
pub(super) fn stated<'t>(reason: &'t LooseScalar<'_>) -> &'t str {
    let reason = reason.as_str();
    if reason.eq_ignore_ascii_case("NONE") { "" } else { reason }
}
