//! What is checked before the message log is asked for a report, and before a report of the log is published.

use std::time::Duration;

use bsp::CommandId;
use bus::ledger::{LedgerKey, Revision};
use bus::streams::{EVENTS, StreamSettings};
use bus::{EventKind, Headers, Subject, headers, provision};
use prost::Message;
use proto::v1::{EventSource, ReportEvent, ReportStatus, SendOutcome, SendResult};
use sender::protocol::Record;
use simulator::infobip_api::Faults;

use super::reconcile::{reconcile, reconciled, send, until_reconciled};
use crate::harness::outbound::{Outbound, channel};
use crate::harness::{TIMEOUT, eventually, exclusive};

fn key(command_id: &str) -> LedgerKey {
    LedgerKey::new(&channel(0), &CommandId::parse(command_id).unwrap())
}

/// Reads the ledger entry of a command.
async fn read(outbound: &Outbound, command_id: &str) -> (Record, Revision) {
    let entry = outbound.installation.bus.ledger_read(&key(command_id)).await.unwrap().unwrap();
    (Record::from_bytes(&entry.value).unwrap(), entry.revision)
}

/// Replaces the ledger entry of a command.
async fn replace(outbound: &Outbound, command_id: &str, value: &[u8]) {
    let (_, revision) = read(outbound, command_id).await;
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    let value = value.to_vec().into();
    outbound.installation.bus.ledger_write(&key(command_id), revision, value, deadline).await.unwrap();
}

fn subject(kind: EventKind) -> Subject {
    Subject::Event(kind, bsp::registry::find("infobip").unwrap().profile().id, channel(0))
}

/// Stores an event of the channel; returns its sequence.
async fn store(outbound: &Outbound, kind: EventKind, id: &str, event: &impl Message) -> u64 {
    let headers = || Headers::new().with(headers::MESSAGE_ID, id);
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    let payload = event.encode_to_vec().into();
    outbound.installation.bus.store(&subject(kind), headers, &payload, deadline).await.unwrap().sequence()
}

/// The report of a webhook about a message.
fn report(command_id: &str, status: ReportStatus) -> ReportEvent {
    ReportEvent {
        event_id: format!("report-{command_id}"),
        message_id: format!("imc-{command_id}"),
        command_id: command_id.to_owned(),
        status: status.into(),
        source: Some(EventSource { stream_sequence: 1, ..EventSource::default() }),
        ..ReportEvent::default()
    }
}

/// Waits until the sender was sent the reports up to a sequence.
async fn until_sent(outbound: &Outbound, sequence: u64) {
    let client = async_nats::connect(outbound.installation.nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    eventually("the sender reads the report", || async {
        let stream = jetstream.get_stream(EVENTS.name).await.ok()?;
        let mut consumers = stream.consumers();
        while let Some(consumer) = futures_util::StreamExt::next(&mut consumers).await {
            let consumer = consumer.ok()?;
            let is_of_reports = consumer.config.filter_subject.starts_with("imchannel.event.report.");
            if is_of_reports && consumer.delivered.stream_sequence >= sequence {
                return Some(());
            }
        }
        None
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_ledger_does_not_call_accepted_is_not_asked_about() {
    /// Longer than the entries take to be replaced.
    const REPORT_AFTER_S: u32 = 8;
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[100]).await;
    reconcile(&outbound, 0, REPORT_AFTER_S).await;
    let sender = outbound.sender().await;
    let others = ["damaged", "erased", "not-sent", "rejected"];
    for id in others {
        send(&outbound, 0, id).await;
    }
    replace(&outbound, "damaged", b"{\"sequence\":").await;
    let (entry, _) = read(&outbound, "erased").await;
    replace(&outbound, "erased", &entry.answered().to_bytes()).await;
    let (entry, _) = read(&outbound, "not-sent").await;
    replace(&outbound, "not-sent", &entry.not_sent().to_bytes()).await;
    let (entry, _) = read(&outbound, "rejected").await;
    let rejected = SendResult { outcome: SendOutcome::Rejected.into(), ..outbound.result("rejected").await };
    replace(&outbound, "rejected", &entry.decided(&rejected).to_bytes()).await;
    for id in others {
        assert_eq!(outbound.account.asked(&format!("imc-{id}")), 0, "the entries were replaced too late");
    }
    // It is due after them.
    send(&outbound, 0, "accepted").await;
    until_reconciled(&outbound, "imc-accepted", 1, ReportStatus::Pending).await;
    for id in others {
        assert_eq!(outbound.account.asked(&format!("imc-{id}")), 0, "{id}");
    }
    sender.stop().await;
}

/// Sends a message and lets the log be asked about it; returns while the answer has not come.
async fn send_and_ask(outbound: &Outbound, command_id: &str) {
    /// Shorter than the sender waits for an answer.
    const LATENCY: Duration = Duration::from_secs(2);
    outbound.account.set_faults(Faults::default());
    send(outbound, 0, command_id).await;
    let before = outbound.account.calls().lookups;
    outbound.account.set_faults(Faults { latency: LATENCY, ..Faults::default() });
    eventually("the log is asked", || async { (outbound.account.calls().lookups > before).then_some(()) })
        .await;
}

/// Waits until the log has answered, and its answer about a later message became an event.
async fn until_answered(outbound: &Outbound, command_id: &str) {
    let message_id = format!("imc-{command_id}");
    eventually("the log has answered", || async { (outbound.account.asked(&message_id) > 0).then_some(()) })
        .await;
    outbound.account.set_faults(Faults::default());
    let later = format!("after-{command_id}");
    send(outbound, 0, &later).await;
    until_reconciled(outbound, &format!("imc-{later}"), 1, ReportStatus::Pending).await;
    assert_eq!(reconciled(outbound, &message_id).await, Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_says_is_not_published_about_a_message_that_was_reported_or_erased_meanwhile() {
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[100]).await;
    reconcile(&outbound, 0, 1).await;
    let sender = outbound.sender().await;
    send_and_ask(&outbound, "reported").await;
    let delivered = report("reported", ReportStatus::Delivered);
    let sequence = store(&outbound, EventKind::Report, "reported", &delivered).await;
    until_sent(&outbound, sequence).await;
    assert_eq!(outbound.account.asked("imc-reported"), 0, "the log answered before the report was read");
    until_answered(&outbound, "reported").await;

    send_and_ask(&outbound, "erased").await;
    let (entry, _) = read(&outbound, "erased").await;
    replace(&outbound, "erased", &entry.answered().to_bytes()).await;
    assert_eq!(outbound.account.asked("imc-erased"), 0, "the log answered before the entry was replaced");
    until_answered(&outbound, "erased").await;
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_were_created_again_are_read_again_also_when_they_are_more_than_before() {
    const REPORT_AFTER_S: u32 = 5;
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[100]).await;
    reconcile(&outbound, 0, REPORT_AFTER_S).await;
    let sender = outbound.sender().await;
    send(&outbound, 0, "again").await;
    let result = outbound.result("again").await;
    let sequence =
        store(&outbound, EventKind::Report, "again", &report("again", ReportStatus::Delivered)).await;
    until_sent(&outbound, sequence).await;
    // A later message shows that this one is not asked about because of its report.
    send(&outbound, 0, "later").await;
    until_reconciled(&outbound, "imc-later", 1, ReportStatus::Pending).await;
    assert_eq!(outbound.account.asked("imc-again"), 0);

    // As from a back-up without the report, and longer than the sender has read.
    let last = bus::read::last_sequence(&outbound.installation.bus, &EVENTS).await.unwrap();
    let client = async_nats::connect(outbound.installation.nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    jetstream.delete_stream(EVENTS.name).await.unwrap();
    provision::apply(&outbound.installation.bus, &StreamSettings::default()).await.unwrap();
    // Not as a service does: its connection refuses a stream that has gone back.
    let store_again = async |kind, payload: Vec<u8>| {
        let stored = jetstream.publish(subject(kind).to_text(), payload.into()).await.unwrap();
        stored.await.unwrap();
    };
    store_again(EventKind::SendResult, result.encode_to_vec()).await;
    for _ in 0..2 * last {
        store_again(EventKind::SendResult, SendResult::default().encode_to_vec()).await;
        store_again(EventKind::Report, report("", ReportStatus::Sent).encode_to_vec()).await;
    }
    until_reconciled(&outbound, "imc-again", 1, ReportStatus::Pending).await;
    sender.stop().await;
}
