//! The example requests of the AICC's and IMChannel's documents become the right events, including contents, in
//! `imchannel tail … --json`.

use serde_json::{Value, json};

use crate::harness::{Installation, Webhook, run_cli};

const INFOBIP_REPORT: &str = r#"{ "results": [ { "messageId": "742f868d-c9e9-4eda-b5c0-2747cb7ef773", "bulkId": "111111", "to": "8618257518838", "status": { "groupName": "UNDELIVERABLE", "groupId": 4, "description": "UNDELIVERABLE" } } ] }"#;
const KOOMESSAGE_REPORT: &str = r#"{ "sender": "86173xxxx4526", "user_number": "86187xxxx5632", "message_id": "044852ee407b40ec88ea65adb73ff5c27", "status": "read" }"#;
const GUPSHUP_REPORT: &str = r#"{ "timestamp" : 1743075951500, "type" : "message-event", "payload" : { "gsId" : "7d047a97-c5b8-4f13-82cb-f68068d1a33a", "type" : "read", "destination" : "8618******1", "payload" : { "ts" : 1743075950 } } }"#;
const TWILIO_REPORT: &str = "From=whatsapp%3A%2B14155550100&To=whatsapp%3A%2B4915100000001&MessageStatus=delivered&MessageSid=SM00000000000000000000000000000001";
const INFOBIP_MESSAGE: &str = r#"{"results":[{"from":"39123456789","to":"44123456789","integrationType":"WHATSAPP","receivedAt":"2025-02-27T15:44:57.000+0000","messageId":"wamid.HBgMMzUxOTI3NDgyNjYyFQIAEhggNEVERTc4NzZBNzJFNTYyRTJFQjZDQzQ3OTdDRTA0RjIA","pairedMessageId":null,"callbackData":null,"message":{"text":"Oh well","type":"TEXT"},"contact":{"name":"Username1"},"price":{"pricePerMessage":0,"currency":"SEK"}}],"messageCount":1,"pendingMessageCount":0}"#;

/// Output of `tail`, without fields that differ between runs.
async fn tail(installation: &Installation, args: &[&str]) -> Vec<Value> {
    let args = [&["--json", "tail", "--no-follow"], args].concat();
    let output = run_cli(installation, &args).await;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for object in &mut objects {
        let fields = object.as_object_mut().unwrap();
        assert_eq!(fields.remove("eventId").unwrap().as_str().unwrap().len(), 32);
        assert!(fields.remove("receivedAt").is_some() && fields.remove("source").is_some());
    }
    objects.sort_by_key(|object| object["bsp"].to_string());
    objects
}

#[tokio::test(flavor = "multi_thread")]
async fn the_five_examples_become_the_right_events() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    for webhook in [
        Webhook::infobip(INFOBIP_REPORT),
        Webhook::koomessage(KOOMESSAGE_REPORT),
        Webhook::gupshup(GUPSHUP_REPORT),
        Webhook::twilio(TWILIO_REPORT),
        Webhook::infobip(INFOBIP_MESSAGE).to("/social/on/whatsapp/infobip/message/202105102694809992"),
    ] {
        let answer = webhook.post(ingress.address).await;
        assert_eq!(answer.status.as_u16(), 200);
        assert_eq!(answer.body.as_str(), "");
    }
    installation.until_processed().await;

    let reports = json!([
        { "bsp": "gupshup", "channelId": "gupshup-demo", "messageId": "7d047a97-c5b8-4f13-82cb-f68068d1a33a",
          "recipient": "8618******1", "status": "REPORT_STATUS_READ", "providerStatus": { "raw": "read" },
          "occurredAt": "2025-03-27T11:45:50+00:00" },
        { "bsp": "infobip", "channelId": "202105102694809992", "messageId": "742f868d-c9e9-4eda-b5c0-2747cb7ef773",
          "bulkId": "111111", "recipient": "8618257518838", "status": "REPORT_STATUS_FAILED", "aiccStatus": 2,
          "providerStatus": { "groupId": "4", "groupName": "UNDELIVERABLE", "description": "UNDELIVERABLE",
                              "raw": "UNDELIVERABLE" } },
        { "bsp": "koomessage", "channelId": "koomessage-demo", "messageId": "044852ee407b40ec88ea65adb73ff5c27",
          "recipient": "86187xxxx5632", "sender": "86173xxxx4526", "status": "REPORT_STATUS_READ",
          "providerStatus": { "raw": "read" } },
        { "bsp": "twilio", "channelId": "twilio-demo", "messageId": "SM00000000000000000000000000000001",
          "recipient": "4915100000001", "sender": "14155550100", "status": "REPORT_STATUS_DELIVERED", "aiccStatus": 0,
          "providerStatus": { "raw": "delivered" } },
    ]);
    assert_eq!(Value::Array(tail(&installation, &["reports", "--unmask"]).await), reports);

    let message = json!([
        { "bsp": "infobip", "channelId": "202105102694809992",
          "messageId": "wamid.HBgMMzUxOTI3NDgyNjYyFQIAEhggNEVERTc4NzZBNzJFNTYyRTJFQjZDQzQ3OTdDRTA0RjIA",
          "sender": "39123456789", "recipient": "44123456789", "profileName": "Username1",
          "sentAt": "2025-02-27T15:44:57+00:00", "customer": { "number": "39123456789" },
          "text": { "body": "Oh well" },
          "unreadJson": "{\"price\":{\"pricePerMessage\":0,\"currency\":\"SEK\"}}" },
    ]);
    assert_eq!(Value::Array(tail(&installation, &["messages", "--unmask"]).await), message);

    // Without --unmask nothing personal is shown.
    let masked = Value::Array(tail(&installation, &["messages"]).await).to_string();
    for personal in ["39123456789", "44123456789", "Username1", "Oh well", "SEK"] {
        assert!(!masked.contains(personal), "{masked}");
    }
    normalizer.stop().await;
    ingress.stop().await;
}
