//! A stream that is full of processed messages still accepts webhooks, and one that is full of unprocessed ones loses
//! none of them.

use bus::streams::StreamSettings;

use crate::harness::{Installation, RunningIngress, Webhook, eventually};

const MAX_BYTES: u64 = 256 * 1024;

fn body(number: usize) -> String {
    let padding = "x".repeat(2_000);
    format!(
        r#"{{"results":[{{"messageId":"m-{number}","to":"49151","status":{{"groupName":"DELIVERED"}}}}],"p":"{padding}"}}"#
    )
}

/// Posts until the stream is full. Returns the accepted webhooks.
async fn fill(ingress: &RunningIngress) -> Vec<String> {
    let mut taken = Vec::new();
    for number in 0.. {
        match Webhook::infobip(body(number)).post(ingress.address).await.status.as_u16() {
            200 => taken.push(format!("m-{number}")),
            503 => break,
            other => panic!("{other}"),
        }
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_full_of_processed_history_takes_webhooks() {
    let settings = StreamSettings { webhooks_max_bytes: MAX_BYTES, ..Default::default() };
    let installation = Installation::start_with(&settings).await;
    // No purge runs while the stream is filled and processed.
    let slow = installation.ingress_with(&[("purge-interval", "1m")]).await;
    slow.until_ready().await;
    let taken = fill(&slow).await;
    let normalizer = installation.normalizer_with(&[("purge-interval", "1m")]).await;
    installation.until_processed().await;
    normalizer.stop().await;
    assert_eq!(installation.webhooks().await.len(), taken.len(), "the stream is full of processed webhooks");
    slow.stop().await;
    // An ingress with default settings accepts the next ones, without a normalizer.
    let ingress = installation.ingress().await;
    for number in 0..10 {
        let answer = Webhook::infobip(body(10_000 + number)).post(ingress.address).await;
        assert_eq!(answer.status.as_u16(), 200, "webhook {number}: {answer:?}");
    }
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_purged_as_it_grows() {
    let settings =
        StreamSettings { webhooks_max_bytes: MAX_BYTES, events_max_bytes: MAX_BYTES, ..Default::default() };
    let installation = Installation::start_with(&settings).await;
    // The AICC's durable would prevent the purge of events; here no reader reads them.
    installation.bus.delete_durable(&bus::streams::AICC).await.unwrap();
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    // Four times the size of the stream.
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
    let ingress = installation.ingress_with(&[("purge-interval", "50ms")]).await;
    ingress.until_ready().await;
    // The last attempt alone takes 2 s, forty rounds of the purge of a full stream.
    let taken = fill(&ingress).await;
    assert_eq!(installation.webhooks().await.len(), taken.len(), "an unprocessed webhook was purged");
    // A normalizer starts with a full stream, and publishes everything that was accepted.
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

/// An old server that receives a message for the last bytes of a stream deletes unread messages, and acks the new one.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_bytes_of_a_stream_stay_unused() {
    let max_bytes = 4 * 1024 * 1024;
    let settings = StreamSettings { webhooks_max_bytes: max_bytes, ..Default::default() };
    let installation = Installation::start_with(&settings).await;
    let ingress = installation.ingress_with(&[("purge-interval", "50ms")]).await;
    ingress.until_ready().await;
    let taken = fill(&ingress).await;
    let stored: usize = installation.webhooks().await.iter().map(|webhook| webhook.payload.len()).sum();
    assert_eq!(installation.webhooks().await.len(), taken.len(), "a webhook that was answered 200 is gone");
    assert!((stored as f64) < 0.98 * max_bytes as f64, "{stored} of {max_bytes} bytes are taken");
    ingress.stop().await;
}
