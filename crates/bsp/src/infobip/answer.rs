//! Interprets Infobip's responses to send calls and to queries of its message log. Module [`error`] reads the
//! bodies of errors.
//!
//! Sources: Infobip's OpenAPI of the OMNI failover API (3.210.0) for both responses, its page on errors and
//! retries for the meaning of a status, and its registry of status codes (all read 2026-11). A 200 does not
//! mean that Infobip accepted a message: an entry of group 5 was rejected.

use proto::v1::{ProviderStatus, ReportError};
use serde::Deserialize;

use super::error::{self, ErrorBody, cut};
use super::report::Status;
use crate::json::{self, LooseScalar};
use crate::sending::{Found, LookupError, NotSent, Response, SendResponse};
use crate::utf8;

/// Status id `REJECTED_DUPLICATE_MESSAGE_ID`.
pub(super) const DUPLICATE_ID: &str = "23";

pub(super) const LOGGED_KEYS: &[&str] =
    &["messageId", "bulkId", "groupId", "groupName", "id", "name", "errorCode"];

pub(super) const ERROR_TEXTS: &[&str] = &[
    "status.description",
    "error.description",
    "serviceException.text",
    "validationErrors.*",
    "violations.property",
    "violations.violation",
    ".description",
    ".action",
    ".error",
];

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default, rename = "messageId")]
    message_id: LooseScalar<'a>,
    #[serde(borrow)]
    status: Status<'a>,
}

/// The response to a send call.
///
/// Infobip's page on errors says that a 4xx must not be retried unchanged and that a 5xx is Infobip's error.
/// This applies to responses that Infobip wrote about this message. A rejected key, a missing scope, a rate
/// limit, and a response of a load balancer or proxy are not about the message.
pub(super) fn sending(response: Response<'_>, message_id: &str) -> SendResponse {
    let Response { status, retry_after, body } = response;
    let text = utf8::of_answer(body);
    let is_success = (200..300).contains(&status);
    if is_success && let Some(answer) = read_success(&text, message_id) {
        return answer;
    }
    let body_error = error::read(status, &text);
    if let ErrorBody::AboutMessage(error, faults) = body_error {
        return SendResponse::Rejected { status: None, error, faults };
    }
    match status {
        200..=299 => SendResponse::Indeterminate { what: "an unreadable 2xx response" },
        // By RFC 9110, a 303 may mean that the call was carried out. The other redirects request the call at
        // another URL.
        301 | 302 | 307 | 308 => not_sent(status, body_error),
        429 => SendResponse::Limited,
        400..=499 if is_verdict(status, &body_error) => {
            SendResponse::Rejected { status: None, error: body_error.into_error(status), faults: Vec::new() }
        }
        400..=499 => not_sent(status, body_error),
        503 if retry_after.is_some() && matches!(body_error, ErrorBody::NotInfobip) => {
            not_sent(status, body_error)
        }
        500..=599 => SendResponse::Indeterminate { what: "a server error" },
        _ => SendResponse::Indeterminate { what: "an unexpected status" },
    }
}

/// Whether a client error that names no part of the message rejects the message anyway.
fn is_verdict(status: u16, body_error: &ErrorBody) -> bool {
    match status {
        400 => true,
        // About the account, its bill, a proxy, the path, or a temporary condition.
        401..=405 | 407 | 408 | 421 | 425 => false,
        // Another error of Infobip's own, with a status that the account does not explain.
        _ => body_error.is_rejection(),
    }
}

fn not_sent(status: u16, body_error: ErrorBody) -> SendResponse {
    let error = match body_error {
        ErrorBody::AboutMessage(error, _) | ErrorBody::Other(error) => Some(error),
        ErrorBody::Unnamed | ErrorBody::NotInfobip => None,
    };
    SendResponse::NotSent(NotSent { status, error })
}

/// The entry of a success; `None` if no entry is readable.
fn read_success(text: &str, message_id: &str) -> Option<SendResponse> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        messages: Vec<Entry<'a>>,
    }
    let body = json::from_str::<Body<'_>>(text).ok()?;
    let ours = body.messages.iter().find(|entry| entry.message_id.as_str() == message_id);
    ours.or(body.messages.first()).map(|entry| of_entry(entry, message_id))
}

/// Groups: 0 accepted, 1 pending, 3 delivered; 2 undeliverable, 4 expired, 5 rejected.
fn of_entry(entry: &Entry<'_>, asked: &str) -> SendResponse {
    let status = provider_status(&entry.status);
    // The registry guarantees stable names. An entry without a name has at least the number.
    let group = match status.group_name.to_ascii_uppercase().as_str() {
        "ACCEPTED" | "OK" | "PENDING" | "DELIVERED" => Some(true),
        "UNDELIVERABLE" | "EXPIRED" | "REJECTED" => Some(false),
        "" => match status.group_id.as_str() {
            "0" | "1" | "3" => Some(true),
            "2" | "4" | "5" => Some(false),
            _ => None,
        },
        _ => None,
    };
    match group {
        Some(true) => {
            // The requested id, if a byte of this one was invalid UTF-8.
            let id = entry.message_id.filled().filter(|id| !id.contains('\u{fffd}'));
            let id = id.unwrap_or(asked).to_owned();
            SendResponse::Accepted { message_id: id, status }
        }
        Some(false) if status.id == DUPLICATE_ID => SendResponse::Duplicate { status },
        Some(false) => {
            let error = ReportError {
                code: status.id.clone(),
                name: status.name.clone(),
                description: status.description.clone(),
                permanent: None,
            };
            SendResponse::Rejected { status: Some(status), error, faults: Vec::new() }
        }
        None => SendResponse::Indeterminate { what: "a status of an unknown group" },
    }
}

fn provider_status(status: &Status<'_>) -> ProviderStatus {
    let description = cut(status.description.as_str());
    ProviderStatus { description, ..status.to_provider_status() }
}

/// The path of a log query.
pub(super) fn lookup_path(message_ids: &[&str]) -> String {
    // Message ids contain no characters that a URL must escape. A message may have several entries, one per
    // channel.
    format!("/omni/1/logs?messageId={}&limit=1000", message_ids.join(","))
}

/// The response to a log query. A message that was rejected as a duplicate has an additional entry for that;
/// the other entry counts.
pub(super) fn lookup(status: u16, body: &[u8]) -> Result<Vec<Found>, LookupError> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        results: Vec<Entry<'a>>,
    }
    if status == 429 {
        return Err(LookupError::Limited);
    }
    let text = utf8::of_answer(body);
    let body = json::from_str::<Body<'_>>(&text).ok().filter(|_| status == 200);
    let body = body.ok_or(LookupError::Unreadable)?;
    let mut found: Vec<Found> = Vec::new();
    for entry in &body.results {
        let message_id = entry.message_id.owned();
        let answer = match of_entry(entry, &message_id) {
            answer @ (SendResponse::Duplicate { .. } | SendResponse::Accepted { .. }) => answer,
            answer @ SendResponse::Rejected { .. } if is_rejection(&entry.status) => answer,
            // It is in the log and was not rejected, so Infobip accepted it. Its reports contain the later
            // statuses.
            _ => SendResponse::Accepted {
                message_id: message_id.clone(),
                status: provider_status(&entry.status),
            },
        };
        match found.iter_mut().find(|known| known.message_id == message_id) {
            Some(known) if rank(&answer) > rank(&known.answer) => known.answer = answer,
            Some(_) => {}
            None => found.push(Found { message_id, answer }),
        }
    }
    Ok(found)
}

/// Group REJECTED: the message never left Infobip. UNDELIVERABLE and EXPIRED occur later.
fn is_rejection(status: &Status<'_>) -> bool {
    let name = status.group_name.as_str();
    name.eq_ignore_ascii_case("REJECTED") || (name.is_empty() && status.group_id.as_str() == "5")
}

fn rank(answer: &SendResponse) -> u8 {
    match answer {
        SendResponse::Accepted { .. } => 2,
        SendResponse::Rejected { .. } => 1,
        SendResponse::Duplicate { .. }
        | SendResponse::Limited
        | SendResponse::NotSent(_)
        | SendResponse::Indeterminate { .. } => 0,
    }
}
