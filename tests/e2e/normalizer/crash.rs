//! Two normalizers, one of them killed repeatedly, and a server with a duplicate window of only a tenth of a second:
//! every webhook that was answered 200 has its events, and no event id is used for two different events.

use std::collections::HashMap;
use std::time::Duration;

use bus::streams::{NORMALIZER, StreamSettings};
use proto::v1::ReportEvent;

use crate::harness::{Installation, Posting, Program, Webhook, exclusive, within};

const KILLS: usize = 20;
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

#[tokio::test(flavor = "multi_thread")]
async fn no_webhook_is_lost_when_normalizers_are_killed() {
    let _alone = exclusive().await;
    let settings =
        StreamSettings { duplicate_window: Duration::from_millis(100), ..StreamSettings::default() };
    let installation = Installation::start_with(&settings).await;
    let ingress = installation.ingress().await;
    let variables = [("IMCHANNEL_LOG_PAYLOADS", "off")];
    let mut steady =
        Program::start("imchannel-normalizer", &installation, &[("IMCHANNEL_LOG_LEVEL", "error")]);
    let posting = Posting::start(ingress.address, SENDERS, |number| webhook(number).0);
    for _ in 0..KILLS {
        let mut victim = Program::start("imchannel-normalizer", &installation, &variables);
        // It is killed during its work.
        for _ in 0..200 {
            victim.line_with("onReport").await;
        }
        victim.kill().await;
    }
    let expected: Vec<String> = (0..posting.end().await).flat_map(|number| webhook(number).1).collect();
    ingress.stop().await;
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
    eprintln!("{KILLS} kills, {} events for {} reports", reports.len(), expected.len());
}
