//! Publishes what the message log says about a message as a report.

use std::time::Duration;

use bus::headers::EventIds;
use bus::rate_limited_log::RateLimitedLog;
use bus::{EventKind, Headers, Subject};
use jiff::Timestamp;
use prost::Message;
use proto::v1::ReportEvent;

use crate::context::LaneContext;

/// Timeout of storing one event. The caller retries.
const STORE_LIMIT: Duration = Duration::from_secs(5);

static NOT_STORED: RateLimitedLog = RateLimitedLog::new();

/// Publishes a report. Returns whether it is stored. The same words of the log have the same id, also from another process.
pub(super) async fn report(lane: &LaneContext, report: &ReportEvent) -> bool {
    let (bsp, channel) = (lane.account.bsp, &lane.account.channel);
    let time = report.occurred_at.or(report.received_at);
    let time = time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    let ids = EventIds::same(&report.event_id);
    let headers = || Headers::event(EventKind::Report, ids, bsp, channel, time);
    let subject = Subject::Event(EventKind::Report, bsp, channel.clone());
    let payload = report.encode_to_vec().into();
    if let Err(error) = lane.shared.bus.store_once_permitted(&subject, headers, &payload, STORE_LIMIT).await {
        if let Some(turn) = NOT_STORED.next() {
            tracing::warn!(
                function = "reconcile",
                channel = channel.as_str(),
                "what the message log says was not stored, retrying: {error}{turn}"
            );
        }
        return false;
    }
    lane.shared.metrics.reconciled(channel);
    let status = report.provider_status.as_ref().map_or("", |status| &status.raw);
    tracing::info!(
        function = "reconcile",
        channel = channel.as_str(),
        "no report came about message {}; the message log says {status}",
        report.message_id
    );
    true
}
