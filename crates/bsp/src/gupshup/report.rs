//! Gupshup's message events, version 2: what became of a message.
//!
//! `gsId` is the id that the send call answered. It is missing for `enqueued`, for messages that Gupshup itself
//! refused, and after a week; `id` serves then.

use proto::v1::{ProviderStatus, ReportError, ReportEvent, ReportStatus};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::PROFILE;
use crate::event_id::EventKey;
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
}

pub(super) fn read(raw: &RawValue, timestamp: &Text<'_>, out: &mut Collector<'_>) -> Result<(), Refusal> {
    let payload: Payload<'_> = serde_json::from_str(raw.get())?;
    // The number that was written to is not the customer's WhatsApp number: no outcome of the message.
    if payload.kind.as_str() == "mismatch" {
        out.ignored("mismatch");
        return Ok(());
    }
    let details = json::optional::<Details<'_>>(payload.payload).ok().flatten().unwrap_or_default();
    let message_id = payload.gs_id.or(&payload.id).as_str();
    push(
        &Status {
            message_id,
            status: payload.kind.as_str(),
            time: details.ts.or(timestamp).as_str(),
            recipient: payload.destination.or(&payload.user_id).as_str(),
            sender: "",
            error: Error { code: details.code.as_str(), name: "", description: details.reason.as_str() },
        },
        out,
    )
}

/// A status of either version.
pub(super) struct Status<'a> {
    pub(super) message_id: &'a str,
    pub(super) status: &'a str,
    pub(super) time: &'a str,
    pub(super) recipient: &'a str,
    pub(super) sender: &'a str,
    pub(super) error: Error<'a>,
}

/// An error of either version; without a code there is none.
#[derive(Default)]
pub(super) struct Error<'a> {
    pub(super) code: &'a str,
    pub(super) name: &'a str,
    pub(super) description: &'a str,
}

pub(super) fn push(status: &Status<'_>, out: &mut Collector<'_>) -> Result<(), Refusal> {
    if status.message_id.is_empty() {
        return Err(Refusal::new("missing_id", "a report has a 'gsId' or an 'id'"));
    }
    let event_id = EventKey {
        kind: "report",
        message_id: status.message_id,
        status: status.status,
        time: status.time,
        error_code: status.error.code,
        recipient: status.recipient,
    }
    .id(PROFILE.id, out.webhook.channel);
    let mut event = ReportEvent {
        event_id,
        message_id: status.message_id.to_owned(),
        recipient: text::address(status.recipient).to_owned(),
        sender: text::address(status.sender).to_owned(),
        command_id: text::command_id(status.message_id).to_owned(),
        provider_status: Some(ProviderStatus { raw: status.status.to_owned(), ..ProviderStatus::default() }),
        error: (!status.error.code.is_empty()).then(|| ReportError {
            code: status.error.code.to_owned(),
            name: status.error.name.to_owned(),
            description: status.error.description.to_owned(),
            permanent: None,
        }),
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
