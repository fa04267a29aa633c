//! KooMessage's reports: delivered, read, failed.

use proto::v1::{ProviderStatus, ReportEvent, ReportStatus};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::PROFILE;
use crate::collector::Collector;
use crate::event_id::EventKey;
use crate::ids;
use crate::json::{self, LooseScalar};
use crate::parsed::Rejection;
use crate::text;

const STATUSES: [(&str, ReportStatus, Option<i32>); 4] = [
    ("sent", ReportStatus::Sent, Some(1)),
    ("delivered", ReportStatus::Delivered, Some(0)),
    ("read", ReportStatus::Read, None),
    ("failed", ReportStatus::Failed, Some(2)),
];

/// All of these fields are mandatory in the AICC's table. The id in the AICC's example has 33 characters.
#[derive(Deserialize)]
struct Report<'a> {
    #[serde(borrow, default)]
    message_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    sender: LooseScalar<'a>,
    #[serde(borrow, default)]
    user_number: LooseScalar<'a>,
    #[serde(borrow, default)]
    status: LooseScalar<'a>,
}

pub(super) fn read(raw: &RawValue, out: &mut Collector<'_>) -> Result<(), Rejection> {
    let report: Report<'_> = json::from_str(raw.get())?;
    if report.message_id.is_empty() {
        return Err(Rejection::new("missing_id", "missing field 'message_id' in the report"));
    }
    let event_id = EventKey {
        kind: "report",
        message_id: report.message_id.as_str(),
        status: report.status.as_str(),
        recipient: report.user_number.as_str(),
        ..EventKey::default()
    }
    .id(PROFILE.id, out.webhook.channel);
    let mut event = ReportEvent {
        event_id,
        message_id: report.message_id.owned(),
        recipient: text::address(report.user_number.as_str()).to_owned(),
        sender: text::address(report.sender.as_str()).to_owned(),
        command_id: ids::command_of_message(report.message_id.as_str()).to_owned(),
        provider_status: Some(ProviderStatus { raw: report.status.owned(), ..ProviderStatus::default() }),
        ..out.new_report()
    };
    let known = STATUSES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(report.status.as_str()));
    match known {
        Some((_, status, aicc_status)) => {
            event.set_status(*status);
            event.aicc_status = *aicc_status;
        }
        None => {
            event.set_status(ReportStatus::Unrecognized);
            out.unrecognized("status", report.status.as_str(), report.message_id.as_str());
        }
    }
    out.report(event);
    Ok(())
}
