//! Members of a BSP's body without a field in the event are in `unread_json`, are counted by path, and are masked in
//! logs and by `imchannel tail`.

use serde_json::{Value, json};

use crate::harness::{Installation, Program, Webhook, run_cli};

const SECRET: &str = "4915100000007";

/// A report, a message, an event about the account and one about a customer, each with a member that has no field.
fn webhooks() -> [Webhook; 4] {
    let report = json!({
        "id": "wa-1", "status": "failed", "recipient_id": "1", "recipient_parent_user_id": SECRET,
        "errors": [{ "code": 1 }, { "code": 2, "href": "https://example.com/e" }],
    });
    let account = json!({
        "field": "account_update", "value": { "event": "DISABLED_UPDATE", "whole": SECRET }, "by": { SECRET: [SECRET] },
    });
    let entry = json!({
        "id": "waba", "changes": [account, { "field": "messages", "value": { "statuses": [report], "cursor": 7 } }],
    });
    let message = json!({
        "messageId": "m-1", "from": "49151", "message": { "type": "TEXT", "text": "hi" }, "keyword": SECRET,
    });
    [
        Webhook::gupshup(json!({ "entry": [entry] }).to_string()),
        Webhook::infobip(json!({ "results": [message] }).to_string()),
        Webhook::twilio(format!(
            "MessageSid=SM1&From=whatsapp%3A%2B49151&Body=Stop&OptOutType=STOP&ReferralMediaId={SECRET}"
        )),
        Webhook::koomessage(
            json!({ "message_id": "k-1", "status": "read", "a": "x".repeat(9_000), "b": 1 }).to_string(),
        ),
    ]
}

/// Output of `tail` for one kind of event: `unreadJson` and `unreadCut` of each.
async fn tail(installation: &Installation, kind: &str, more: &[&str]) -> Vec<(String, bool)> {
    let args = [&["--json", "tail", kind, "--no-follow"], more].concat();
    let output = run_cli(installation, &args).await;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut found: Vec<_> = events
        .map(|event| {
            let json = event["unreadJson"].as_str().unwrap_or_default().to_owned();
            (json, event["unreadCut"] == true)
        })
        .collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_field_has_comes_out_counted_and_hidden() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    for webhook in webhooks() {
        assert_eq!(webhook.post(ingress.address).await.status.as_u16(), 200);
    }
    installation.until_processed().await;
    assert!(installation.dead_letters().await.is_empty());

    let whole = |json: Value| (json.to_string(), false);
    let around = json!({ "entry": [{ "changes": [null, { "value": { "cursor": 7 } }] }] });
    let account = json!({ "by": { SECRET: [SECRET] }, "_around": around });
    let report =
        json!({ "errors": [null, { "href": "https://example.com/e" }], "recipient_parent_user_id": SECRET });
    let of_form = whole(json!({ "ReferralMediaId": SECRET }));
    let cut = (json!({ "b": 1 }).to_string(), true);
    for (kind, expected) in [
        ("reports", vec![cut, whole(report)]),
        ("messages", vec![of_form.clone(), whole(json!({ "keyword": SECRET }))]),
        ("account", vec![whole(account)]),
        ("customers", vec![of_form]),
    ] {
        let sorted = |list: &[(String, bool)]| {
            let parsed =
                list.iter().map(|(json, is_cut)| (serde_json::from_str::<Value>(json).unwrap(), *is_cut));
            let mut parsed: Vec<_> = parsed.map(|(json, is_cut)| (json.to_string(), is_cut)).collect();
            parsed.sort();
            parsed
        };
        assert_eq!(sorted(&tail(&installation, kind, &["--unmask"]).await), sorted(&expected), "{kind}");
        for (json, _) in tail(&installation, kind, &[]).await {
            assert_eq!(json, "***", "{kind}");
        }
    }
    let metrics = normalizer.metrics();
    for (bsp, path, count) in [
        ("gupshup", "by", 1),
        ("gupshup", "errors[].href", 1),
        ("gupshup", "recipient_parent_user_id", 1),
        ("gupshup", "entry[].changes[].value.cursor", 1),
        ("infobip", "keyword", 1),
        ("twilio", "ReferralMediaId", 1),
        ("koomessage", "a", 1),
    ] {
        let line = format!("normalizer_unread_total{{bsp=\"{bsp}\",path=\"{path}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    assert!(!metrics.contains(SECRET), "{metrics}");
    normalizer.stop().await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_hides_what_no_field_has() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let mut normalizer = Program::start("imchannel-normalizer", &installation, &[]);
    let [report, message, ..] = webhooks();
    report.post(ingress.address).await;
    let report = normalizer.line_with("onReport").await;
    message.post(ingress.address).await;
    let message = normalizer.line_with("onMessage").await;
    assert!(report.contains(r#""recipient_parent_user_id":"***""#) && message.contains(r#""keyword":"***""#));
    assert!(!report.contains(SECRET) && !message.contains(SECRET), "{report}\n{message}");
    assert!(normalizer.stop().await);
    ingress.stop().await;
}
