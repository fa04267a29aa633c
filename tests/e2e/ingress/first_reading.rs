//! Ingress listens before it has read the registry: a webhook that comes meanwhile waits for it, within the limits in force.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::harness::{Installation, RunningIngress, Webhook, eventually, exclusive};

const BODY: &str = r#"{"results":[]}"#;
/// Time after which a webhook that waits is answered 503.
const WAITS: Duration = Duration::from_secs(1);

/// Posts in the background, and returns the status and the time until it came.
fn post(webhook: Webhook, ingress: SocketAddr) -> JoinHandle<(u16, Duration)> {
    tokio::spawn(async move {
        let began = Instant::now();
        let answer = webhook.post(ingress).await;
        (answer.status.as_u16(), began.elapsed())
    })
}

async fn until_in_progress(ingress: &RunningIngress, count: usize) {
    eventually("webhooks are in progress", || async {
        ingress.metrics().contains(&format!("ingress_requests_in_flight {count}\n")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_comes_before_the_first_reading_is_answered_after_it() {
    let _alone = exclusive().await;
    let installation = Installation::start().await;
    // It takes the connection, and answers nothing.
    installation.nats.suspend().await;
    let ingress = installation.ingress_with(&[("requests-max", "3")]).await;
    let waiting = [
        (post(Webhook::infobip(BODY), ingress.address), 200),
        (post(Webhook::twilio("MessageSid=SM1&MessageStatus=read"), ingress.address), 200),
        (post(Webhook::infobip(BODY).header("accountkey", "wrong"), ingress.address), 401),
    ];
    until_in_progress(&ingress, 3).await;
    // They count: there is no place for a fourth.
    let (status, took) = post(Webhook::infobip(BODY), ingress.address).await.unwrap();
    assert_eq!(status, 503);
    assert!(took < WAITS, "{took:?}");
    assert!(ingress.metrics().contains("outcome=\"overloaded\"} 1\n"), "{}", ingress.metrics());

    installation.nats.resume().await;
    for (answer, expected) in waiting {
        assert_eq!(answer.await.unwrap().0, expected);
    }
    assert_eq!(installation.webhooks().await.len(), 2);
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_registry_a_webhook_waits_for_its_time_or_a_stop() {
    let _alone = exclusive().await;
    let installation = Installation::start_bare().await;
    let ingress = installation.ingress_with(&[]).await;
    let (status, took) = post(Webhook::infobip(BODY), ingress.address).await.unwrap();
    assert_eq!(status, 503);
    assert!(took >= WAITS && took < 2 * WAITS, "{took:?}");

    let waiting = post(Webhook::infobip(BODY), ingress.address);
    until_in_progress(&ingress, 1).await;
    ingress.stop().await;
    let (status, took) = waiting.await.unwrap();
    assert_eq!(status, 503);
    assert!(took < WAITS, "{took:?}");
}
