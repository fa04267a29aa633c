//! Infobip's reports: delivery, seen and deleted, in the formats of the OMNI API, the WhatsApp API and the
//! Messages API.
//!
//! `groupName` takes precedence. `groupId` is used only without a name, because the AICC's documents assign
//! other numbers than Infobip (the AICC's example pairs UNDELIVERABLE with 4, which is Infobip's EXPIRED).

use std::borrow::Cow;

use proto::v1::{ProviderStatus, ReportError, ReportEvent, ReportStatus};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::PROFILE;
use crate::collector::Collector;
use crate::event_id::EventKey;
use crate::ids;
use crate::json::{self, LooseScalar, Part};
use crate::parsed::Rejection;
use crate::{text, time};

/// The meaning of a status group, and the AICC's code for it (AICC, "Receiving and Processing Reports Sent on
/// Infobip", table of `groupName`).
struct Group {
    name: &'static str,
    /// Infobip's number (registry of status codes, read 2026-11).
    id: &'static str,
    status: ReportStatus,
    aicc_status: Option<i32>,
}

const GROUPS: [Group; 7] = [
    Group { name: "ACCEPTED", id: "0", status: ReportStatus::Pending, aicc_status: Some(1) },
    Group { name: "PENDING", id: "1", status: ReportStatus::Pending, aicc_status: Some(1) },
    Group { name: "UNDELIVERABLE", id: "2", status: ReportStatus::Failed, aicc_status: Some(2) },
    Group { name: "DELIVERED", id: "3", status: ReportStatus::Delivered, aicc_status: Some(0) },
    Group { name: "EXPIRED", id: "4", status: ReportStatus::Failed, aicc_status: Some(2) },
    Group { name: "REJECTED", id: "5", status: ReportStatus::Failed, aicc_status: Some(2) },
    Group { name: "SEEN", id: "", status: ReportStatus::Read, aicc_status: None },
];

/// Kind of the event ids of reports.
const REPORT: &str = "report";
/// Kind of the event ids of what the message log says.
const RECONCILED: &str = "reconciled";

/// Infobip's name of the only channel that this gateway supports.
pub(super) const WHATSAPP: &str = "WHATSAPP";

/// The only status of group DELIVERED that is not final: the message has reached only the operator.
const DELIVERED_TO_OPERATOR: (&str, &str) = ("DELIVERED_TO_OPERATOR", "2");

/// The fields of all three kinds of report. The Messages API uses `sender` and `destination` for `from` and
/// `to`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    #[serde(borrow, default)]
    message_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    bulk_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    from: LooseScalar<'a>,
    #[serde(borrow, default)]
    to: LooseScalar<'a>,
    #[serde(borrow, default)]
    sender: LooseScalar<'a>,
    #[serde(borrow, default)]
    destination: LooseScalar<'a>,
    #[serde(borrow, default)]
    channel: LooseScalar<'a>,
    #[serde(borrow, default)]
    sent_at: LooseScalar<'a>,
    #[serde(borrow, default)]
    done_at: LooseScalar<'a>,
    #[serde(borrow, default)]
    seen_at: LooseScalar<'a>,
    #[serde(borrow, default)]
    deleted_at: LooseScalar<'a>,
    #[serde(borrow)]
    status: Part<'a>,
    #[serde(borrow)]
    error: Part<'a>,
    /// The callback data that was sent to Infobip with the message.
    #[serde(borrow, default)]
    callback_data: LooseScalar<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status<'a> {
    #[serde(borrow, default)]
    pub(super) group_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    pub(super) group_name: LooseScalar<'a>,
    #[serde(borrow, default)]
    pub(super) id: LooseScalar<'a>,
    #[serde(borrow, default)]
    pub(super) name: LooseScalar<'a>,
    #[serde(borrow, default)]
    pub(super) description: LooseScalar<'a>,
    /// Only in errors.
    #[serde(borrow, default)]
    pub(super) permanent: LooseScalar<'a>,
}

impl Status<'_> {
    fn group(&self) -> Option<&'static Group> {
        if self.group_name.is_empty() {
            let id = self.group_id.as_str();
            return GROUPS.iter().find(|group| !id.is_empty() && group.id == id);
        }
        GROUPS.iter().find(|group| group.name.eq_ignore_ascii_case(self.group_name.as_str()))
    }

    pub(super) fn to_provider_status(&self) -> ProviderStatus {
        ProviderStatus {
            group_id: self.group_id.owned(),
            group_name: self.group_name.owned(),
            id: self.id.owned(),
            name: self.name.owned(),
            description: self.description.owned(),
            raw: self.name.or(&self.group_name).or(&self.group_id).owned(),
        }
    }
}

/// Whether a status means that the message will not arrive.
pub(super) fn is_failure(status: Part<'_>) -> bool {
    let Some(Ok(status)) = status.map(|status| json::peek::<Status<'_>>(status.get())) else {
        return false;
    };
    status.group().is_some_and(|group| group.status == ReportStatus::Failed)
}

pub(super) fn delivery(raw: &RawValue, out: &mut Collector<'_>) -> Result<(), Rejection> {
    read_delivery(raw, out, REPORT)
}

/// Reads an entry of the message log, which has the fields of a delivery report. Its event has another id than the report, because the
/// report may still come, in other words.
pub(super) fn log_entry(raw: &RawValue, out: &mut Collector<'_>) -> Result<(), Rejection> {
    read_delivery(raw, out, RECONCILED)
}

fn read_delivery(raw: &RawValue, out: &mut Collector<'_>, kind: &'static str) -> Result<(), Rejection> {
    let (report, mut event) = begin(raw, out)?;
    let Ok(Some(status)) = json::optional::<Status<'_>>(report.status) else {
        return Err(Rejection::new("wrong_shape", "field 'status' is not an object"));
    };
    let error = json::optional::<Status<'_>>(report.error).unwrap_or_else(|()| {
        out.unrecognized("error", "(another shape)", &event.message_id);
        None
    });
    let error_code = error.as_ref().map(|error| error.id.as_str()).unwrap_or_default();
    let time = report.done_at.or(&report.sent_at);
    // The name and the group, so that a group whose meaning changes gives another event.
    let raw_status =
        [status.group_name.or(&status.group_id).as_str(), status.name.or(&status.id).as_str()].join("/");

    let key = EventKey { kind, status: &raw_status, time: time.as_str(), error_code, ..EventKey::default() };
    event.event_id = event_id(&report, key, out);
    event.provider_status = Some(status.to_provider_status());
    event.error = error.and_then(reported);
    event.errors = event.error.iter().cloned().collect();
    event.occurred_at = occurred_at(time, &event.message_id, out);
    set_status(&mut event, &status, out);
    out.report(event);
    Ok(())
}

pub(super) fn seen(raw: &RawValue, out: &mut Collector<'_>) -> Result<(), Rejection> {
    let (report, mut event) = begin(raw, out)?;
    finish_timed(&report, &mut event, &SEEN, &report.seen_at, out);
    out.report(event);
    Ok(())
}

/// Infobip withdrew it in 2024; the AICC's document still requires it.
pub(super) fn deleted(raw: &RawValue, out: &mut Collector<'_>) -> Result<(), Rejection> {
    let (report, mut event) = begin(raw, out)?;
    finish_timed(&report, &mut event, &DELETED, &report.deleted_at, out);
    out.report(event);
    Ok(())
}

/// Reads the fields that all reports share.
fn begin<'a>(raw: &'a RawValue, out: &Collector<'_>) -> Result<(Report<'a>, Box<ReportEvent>), Rejection> {
    let report: Report<'a> = json::from_str(raw.get())?;
    if report.message_id.is_empty() {
        return Err(Rejection::new("missing_id", "missing field 'messageId' in the report"));
    }
    let event = Box::new(ReportEvent {
        message_id: report.message_id.owned(),
        bulk_id: report.bulk_id.owned(),
        recipient: text::address(report.to.or(&report.destination).as_str()).to_owned(),
        sender: text::address(report.from.or(&report.sender).as_str()).to_owned(),
        command_id: ids::command_of_message(report.message_id.as_str()).to_owned(),
        provider_channel: report.channel.owned(),
        callback_data: report.callback_data.owned(),
        ..out.new_report()
    });
    Ok((report, event))
}

/// What a report says that has a time field in place of a status.
struct TimedStatus {
    /// The status as it is written into the event and its id.
    raw: &'static str,
    status: ReportStatus,
}

const SEEN: TimedStatus = TimedStatus { raw: "seen", status: ReportStatus::Read };
const DELETED: TimedStatus = TimedStatus { raw: "deleted", status: ReportStatus::Deleted };

/// Finishes a seen or deleted report. Its time field determines its status.
fn finish_timed(
    report: &Report<'_>,
    event: &mut ReportEvent,
    timed: &TimedStatus,
    time: &LooseScalar<'_>,
    out: &mut Collector<'_>,
) {
    let key = EventKey { kind: REPORT, status: timed.raw, time: time.as_str(), ..EventKey::default() };
    event.event_id = event_id(report, key, out);
    event.occurred_at = occurred_at(time, &event.message_id, out);
    event.provider_status = Some(ProviderStatus { raw: timed.raw.to_owned(), ..ProviderStatus::default() });
    let status = if is_other_channel(event) { ReportStatus::Unrecognized } else { timed.status };
    event.set_status(status);
}

fn set_status(event: &mut ReportEvent, status: &Status<'_>, out: &mut Collector<'_>) {
    event.set_status(ReportStatus::Unrecognized);
    if is_other_channel(event) {
        return;
    }
    let Some(group) = status.group() else {
        let value = status.group_name.or(&status.group_id);
        out.unrecognized("status.groupName", value.as_str(), &event.message_id);
        return;
    };
    let (name, id) = DELIVERED_TO_OPERATOR;
    // Names may change over time; numbers do not.
    let to_operator = status.name.as_str().eq_ignore_ascii_case(name) || status.id.as_str() == id;
    let is_final = group.status != ReportStatus::Delivered || !to_operator;
    event.set_status(if is_final { group.status } else { ReportStatus::Sent });
    // By the group's name if there is one, as the AICC defines it. A message that is only sent counts as
    // waiting.
    event.aicc_status = if is_final || !status.group_name.is_empty() { group.aicc_status } else { Some(1) };
}

/// A report about a failover channel does not change the status of the WhatsApp message.
pub(super) fn is_other_channel(event: &ReportEvent) -> bool {
    !event.provider_channel.is_empty() && !event.provider_channel.eq_ignore_ascii_case(WHATSAPP)
}

/// `key` has kind, status, time and error code.
fn event_id(report: &Report<'_>, key: EventKey<'_>, out: &Collector<'_>) -> String {
    // A failover channel's report is a different event than WhatsApp's, although the other values are the
    // same.
    let channel = report.channel.as_str();
    let is_whatsapp = channel.is_empty() || channel.eq_ignore_ascii_case(WHATSAPP);
    let status = key.status;
    let status = if is_whatsapp { Cow::Borrowed(status) } else { Cow::Owned(format!("{status}@{channel}")) };
    EventKey {
        message_id: report.message_id.as_str(),
        status: &status,
        recipient: report.to.or(&report.destination).as_str(),
        ..key
    }
    .id(PROFILE.id, out.webhook.channel)
}

fn occurred_at(
    text: &LooseScalar<'_>,
    message_id: &str,
    out: &mut Collector<'_>,
) -> Option<proto::Timestamp> {
    if text.is_empty() {
        return None;
    }
    let time = time::parse(text.as_str());
    if time.is_none() {
        out.unrecognized("time", text.as_str(), message_id);
    }
    time
}

/// The error object as an error, if something failed.
pub(super) fn reported(error: Status<'_>) -> Option<ReportError> {
    if is_error(&error) {
        return Some(to_report_error(error));
    }
    // The other members of `NO_ERROR` add nothing to its id.
    let Status { group_id, group_name, id: _, name, description, permanent } = &error;
    [group_id, group_name, name, description, permanent].into_iter().for_each(LooseScalar::pass);
    None
}

/// Infobip sends an error object also if nothing failed: `NO_ERROR` with id 0.
fn is_error(error: &Status<'_>) -> bool {
    match error.id.as_str() {
        "0" => false,
        "" => !error.name.is_empty() && !error.name.as_str().eq_ignore_ascii_case("NO_ERROR"),
        _ => true,
    }
}

fn to_report_error(error: Status<'_>) -> ReportError {
    ReportError {
        code: error.id.owned(),
        name: error.name.owned(),
        description: error.description.owned(),
        permanent: match error.permanent.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        },
    }
}
