//! A stream that has filled up with processed history still takes webhooks, and one that is full of unprocessed ones
//! loses none of them.

use bus::streams::StreamSettings;

use crate::harness::{Installation, Webhook, eventually};

const MAX_BYTES: u64 = 256 * 1024;

fn body(number: usize) -> String {
    let padding = "x".repeat(2_000);
    format!(
        r#"{{"results":[{{"messageId":"m-{number}","to":"49151","status":{{"groupName":"DELIVERED"}}}}],"p":"{padding}"}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn processed_history_never_refuses_a_webhook() {
    let settings =
        StreamSettings { webhooks_max_bytes: MAX_BYTES, events_max_bytes: MAX_BYTES, ..Default::default() };
    let installation = Installation::start_with(&settings).await;
    // The AICC's durable would hold the events back; here nobody reads them.
    installation.bus.delete_durable(&bus::streams::AICC).await.unwrap();
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    // Four times what the stream holds.
    let count = 4 * usize::try_from(MAX_BYTES).unwrap() / 2_000;
    for number in 0..count {
        let answer = Webhook::infobip(body(number)).post(ingress.address).await;
        assert_eq!(answer.status.as_u16(), 200, "webhook {number}: {answer:?}");
    }
    installation.until_processed().await;
    let reports = installation.reports().await;
    assert!(reports.iter().any(|report| report.message_id == format!("m-{}", count - 1)));
    assert!(installation.webhooks().await.len() < count, "nothing was purged");
    normalizer.stop().await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unprocessed_webhooks_are_never_purged() {
    let settings = StreamSettings { webhooks_max_bytes: MAX_BYTES, ..Default::default() };
    let installation = Installation::start_with(&settings).await;
    let ingress = installation.ingress().await;
    let mut taken = Vec::new();
    for number in 0.. {
        match Webhook::infobip(body(number)).post(ingress.address).await.status.as_u16() {
            200 => taken.push(format!("m-{number}")),
            503 => break,
            other => panic!("{other}"),
        }
    }
    // A normalizer comes, finds a full stream, and everything that was taken comes out.
    let normalizer = installation.normalizer().await;
    let last = Webhook::infobip(body(taken.len()));
    eventually("there is room again", || async {
        (last.post(ingress.address).await.status.as_u16() == 200).then_some(())
    })
    .await;
    installation.until_processed().await;
    let ids: Vec<_> = installation.reports().await.into_iter().map(|report| report.message_id).collect();
    for id in &taken {
        assert!(ids.contains(id), "{id} was taken and lost");
    }
    normalizer.stop().await;
    ingress.stop().await;
}
