//! Log lines: the texts that operators search for, masked by default, as text or JSON; and the metrics of the admin
//! port.

use serde_json::Value;

use crate::harness::{Installation, Program, Webhook, run_cli};

const MESSAGE: &str = r#"{"results":[{"from":"39123456789","to":"44123456789","integrationType":"WHATSAPP","receivedAt":"2025-02-27T15:44:57.000+0000","messageId":"wamid.X","message":{"text":"Oh
 well","type":"TEXT"},"contact":{"name":"Username1"}}]}"#;
const REPORT: &str =
    r#"{"results":[{"messageId":"m-1","to":"39123456789","status":{"groupName":"DELIVERED"}}]}"#;

/// The log lines of a normalizer with these variables for a message and a report.
async fn lines_with(variables: &[(&str, &str)]) -> (String, String) {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let mut normalizer = Program::start("imchannel-normalizer", &installation, variables);
    // A control character inside a string is not JSON, so the line break is between two fields.
    let message = MESSAGE.replace("Oh\n well", "Oh well").replace("\"contact\"", "\n\"contact\"");
    Webhook::infobip(message).post(ingress.address).await;
    let message = normalizer.line_with("onMessage").await;
    Webhook::infobip(REPORT).post(ingress.address).await;
    let report = normalizer.line_with("onReport").await;
    assert!(normalizer.stop().await);
    ingress.stop().await;
    (message, report)
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_have_the_words_and_hide_what_is_personal() {
    let (message, report) = lines_with(&[]).await;
    assert_eq!(
        message,
        r#"[IMCHANNEL] [onMessage] Message received {"results":[{"from":"***","to":"***","integrationType":"WHATSAPP","receivedAt":"2025-02-27T15:44:57.000+0000","messageId":"wamid.X","message":{"text":"***","type":"TEXT"},"contact":{"name":"***"}}]}"#
    );
    assert_eq!(
        report,
        r#"[IMCHANNEL] [onReport] Report received {"results":[{"messageId":"m-1","to":"***","status":{"groupName":"DELIVERED"}}]}"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_full_only_on_demand() {
    let (message, report) = lines_with(&[("IMCHANNEL_LOG_PAYLOADS", "full")]).await;
    assert!(message.contains("39123456789") && message.contains("Oh well") && message.contains("Username1"));
    assert!(report.contains("39123456789"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_can_be_json_without_bodies() {
    let variables = [("IMCHANNEL_LOG_PAYLOADS", "off"), ("IMCHANNEL_LOG_FORMAT", "json")];
    let (message, report) = lines_with(&variables).await;
    let message: Value = serde_json::from_str(&message).unwrap();
    assert_eq!(message["function"], "onMessage");
    assert_eq!(message["message"], "Message received wamid.X");
    assert_eq!(message["message_id"], "wamid.X");
    assert_eq!(message["channel"], "202105102694809992");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["level"].as_str(), Some("INFO"));
    assert_eq!(report["message_id"].as_str(), Some("m-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_name_the_message_and_never_its_content() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let mut normalizer =
        Program::start("imchannel-normalizer", &installation, &[("IMCHANNEL_LOG_LEVEL", "warn")]);
    Webhook::infobip(REPORT.replace("DELIVERED", "TELEPORTED")).post(ingress.address).await;
    let line = normalizer.line_with("WARN").await;
    assert!(line.contains("TELEPORTED") && line.contains("m-1"), "{line}");
    Webhook::infobip(r#"{"results":["39123456789"]}"#).post(ingress.address).await;
    let line = normalizer.line_with("dead letter").await;
    assert!(line.contains("item 0") && !line.contains("39123456789"), "{line}");
    assert!(normalizer.stop().await);
    ingress.stop().await;
}

/// The customer's number, and the part of an id of WhatsApp that is its base64.
const NUMBER: &str = "351927482662";
const NUMBER_IN_ID: &str = "MzUxOTI3NDgyNjYy";
/// The same id with its prefix and without it.
const WAMID: &str = "wamid.HBgMMzUxOTI3NDgyNjYyFQIAEhggNEVERTc4NzZBNzJFNTYyRTJFQjZDQzQ3OTdDRTA0RjIA";
const SHOWN_WAMID: &str = "wamid.…A0RjIA";

/// Webhooks that have the id in every place where a BSP may put it.
fn webhooks_with_wamids() -> Vec<Webhook> {
    let bare = WAMID.trim_start_matches("wamid.");
    let message = MESSAGE.replace("Oh\n well", "Oh well").replace("wamid.X", WAMID);
    let report = REPORT.replace("m-1", WAMID);
    let mut not_utf8 = message.clone().into_bytes();
    let place = message.find("Oh well").unwrap();
    not_utf8[place] = 0xe9;
    let said = format!("no message {WAMID}");
    vec![
        Webhook::infobip(message.clone()),
        Webhook::infobip(message.replace("wamid.", "\\u0077amid.").replace("Oh", "Ah")),
        Webhook::infobip(not_utf8),
        Webhook::infobip(report.clone()),
        Webhook::infobip(report.replace(WAMID, bare)),
        Webhook::infobip(report.replace("DELIVERED", "TELEPORTED")),
        Webhook::infobip(
            report.replace(r#"{"groupName""#, &format!(r#"{{"description":"{said}","groupName""#)),
        ),
        Webhook::infobip(format!(r#"{{"results":["{WAMID}",{{"{WAMID}":1}}]}}"#)),
        Webhook::infobip(format!(r#"{{"{WAMID}":"{WAMID}""#)),
        Webhook::gupshup(format!(
            r#"{{"app":"DemoApp","timestamp":1580227766370,"version":2,"type":"message","payload":{{"id":"{WAMID}","source":"{NUMBER}","type":"text","payload":{{"text":"Hi"}},"context":{{"id":"{bare}","gsId":null}}}}}}"#
        )),
        Webhook::twilio(format!(
            "From=whatsapp%3A%2B{NUMBER}&MessageStatus=sent&MessageSid={WAMID}&ErrorMessage={said}"
        )),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_logged_or_shown_has_a_number_in_an_id_of_whatsapp() {
    for variables in [
        &[("IMCHANNEL_LOG_PAYLOADS", "masked")][..],
        &[("IMCHANNEL_LOG_PAYLOADS", "off"), ("IMCHANNEL_LOG_FORMAT", "json")],
    ] {
        let installation = Installation::start().await;
        let ingress = installation.ingress().await;
        let mut normalizer = Program::start("imchannel-normalizer", &installation, variables);
        for webhook in webhooks_with_wamids() {
            assert_eq!(webhook.post(ingress.address).await.status.as_u16(), 200);
        }
        installation.until_processed().await;
        assert!(normalizer.stop().await);
        let logged = normalizer.rest().await;
        assert!(logged.contains(SHOWN_WAMID) && logged.contains("TELEPORTED"), "{logged}");
        assert!(!logged.contains(NUMBER_IN_ID) && !logged.contains(NUMBER), "{logged}");
        for what in ["webhooks", "reports", "messages", "deadletters"] {
            let tail = ["tail", what, "--no-follow"];
            for args in [&tail[..], &[&["--json"], &tail[..]].concat()] {
                let output = run_cli(&installation, args).await;
                assert!(output.status.success(), "{output:?}");
                let shown = String::from_utf8(output.stdout).unwrap();
                assert!(!shown.contains(NUMBER_IN_ID) && !shown.contains(NUMBER), "{shown}");
                // A dead letter shows no value of an item that could not be read.
                assert_eq!(shown.contains(SHOWN_WAMID), what != "deadletters", "{shown}");
                let output = run_cli(&installation, &[args, &["--unmask"]].concat()).await;
                assert!(String::from_utf8(output.stdout).unwrap().contains(WAMID), "{what}");
            }
        }
        ingress.stop().await;
    }
}
