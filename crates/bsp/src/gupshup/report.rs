//! Gupshup's message events, version 2: what became of a message.
//!
//! `gsId` is the id that the send call answered. It is missing for `enqueued`, for messages that Gupshup itself
//! refused, and after a week; `id` serves then.

use proto::v1::{ProviderStatus, ReportError, ReportEvent, ReportStatus};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::PROFILE;
use crate::event_id::EventKey;
use crate::ids;
use crate::json::{self, Part, Text};
use crate::parsed::{Collector, Refusal};
use crate::{text, time};

/// The statuses of version 2 and of Meta's bodies in version 3, where `played` is a voice note that was heard.
const STATUSES: [(&str, ReportStatus, Option<i32>); 7] = [
    ("enqueued", ReportStatus::Pending, Some(1)),
    ("sent", ReportStatus::Sent, Some(1)),
    ("delivered", ReportStatus::Delivered, Some(0)),
    ("read", ReportStatus::Read, None),
    ("played", ReportStatus::Read, None),
    ("failed", ReportStatus::Failed, Some(2)),
    ("deleted", ReportStatus::Deleted, None),
];

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default, rename = "gsId")]
    gs_id: Text<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    destination: Text<'a>,
    /// Business-scoped user id of a customer who hides the number.
    #[serde(borrow, default, rename = "userId")]
    user_id: Text<'a>,
    #[serde(borrow)]
    payload: Part<'a>,
}

#[derive(Deserialize, Default)]
struct Details<'a> {
    /// Unix seconds, unlike the body's `timestamp`.
    #[serde(borrow, default)]
    ts: Text<'a>,
    #[serde(borrow, default)]
    code: Text<'a>,
    #[serde(borrow, default)]
    reason: Text<'a>,
    /// Only in `enqueued`.
    #[serde(borrow, default, rename = "whatsappMessageId")]
    whatsapp_message_id: Text<'a>,
}

pub(super) fn read(
    raw: &RawValue,
    timestamp: &Text<'_>,
    our_number: &Text<'_>,
    out: &mut Collector<'_>,
) -> Result<(), Refusal> {
    let payload: Payload<'_> = serde_json::from_str(raw.get())?;
    // The number that was written to is not the customer's WhatsApp number: no outcome of the message.
    if payload.kind.as_str() == "mismatch" {
        out.ignored("mismatch");
        return Ok(());
    }
    let details = json::optional::<Details<'_>>(payload.payload).ok().flatten().unwrap_or_default();
    let message_id = payload.gs_id.or(&payload.id).as_str();
    let has_two_ids = !payload.gs_id.is_empty() || !details.whatsapp_message_id.is_empty();
    push(
        &Status {
            message_id,
            status: payload.kind.as_str(),
            time: details.ts.or(timestamp).as_str(),
            event_time: details.ts.as_str(),
            other_id: if has_two_ids { details.whatsapp_message_id.or(&payload.id).as_str() } else { "" },
            recipient: payload.destination.or(&payload.user_id).as_str(),
            participant: "",
            sender: our_number.as_str(),
            error: Error { code: details.code.as_str(), name: "", description: details.reason.as_str() },
        },
        out,
    )
}

/// A status of either version.
pub(super) struct Status<'a> {
    pub(super) message_id: &'a str,
    pub(super) status: &'a str,
    /// When it happened, or at least when the body was made.
    pub(super) time: &'a str,
    /// The time that a repeat has too; empty where the body has none but its own.
    pub(super) event_time: &'a str,
    /// The other id of the message, by which later reports may name it.
    pub(super) other_id: &'a str,
    pub(super) recipient: &'a str,
    /// Who in a group the status is about.
    pub(super) participant: &'a str,
    pub(super) sender: &'a str,
    pub(super) error: Error<'a>,
}

/// An error of either version.
#[derive(Default)]
pub(super) struct Error<'a> {
    pub(super) code: &'a str,
    pub(super) name: &'a str,
    pub(super) description: &'a str,
}

impl Error<'_> {
    fn to_report_error(&self) -> Option<ReportError> {
        let Self { code, name, description } = *self;
        if code.is_empty() && name.is_empty() && description.is_empty() {
            return None;
        }
        let (code, name, description) = (code.to_owned(), name.to_owned(), description.to_owned());
        Some(ReportError { code, name, description, permanent: None })
    }
}

pub(super) fn push(status: &Status<'_>, out: &mut Collector<'_>) -> Result<(), Refusal> {
    if status.message_id.is_empty() {
        return Err(Refusal::new("missing_id", "a report has a 'gsId' or an 'id'"));
    }
    let event_id = EventKey {
        kind: "report",
        message_id: status.message_id,
        status: status.status,
        time: status.event_time,
        error_code: status.error.code,
        recipient: &[status.recipient, status.participant].concat(),
    }
    .id(PROFILE.id, out.webhook.channel);
    let mut event = ReportEvent {
        event_id,
        message_id: status.message_id.to_owned(),
        recipient: text::address(status.recipient).to_owned(),
        sender: text::address(status.sender).to_owned(),
        command_id: ids::command_of_message(status.message_id).to_owned(),
        provider_status: Some(ProviderStatus { raw: status.status.to_owned(), ..ProviderStatus::default() }),
        provider_message_id: status.other_id.to_owned(),
        error: status.error.to_report_error(),
        occurred_at: time::parse(status.time),
        ..out.new_report()
    };
    if event.occurred_at.is_none() && !status.time.is_empty() {
        out.unrecognised("time", status.time, status.message_id);
    }
    match STATUSES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(status.status)) {
        Some((_, known, aicc_status)) => {
            event.set_status(*known);
            event.aicc_status = *aicc_status;
        }
        None => {
            event.set_status(ReportStatus::Unrecognized);
            out.unrecognised("payload.type", status.status, status.message_id);
        }
    }
    out.report(event);
    Ok(())
}
