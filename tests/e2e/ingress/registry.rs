//! Channels are added, changed and removed within a second, and while the registry is unreachable the last ones are
//! used.

use std::time::Duration;

use bus::registry::StoredChannel;
use bus::streams::{CHANNELS_BUCKET, StreamSettings};

use crate::harness::{Installation, Webhook, eventually, exclusive, within};

const BODY: &str = r#"{"results":[]}"#;
const SECOND: Duration = Duration::from_secs(1);

fn channel(passwords: &str) -> String {
    format!("[[channel]]\nid = \"new-1\"\nbsp = \"infobip\"\ntenant = \"t\"\nwebhook = [{passwords}]\n")
}

fn webhook(password: &str) -> Webhook {
    Webhook::infobip(BODY).to("/social/on/whatsapp/infobip/report/new-1").header("accountkey", password)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_reaches_ingress_within_a_second() {
    let _alone = exclusive().await;
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let status_becomes = async |password: &'static str, status: u16| {
        let what = format!("{password} is answered {status}");
        within(SECOND, &what, || async {
            (webhook(password).post(ingress.address).await.status.as_u16() == status).then_some(())
        })
        .await;
    };
    status_becomes("one", 401).await;
    installation.apply_channels(&channel(r#"{ password = "one" }"#)).await;
    status_becomes("one", 200).await;
    // A password is changed without losing a webhook: both are accepted for a while.
    installation.apply_channels(&channel(r#"{ password = "two" }, { password = "one" }"#)).await;
    status_becomes("two", 200).await;
    status_becomes("one", 200).await;
    installation.apply_channels(&channel(r#"{ password = "two" }"#)).await;
    status_becomes("one", 401).await;
    status_becomes("two", 200).await;
    let found = bus::registry::read(&installation.bus, "new-1").await.unwrap().unwrap();
    bus::registry::remove(&installation.bus, "new-1", found.revision).await.unwrap();
    status_becomes("two", 401).await;
    ingress.stop().await;
}

/// The connection stays, and the bucket has fewer changes than the service has read.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_reaches_ingress_also_after_the_bucket_was_created_again() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    assert_eq!(webhook("one").post(ingress.address).await.status.as_u16(), 401);
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    async_nats::jetstream::new(client).delete_stream(CHANNELS_BUCKET.stream).await.unwrap();
    bus::provision::apply(&installation.bus, &StreamSettings::default()).await.unwrap();
    installation.apply_channels(&channel(r#"{ password = "one" }"#)).await;
    eventually("the channel in the new bucket is used", || async {
        (webhook("one").post(ingress.address).await.status.as_u16() == 200).then_some(())
    })
    .await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_registry_was_read_the_answer_is_503_and_never_401() {
    let installation = Installation::start_bare().await;
    let ingress = installation.ingress_with(&[]).await;
    for password in ["infobip-secret", "wrong"] {
        let answer = Webhook::infobip(BODY).header("accountkey", password).post(ingress.address).await;
        assert_eq!(answer.status.as_u16(), 503, "{answer:?}");
    }
    assert!(!ingress.context.readiness.is_ready());
    bus::provision::apply(&installation.bus, &StreamSettings::default()).await.unwrap();
    ingress.until_ready().await;
    // An empty registry was read: no channel is known.
    assert_eq!(Webhook::infobip(BODY).post(ingress.address).await.status.as_u16(), 401);
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_value_that_is_no_channel_takes_none_away() {
    let mut installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let StoredChannel { id, record, .. } = bus::registry::list(&installation.bus).await.unwrap().remove(0);
    assert_eq!(id, "202105102694809992");
    let newer = channel::Record { version: 99, ..record.unwrap() };
    bus::registry::put(&installation.bus, &newer).await.unwrap();
    // The change has arrived when the next one has.
    installation.apply_channels(&channel(r#"{ password = "one" }"#)).await;
    within(SECOND, "the next change arrives", || async {
        (webhook("one").post(ingress.address).await.status.as_u16() == 200).then_some(())
    })
    .await;
    assert_eq!(Webhook::infobip(BODY).post(ingress.address).await.status.as_u16(), 200);
    // Nor when everything is read again after a reconnection.
    installation.nats.kill().await;
    installation.nats.start_again().await.unwrap();
    ingress.until_ready().await;
    installation.apply_channels(&channel(r#"{ password = "two" }"#)).await;
    eventually("the next change arrives", || async {
        (webhook("two").post(ingress.address).await.status.as_u16() == 200).then_some(())
    })
    .await;
    assert_eq!(Webhook::infobip(BODY).post(ingress.address).await.status.as_u16(), 200);
    ingress.stop().await;
}

/// A user that may request messages can make the server store its own "no message" response as a channel.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_of_the_server_in_place_of_a_channel_is_replaced_by_the_channel() {
    let installation = Installation::start().await;
    installation.apply_channels(&channel(r#"{ password = "one" }"#)).await;
    let before = bus::registry::read(&installation.bus, "new-1").await.unwrap().unwrap();
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    let next = "$JS.API.CONSUMER.MSG.NEXT.WEBHOOKS.normalizer";
    let none = bytes::Bytes::from_static(br#"{"batch":1,"no_wait":true}"#);
    client.publish_with_reply(next, "$KV.imchannel_channels.new-1", none).await.unwrap();
    let found = eventually("the status is stored and told as no channel", || async {
        let stored = bus::registry::list(&installation.bus).await.unwrap();
        stored.into_iter().find(|found| found.id == "new-1" && found.record.is_err())
    })
    .await;
    let read = bus::registry::read(&installation.bus, "new-1").await.unwrap().unwrap();
    assert_eq!(read.revision, found.revision);
    let record = before.record.unwrap();
    bus::registry::replace(&installation.bus, &record, Some(read.revision)).await.unwrap();
    // A service that starts now finds every channel.
    let ingress = installation.ingress().await;
    assert_eq!(webhook("one").post(ingress.address).await.status.as_u16(), 200);
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_checks_signatures_takes_only_signed_webhooks() {
    let installation = Installation::start().await;
    let secrets = installation.folder().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    std::fs::write(secrets.join("token"), "12345\n").unwrap();
    let file = r#"
[[channel]]
id = "signed"
bsp = "twilio"
tenant = "t"
webhook = [{ user = "twilio-user", password = "twilio-secret" }]
signature = { auth_tokens = ["file:token"], public_url = "https://gateway.example" }
[[channel]]
id = "unresolvable"
bsp = "twilio"
tenant = "t"
webhook = [{ user = "twilio-user", password = "twilio-secret" }]
signature = { auth_tokens = ["file:missing"], public_url = "https://gateway.example" }
"#;
    installation.apply_channels(file).await;
    let ingress = installation.ingress_with(&[("secrets-dir", secrets.to_str().unwrap())]).await;
    ingress.until_ready().await;
    let path = "/social/on/whatsapp/twilio/report/signed?x=1";
    let webhook = Webhook::twilio("MessageSid=SM1&MessageStatus=read&To=whatsapp%3A%2B49151").to(path);
    // base64(HMAC-SHA1("12345", "https://gateway.example" + path + "MessageSidSM1MessageStatusreadTowhatsapp:+49151"))
    let signed = webhook.clone().header("x-twilio-signature", "9hwQ+C4/L/WOSGusUKl7Br7KcTU=");
    for (webhook, status) in [
        (webhook.clone(), 401),
        (webhook.clone().header("x-twilio-signature", "AAAA"), 401),
        (signed.clone(), 200),
        (signed.clone().header("authorization", "Basic eDp4"), 401),
        (signed.to("/social/on/whatsapp/twilio/report/signed?x=2"), 401),
        (webhook.to("/social/on/whatsapp/twilio/report/unresolvable"), 503),
    ] {
        let answer = webhook.post(ingress.address).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    }
    assert_eq!(installation.webhooks().await.len(), 1);
    // A secret that is mounted late is found without intervention.
    std::fs::write(secrets.join("missing"), "67890").unwrap();
    let late = Webhook::twilio("a=b").to("/social/on/whatsapp/twilio/report/unresolvable");
    eventually("the key is found", || async {
        (late.post(ingress.address).await.status.as_u16() == 401).then_some(())
    })
    .await;
    ingress.stop().await;
}
