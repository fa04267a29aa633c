//! Replays in the audit log, and on its page: of the command line, and of a version that did not say who it was.

use bus::streams::EVENTS;
use bus::{Headers, headers};
use serde_json::Value;
use tokio::time::Instant;

use super::super::lives::{Gateway, gateway};
use super::stage::assert_nothing_personal;
use crate::harness::browser::Browser;
use crate::harness::{TIMEOUT, Webhook, eventually, run_cli};

/// The entries of replays, the oldest first, once they have counted that many events.
async fn replays(gateway: &Gateway, events: u64) -> Vec<Value> {
    eventually("the replays are in the audit log", || async {
        let (_, log) = gateway.timeline.get("/v1/audit?action=replay").await;
        let mut entries = log["entries"].as_array()?.clone();
        entries.reverse();
        let counted = entries.iter().filter_map(|entry| entry["replayed"]["events"].as_u64());
        (counted.sum::<u64>() >= events).then_some(entries)
    })
    .await
}

/// Publishes an event once more as a version did that had no headers for who and why.
async fn published_by_an_earlier_version(gateway: &Gateway) {
    let installation = &gateway.outbound.installation;
    let event = installation.stored(&EVENTS, "imchannel.event.>").await.remove(0);
    let id = event.headers.get(headers::CE_ID).unwrap().to_owned();
    let of_replay = || {
        Headers::new()
            .with(headers::MESSAGE_ID, &format!("{id}.r5"))
            .with(headers::CE_ID, &id)
            .with(headers::REPLAYED, "true")
    };
    let subject = event.address().unwrap();
    installation.bus.store(&subject, of_replay, &event.payload, Instant::now() + TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn the_audit_log_shows_who_replayed_what_and_why() {
    let gateway = gateway(&[]).await;
    let installation = &gateway.outbound.installation;
    let _normalizer = installation.normalizer().await;
    for number in 0..3 {
        let report = format!(
            r#"{{"results":[{{"messageId":"m-{number}","to":"4915112345678","status":{{"groupName":"DELIVERED"}}}}]}}"#
        );
        assert_eq!(Webhook::infobip(report).post(gateway.ingress.address).await.status, 200);
    }
    installation.until_processed().await;
    let publish = ["replay", "webhooks", "--from-sequence", "1", "--publish", "--yes"];
    let who = ["--number", "7", "--by", "Ann Example", "--note", "asked for by +49 151 12345678"];
    assert!(run_cli(installation, &[&publish[..], &who].concat()).await.status.success());
    published_by_an_earlier_version(&gateway).await;
    let entries = replays(&gateway, 4).await;
    let named = |entry: &Value| {
        ["user", "target", "reason", "role"].map(|key| entry[key].as_str().unwrap().to_owned())
    };
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert_eq!(named(&entries[0]), ["Ann Example", "replay 7", "asked for by ***", "unknown"]);
    assert_eq!(
        (&entries[0]["replayed"]["events"], &entries[0]["details"]),
        (&3.into(), &"from EVENTS/4".into())
    );
    assert_eq!(named(&entries[1]), ["unknown", "replay 5", "", "unknown"]);

    let browser = Browser::start().await;
    browser.open(&format!("{}/audit?action=replay", gateway.timeline.url)).await;
    let page = browser.text_with("replay 7").await;
    for shown in [
        "Ann Example",
        "3 events",
        "asked for by ***",
        "as the replay says",
        "replay 5",
        "unknown",
        "1 event,",
    ] {
        assert!(page.contains(shown), "{shown} is not on the page: {page}");
    }
    assert_nothing_personal("the audit log", &browser.source().await);
}
