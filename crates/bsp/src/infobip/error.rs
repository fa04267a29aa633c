//! Reads the bodies of Infobip's errors, and classifies each error: about the message, about something else,
//! or not from Infobip.
//!
//! Sources: Infobip's OpenAPI of the OMNI failover API (3.210.0) for `requestError`, of the Messages API for `errorCode`,
//! and its page on errors for the names (all read 2026-11).

use proto::v1::{CommandFault, ReportError};
use serde_json::Value;

/// Longest text of Infobip that is passed on, in characters.
const TEXT_LENGTH_MAX: usize = 500;
/// Longest name of an error that is kept, in characters. It is shown as the reason of a paused lane.
const NAME_LENGTH_MAX: usize = 64;
/// Most validation errors that are passed on. The ledger stores all of them.
const FAULTS_MAX: usize = 16;
/// Longest field of such an error, in characters.
const FIELD_LENGTH_MAX: usize = 128;
/// Longest text of such an error, in characters.
const RULE_LENGTH_MAX: usize = 200;
/// Errors about this message.
const ABOUT_MESSAGE: &[&str] = &["BAD_REQUEST", "E400"];
/// Errors about the account, the path or Infobip itself.
const NOT_ABOUT_MESSAGE: &[&str] = &[
    "UNAUTHORIZED",
    "FORBIDDEN",
    "NOT_FOUND",
    "TOO_MANY_REQUESTS",
    "GENERAL_ERROR",
    "E401",
    "E403",
    "E404",
    "E405",
    "E408",
    "E429",
    "E500",
    "E502",
    "E503",
    "E504",
];

/// The author and the subject of a response's body.
#[derive(Debug)]
pub(super) enum ErrorBody {
    /// Infobip, about this message, with the fields that it rejects.
    AboutMessage(ReportError, Vec<CommandFault>),
    /// Infobip, about something other than the message.
    Other(ReportError),
    /// Infobip, with no known form of an error.
    Unnamed,
    /// Another server: a load balancer or a proxy.
    NotInfobip,
}

impl ErrorBody {
    /// Whether Infobip named an error that is not about the account.
    pub(super) fn is_rejection(&self) -> bool {
        match self {
            Self::AboutMessage(..) => true,
            Self::Other(error) => !error.name.is_empty() && !NOT_ABOUT_MESSAGE.contains(&error.name.as_str()),
            Self::Unnamed | Self::NotInfobip => false,
        }
    }

    /// The error that a result contains.
    pub(super) fn into_error(self, status: u16) -> ReportError {
        match self {
            Self::AboutMessage(error, _) | Self::Other(error) => error,
            Self::Unnamed | Self::NotInfobip => report_error(status, String::new(), ""),
        }
    }
}

/// Reads a body. Errors have two forms: the older APIs' `requestError`, and the platform's `errorCode`.
pub(super) fn read(status: u16, text: &str) -> ErrorBody {
    let Ok(Value::Object(body)) = serde_json::from_str::<Value>(text) else { return ErrorBody::NotInfobip };
    let of = |key: &str| body.get(key).unwrap_or(&Value::Null);
    let exception = &of("requestError")["serviceException"];
    let (name, description) = if exception.is_object() {
        (&exception["messageId"], &exception["text"])
    } else {
        (of("errorCode"), of("description"))
    };
    let is_error = exception.is_object() || body.contains_key("errorCode");
    if !is_error {
        // Other parts of Infobip's API respond with a bare `error`: if it is ambiguous, it must not count as
        // a load balancer's response.
        let is_infobips = ["requestError", "messages", "error"].into_iter().any(|key| body.contains_key(key));
        return if is_infobips { ErrorBody::Unnamed } else { ErrorBody::NotInfobip };
    }
    let error = report_error(status, shown(name), description.as_str().unwrap_or_default());
    let names_fields = is_filled(&exception["validationErrors"]) || is_filled(of("violations"));
    if names_fields || ABOUT_MESSAGE.contains(&error.name.as_str()) {
        ErrorBody::AboutMessage(error, faults(&exception["validationErrors"], of("violations")))
    } else {
        ErrorBody::Other(error)
    }
}

/// The fields that Infobip rejects, each with its texts. `validationErrors` of the older APIs is an object
/// with a list of texts per field; `violations` of the platform is a list of pairs.
fn faults(validation_errors: &Value, violations: &Value) -> Vec<CommandFault> {
    let mut faults = Vec::new();
    for (field, words) in validation_errors.as_object().into_iter().flatten() {
        match words {
            Value::Array(list) => list.iter().for_each(|words| add(&mut faults, field, words)),
            words => add(&mut faults, field, words),
        }
    }
    for violation in violations.as_array().into_iter().flatten() {
        add(&mut faults, violation["property"].as_str().unwrap_or_default(), &violation["violation"]);
    }
    faults
}

/// Adds a fault that has a field or a text, up to the limit.
fn add(faults: &mut Vec<CommandFault>, field: &str, words: &Value) {
    let short = |text: &str, length: usize| text.chars().take(length).collect::<String>();
    let words = words.as_str().unwrap_or_default();
    if faults.len() < FAULTS_MAX && !(field.is_empty() && words.is_empty()) {
        let (field, rule) = (short(field, FIELD_LENGTH_MAX), short(words, RULE_LENGTH_MAX));
        faults.push(CommandFault { field, rule });
    }
}

/// Shortens a text for people: it is stored with the outcome.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(TEXT_LENGTH_MAX).collect()
}

fn report_error(status: u16, name: String, description: &str) -> ReportError {
    ReportError { code: status.to_string(), name, description: cut(description), permanent: Some(true) }
}

fn shown(name: &Value) -> String {
    let text = match name {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    text.chars().filter(char::is_ascii_graphic).take(NAME_LENGTH_MAX).collect()
}

fn is_filled(list: &Value) -> bool {
    match list {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(entries) => !entries.is_empty(),
        _ => false,
    }
}
