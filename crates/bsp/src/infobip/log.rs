//! Reads Infobip's message log as reports, for messages whose reports did not come.
//!
//! An entry has the fields of a delivery report: `status`, `to`, `from`, `channel`, `sentAt`, `doneAt` (OpenAPI of the OMNI failover API,
//! 3.210.0, read 2026-11), so `report` reads it. The log has no `error`, and it does not say that a message was read. What the
//! log shows about a send whose outcome is unknown is left to `answer`.

use bytes::Bytes;
use proto::v1::{EventSource, ReportEvent};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{PROFILE, answer, report};
use crate::collector::Collector;
use crate::parsed::{Outcome, Webhook};
use crate::sending::LogAnswer;
use crate::utf8;

/// The body. Entries stay raw, so that a bad entry does not affect the others.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    results: Vec<&'a RawValue>,
}

/// Returns what the log says about each message, one report for each: of several entries, the one of the highest rank.
pub(super) fn reports(log: &LogAnswer<'_>) -> Vec<ReportEvent> {
    let body = Bytes::copy_from_slice(log.body);
    let as_webhook = Webhook { channel: log.channel, body: &body, received_at: log.answered_at, sequence: 0 };
    let text = utf8::lossy(&body);
    let mut out = Collector::new(&PROFILE, &as_webhook, &text);
    let Ok(Body { results }) = out.read_document::<Body<'_>>() else { return Vec::new() };
    for entry in results {
        out.read_item(entry.get(), |out| report::log_entry(entry, out));
    }
    let mut found: Vec<ReportEvent> = Vec::new();
    for item in out.finish().items {
        let Outcome::Report(report) = item.outcome else { continue };
        if !is_about_the_message(&report) {
            continue;
        }
        let report = reconciled(*report);
        match found.iter_mut().find(|known| known.message_id == report.message_id) {
            Some(known) if report.status > known.status => *known = report,
            Some(_) => {}
            None => found.push(report),
        }
    }
    found
}

/// Whether an entry is about the WhatsApp message: not about a fail-over channel, nor about a later send of the same id, which Infobip
/// refused as a duplicate.
fn is_about_the_message(report: &ReportEvent) -> bool {
    let status_id = report.provider_status.as_ref().map_or("", |status| &status.id);
    status_id != answer::DUPLICATE_ID && !report::is_other_channel(report)
}

/// The log's other members, such as the text of the message and its price, are no words about its status.
fn reconciled(report: ReportEvent) -> ReportEvent {
    ReportEvent {
        source: Some(EventSource { reconciled: true, ..EventSource::default() }),
        unread_json: String::new(),
        unread_cut: false,
        ..report
    }
}
