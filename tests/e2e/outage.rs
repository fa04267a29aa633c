//! While NATS is away ingress answers 503 by the BSP's deadline and never 200, and it serves again within two seconds
//! of the server's return, without a restart.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::{Installation, Webhook, within};

fn body(number: usize) -> String {
    format!(
        r#"{{"results":[{{"messageId":"m-{number}","to":"49151","status":{{"groupName":"DELIVERED"}}}}]}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_answered_503_and_ends_by_itself() {
    let mut installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    assert_eq!(Webhook::infobip(body(0)).post(ingress.address).await.status.as_u16(), 200);

    for round in 1..=2 {
        // Once as a crash, once in order.
        if round == 1 {
            installation.nats.kill().await;
        } else {
            installation.nats.stop().await;
        }
        for number in 0..3 {
            let began = Instant::now();
            let answer = Webhook::infobip(body(100 * round + number)).post(ingress.address).await;
            assert_eq!(answer.status.as_u16(), 503, "{answer:?}");
            assert!(answer.headers.contains_key("retry-after"));
            assert!(
                began.elapsed() < Duration::from_millis(2500),
                "Infobip's deadline is 2 s: {:?}",
                began.elapsed()
            );
        }
        // The channels are still known: a wrong password is told from a right one.
        let wrong = Webhook::infobip(body(0)).header("accountkey", "wrong").post(ingress.address).await;
        assert_eq!(wrong.status.as_u16(), 401);
        assert!(!ingress.context.readiness.is_ready());

        installation.nats.start_again().await.unwrap();
        let webhook = Webhook::infobip(body(200 * round));
        within(Duration::from_secs(2), "ingress serves again", || async {
            (webhook.post(ingress.address).await.status.as_u16() == 200).then_some(())
        })
        .await;
        ingress.until_ready().await;
    }
    // Twilio's webhooks wait longer, because Twilio would not repeat them: the server comes back meanwhile.
    installation.nats.kill().await;
    let address = ingress.address;
    let waiting =
        tokio::spawn(async move { Webhook::twilio("MessageSid=SM1&MessageStatus=read").post(address).await });
    let began = Instant::now();
    assert_eq!(Webhook::infobip(body(999)).post(ingress.address).await.status.as_u16(), 503);
    assert!(began.elapsed() > Duration::from_secs(1), "a webhook waits for the server as long as it may");
    installation.nats.start_again().await.unwrap();
    assert_eq!(waiting.await.unwrap().status.as_u16(), 200);

    installation.until_processed().await;
    let ids: Vec<_> = installation.reports().await.into_iter().map(|report| report.message_id).collect();
    for answered_200 in ["m-0", "m-200", "m-400", "SM1"] {
        assert!(ids.iter().any(|id| id == answered_200), "{answered_200} is not among {ids:?}");
    }
    normalizer.stop().await;
    ingress.stop().await;
}
