//! Two normalizers, one of them killed repeatedly, and a server with a duplicate window of only a tenth of a second:
//! every webhook that was answered 200 has its events, and no event id is used for two different events.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bus::streams::{NORMALIZER, StreamSettings};
use proto::v1::ReportEvent;

use crate::harness::{Installation, Program, Webhook, eventually, exclusive, within};

const WEBHOOKS: usize = 20_000;
const SENDERS: usize = 32;

/// One webhook of each BSP in turn; some hold two reports.
fn webhook(number: usize) -> (Webhook, Vec<String>) {
    let id = format!("m-{number}");
    match number % 4 {
        0 => {
            let item = |id: &str| {
                format!(r#"{{"messageId":"{id}","to":"49151","status":{{"groupName":"DELIVERED"}}}}"#)
            };
            let second = format!("{id}-b");
            let body = format!(r#"{{"results":[{},{}]}}"#, item(&id), item(&second));
            (Webhook::infobip(body), vec![id, second])
        }
        1 => {
            let body = format!(r#"{{"sender":"1","user_number":"2","message_id":"{id}","status":"read"}}"#);
            (Webhook::koomessage(body), vec![id])
        }
        2 => {
            let body = format!(
                r#"{{"type":"message-event","timestamp":1,"payload":{{"gsId":"{id}","type":"sent","destination":"3","payload":{{"ts":1772359199}}}}}}"#
            );
            (Webhook::gupshup(body), vec![id])
        }
        _ => {
            (Webhook::twilio(format!("MessageSid={id}&MessageStatus=delivered&To=whatsapp%3A%2B4")), vec![id])
        }
    }
}

/// Posts all of them until each is answered 200, like a BSP that retries.
async fn post_all(installation: &Installation) -> Vec<String> {
    let ingress = installation.ingress().await;
    let (address, next) = (ingress.address, Arc::new(AtomicUsize::new(0)));
    let senders = (0..SENDERS).map(|_| {
        let next = Arc::clone(&next);
        tokio::spawn(async move {
            let mut expected = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= WEBHOOKS {
                    return expected;
                }
                let (webhook, ids) = webhook(number);
                eventually("the webhook is taken", || async {
                    (webhook.post(address).await.status.as_u16() == 200).then_some(())
                })
                .await;
                expected.extend(ids);
            }
        })
    });
    let mut expected = Vec::new();
    for sender in senders.collect::<Vec<_>>() {
        expected.extend(sender.await.unwrap());
    }
    ingress.stop().await;
    expected
}

#[tokio::test(flavor = "multi_thread")]
async fn no_webhook_is_lost_when_normalizers_are_killed() {
    let _alone = exclusive().await;
    let settings =
        StreamSettings { duplicate_window: Duration::from_millis(100), ..StreamSettings::default() };
    let installation = Arc::new(Installation::start_with(&settings).await);
    let variables = [("IMCHANNEL_LOG_PAYLOADS", "off")];
    let mut steady =
        Program::start("imchannel-normalizer", &installation, &[("IMCHANNEL_LOG_LEVEL", "error")]);
    let posting = tokio::spawn({
        let installation = Arc::clone(&installation);
        async move { post_all(&installation).await }
    });
    let mut kills = 0;
    while !posting.is_finished() {
        let mut victim = Program::start("imchannel-normalizer", &installation, &variables);
        // It is killed during its work.
        let mut worked = 0;
        while worked < 200 && !posting.is_finished() {
            if tokio::time::timeout(Duration::from_secs(1), victim.line_with("onReport")).await.is_ok() {
                worked += 1;
            }
        }
        victim.kill().await;
        kills += 1;
    }
    let expected = posting.await.unwrap();
    assert!(kills >= 5, "only {kills} kills while {WEBHOOKS} webhooks went through");
    // The messages in flight of the last killed one are redelivered after the ack wait of 30 s.
    within(Duration::from_secs(120), "every webhook is acknowledged", || async {
        let backlog = bus::lag::backlog(&installation.bus, &NORMALIZER).await.ok()?;
        (backlog == 0).then_some(())
    })
    .await;
    steady.kill().await;

    let reports = installation.reports().await;
    let mut by_message: HashMap<&str, &str> = HashMap::new();
    let mut by_event: HashMap<&str, ReportEvent> = HashMap::new();
    for report in &reports {
        by_message.insert(&report.message_id, &report.event_id);
        // A repeat differs only in where and when its webhook was stored.
        let content = ReportEvent { source: None, received_at: None, ..report.clone() };
        if let Some(other) = by_event.insert(&report.event_id, content.clone()) {
            assert_eq!(other, content, "an event id is used for two different events");
        }
    }
    for id in &expected {
        assert!(by_message.contains_key(id.as_str()), "{id} was answered 200 and has no event");
    }
    assert_eq!(by_message.len(), expected.len(), "there are events without a report");
    assert_eq!(by_event.len(), expected.len(), "there are more events than reports");
    assert_eq!(installation.dead_letters().await.len(), 0);
    assert!(reports.len() > by_event.len(), "no webhook was handled twice: the kills hit nothing");
    eprintln!("{kills} kills, {} events for {} reports", reports.len(), expected.len());
}
