//! Reconciliation: the message log is asked about accepted messages without a report, and what it says becomes an event once, whichever
//! sender owns the lane.

use std::time::Duration;

use bus::Priority;
use bus::streams::EVENTS;
use prost::Message;
use proto::v1::{ReportEvent, ReportStatus, SendOutcome};
use simulator::infobip_api::{Fate, Faults, RetryAfter};

use crate::harness::outbound::{Outbound, channel, outcome, text};
use crate::harness::{Installation, eventually, exclusive, within};

pub(super) const CUSTOMER: &str = "4915112345678";

/// Lets the channel reconcile, with this `report_after` in seconds.
pub(super) async fn reconcile(outbound: &Outbound, number: usize, report_after_s: u32) {
    let bus = &outbound.installation.bus;
    let stored = bus::registry::read(bus, channel(number).as_str()).await.unwrap().unwrap();
    let record =
        channel::Record { reconcile: true, report_after_s: Some(report_after_s), ..stored.record.unwrap() };
    bus::registry::put(bus, &record).await.unwrap();
}

/// All reports about a message that were read from the log.
pub(super) async fn reconciled(outbound: &Outbound, message_id: &str) -> Vec<ReportEvent> {
    let is_reconciled = |report: &ReportEvent| report.source.is_some_and(|source| source.reconciled);
    reports(outbound, message_id).await.into_iter().filter(is_reconciled).collect()
}

async fn reports(outbound: &Outbound, message_id: &str) -> Vec<ReportEvent> {
    let stored = outbound.installation.stored(&EVENTS, "imchannel.event.report.*.*").await;
    let all = stored.into_iter().map(|event| ReportEvent::decode(event.payload).unwrap());
    all.filter(|report| report.message_id == message_id).collect()
}

/// Waits until the log's words have become this number of events, of which the last has this status.
pub(super) async fn until_reconciled(
    outbound: &Outbound,
    message_id: &str,
    count: usize,
    status: ReportStatus,
) -> Vec<ReportEvent> {
    within(Duration::from_secs(40), &format!("{message_id} is {status:?}"), || async {
        let found = reconciled(outbound, message_id).await;
        let is_there = found.len() >= count && found.last().is_some_and(|last| last.status() == status);
        is_there.then_some(found)
    })
    .await
}

pub(super) async fn send(outbound: &Outbound, number: usize, command_id: &str) {
    outbound.publish(Priority::Interactive, &text(number, command_id, CUSTOMER, "Hello")).await;
    assert_eq!(outcome(&outbound.result(command_id).await), SendOutcome::Accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_says_about_a_message_without_a_report_is_published_once_by_all_owners_of_the_lane() {
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[100, 100]).await;
    reconcile(&outbound, 0, 1).await;
    let mut killed = outbound.sender_program(&[("IMCHANNEL_LOG_LEVEL", "warn")]);
    send(&outbound, 0, "rejected").await;
    outbound.account.set_fate("imc-rejected", Fate::Rejected);
    send(&outbound, 0, "pending").await;
    send(&outbound, 1, "elsewhere").await;
    let found = until_reconciled(&outbound, "imc-rejected", 1, ReportStatus::Failed).await;
    let report = found.last().unwrap();
    assert_eq!((report.bsp.as_str(), report.channel_id.as_str()), ("infobip", "channel-0"));
    assert_eq!((report.command_id.as_str(), report.recipient.as_str()), ("rejected", CUSTOMER));
    assert_eq!(report.provider_status.as_ref().unwrap().raw, "REJECTED_NOT_ENOUGH_CREDITS");
    assert_eq!((report.aicc_status, report.source.unwrap().stream_sequence), (Some(2), 0));
    assert!(report.occurred_at.is_some() && report.received_at.is_some());
    assert_eq!((report.event_id.len(), report.unread_json.as_str()), (32, ""));
    until_reconciled(&outbound, "imc-pending", 1, ReportStatus::Pending).await;
    let before = reconciled(&outbound, "imc-rejected").await;
    killed.kill().await;

    // Another sender takes the lane over, and reads what the first has published.
    let sender = outbound.sender().await;
    send(&outbound, 0, "later").await;
    until_reconciled(&outbound, "imc-later", 1, ReportStatus::Pending).await;
    let asked = outbound.account.asked("imc-pending");
    eventually("the log is asked again about a message that is not decided", || async {
        (outbound.account.asked("imc-pending") > asked).then_some(())
    })
    .await;
    outbound.account.set_fate("imc-pending", Fate::Delivered);
    let pending = until_reconciled(&outbound, "imc-pending", 2, ReportStatus::Delivered).await;
    assert_eq!(pending.len(), 2, "the same words became two events: {pending:#?}");
    assert_eq!(reconciled(&outbound, "imc-rejected").await, before);
    assert_eq!(outbound.account.asked("imc-elsewhere"), 0, "a channel without the setting was looked up");
    assert_eq!(outbound.account.calls().sends, 4, "something was sent again");
    assert!(
        sender.metrics().contains("reconciled_reports_total{channel=\"channel-0\"}"),
        "{}",
        sender.metrics()
    );
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_a_report_is_not_looked_up() {
    const REPORT_AFTER_S: u32 = 5;
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let outbound = Outbound::on(installation, &[100], Some(&format!("http://{}", ingress.address))).await;
    reconcile(&outbound, 0, REPORT_AFTER_S).await;
    let normalizer = outbound.installation.normalizer().await;
    let sender = outbound.sender().await;
    send(&outbound, 0, "reported").await;
    eventually("its reports are there", || async {
        (reports(&outbound, "imc-reported").await.len() == 2).then_some(())
    })
    .await;
    normalizer.stop().await;
    send(&outbound, 0, "silent").await;
    until_reconciled(&outbound, "imc-silent", 1, ReportStatus::Pending).await;
    assert_eq!(outbound.account.asked("imc-reported"), 0);
    assert_eq!(reconciled(&outbound, "imc-reported").await, Vec::new());
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_limits_the_rate_is_asked_later_and_delays_no_message() {
    let outbound = Outbound::start(&[100]).await;
    reconcile(&outbound, 0, 1).await;
    let limited =
        Faults { lookups_per_minute: 0, log_retry_after: Some(RetryAfter::Seconds(1)), ..Faults::default() };
    outbound.account.set_faults(limited);
    let sender = outbound.sender().await;
    send(&outbound, 0, "first").await;
    eventually("the log refused", || async { (outbound.account.calls().lookups_refused >= 1).then_some(()) })
        .await;
    send(&outbound, 0, "second").await;
    assert_eq!(reconciled(&outbound, "imc-first").await, Vec::new());
    outbound.account.set_faults(Faults::default());
    for message_id in ["imc-first", "imc-second"] {
        let found = until_reconciled(&outbound, message_id, 1, ReportStatus::Pending).await;
        assert_eq!(found.len(), 1, "{found:#?}");
    }
    sender.stop().await;
}
