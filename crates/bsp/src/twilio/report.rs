//! Twilio's status callbacks.

use proto::v1::{ProviderStatus, ReportError, ReportEvent, ReportStatus};

use super::{PROFILE, message_sid};
use crate::collector::Collector;
use crate::event_id::EventKey;
use crate::form::Form;
use crate::ids;
use crate::parsed::Rejection;
use crate::text;

/// All statuses of Twilio's OpenAPI (`message_enum_status`, 2026-04). `receiving` and `received` belong to
/// inbound messages; `canceled` is a scheduled message that was canceled.
const STATUSES: [(&str, ReportStatus, Option<i32>); 13] = [
    ("accepted", ReportStatus::Pending, Some(1)),
    ("scheduled", ReportStatus::Pending, Some(1)),
    ("queued", ReportStatus::Pending, Some(1)),
    ("sending", ReportStatus::Pending, Some(1)),
    ("receiving", ReportStatus::Pending, Some(1)),
    ("sent", ReportStatus::Sent, Some(1)),
    ("partially_delivered", ReportStatus::Sent, Some(1)),
    ("delivered", ReportStatus::Delivered, Some(0)),
    ("received", ReportStatus::Delivered, Some(0)),
    ("read", ReportStatus::Read, None),
    ("undelivered", ReportStatus::Failed, Some(2)),
    ("failed", ReportStatus::Failed, Some(2)),
    ("canceled", ReportStatus::Failed, Some(2)),
];

/// Permanent errors of the recipient: no WhatsApp user, blocked, opted out, or not a number (Twilio's error
/// dictionary, 2026-04).
const PERMANENT_ERRORS: [&str; 7] = ["63003", "63024", "63032", "63033", "21211", "21610", "21614"];

pub(super) fn read(form: &Form<'_>, raw_status: &str, out: &mut Collector<'_>) -> Result<(), Rejection> {
    let message_id = message_sid(form)?;
    let error_code = form.get("ErrorCode");
    let event_id = EventKey {
        kind: "report",
        message_id,
        status: raw_status,
        time: "",
        error_code,
        recipient: form.get("To"),
    }
    .id(PROFILE.id, out.webhook.channel);
    let error = to_error(form, error_code);
    let mut event = ReportEvent {
        event_id,
        message_id: message_id.to_owned(),
        recipient: text::address(form.get("To")).to_owned(),
        sender: text::address(form.get("From")).to_owned(),
        command_id: ids::command_of_message(message_id).to_owned(),
        provider_status: Some(ProviderStatus { raw: raw_status.to_owned(), ..ProviderStatus::default() }),
        errors: error.iter().cloned().collect(),
        error,
        ..out.new_report()
    };
    match STATUSES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(raw_status)) {
        Some((_, status, aicc_status)) => {
            event.set_status(*status);
            event.aicc_status = *aicc_status;
        }
        None => {
            event.set_status(ReportStatus::Unrecognized);
            out.unrecognized("MessageStatus", raw_status, message_id);
        }
    }
    out.report(event);
    Ok(())
}

fn to_error(form: &Form<'_>, code: &str) -> Option<ReportError> {
    let code = if code == "0" { "" } else { code };
    let description = match form.get("ErrorMessage") {
        "" => form.get("ChannelStatusMessage"),
        message => message,
    };
    (!code.is_empty() || !description.is_empty()).then(|| ReportError {
        code: code.to_owned(),
        name: String::new(),
        description: description.to_owned(),
        permanent: PERMANENT_ERRORS.contains(&code).then_some(true),
    })
}
