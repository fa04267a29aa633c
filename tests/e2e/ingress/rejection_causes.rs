//! Refused webhooks are visible in the log, the metrics, `top` and `doctor`, which show the cause; strangers learn
//! nothing.

use serde_json::Value;

use crate::harness::{Installation, Program, TIMEOUT, Webhook, eventually, run_cli_with};

/// A channel of Infobip, and one that does not exist.
const OF_INFOBIP: &str = "202105102694809992";
const OF_NOBODY: &str = "a-name-of-a-stranger";

/// The causes of the refusals of the infobip channel and of no channel, once `top` shows both.
async fn within_looks(top: &mut Program) -> (String, String) {
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    loop {
        let look: Value = serde_json::from_str(&top.line_with("\"channels\"").await).unwrap();
        let rows = look["channels"].as_array().unwrap();
        let row = rows.iter().find(|row| row["channel"] == OF_INFOBIP && row["bsp"] == "koomessage");
        let cause = row.and_then(|row| row["refused"].as_object()?.keys().next().cloned());
        let stranger = look["refused_without_channel"][0]["cause"].as_str().map(str::to_owned);
        if let (Some(cause), Some(stranger)) = (cause, stranger) {
            return (cause, stranger);
        }
        assert!(tokio::time::Instant::now() < deadline, "the last look was {look:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_to_another_bsps_channel_is_reported_only_to_the_operator() {
    let installation = Installation::start().await;
    let mut ingress =
        Program::start("imchannel-ingress", &installation, &[("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0")]);
    let admin = format!("http://{}", ingress.address_after("probes and metrics on").await);
    let address = ingress.address_after("accepts webhooks on").await.parse().unwrap();
    eventually("ingress takes webhooks", || async {
        let answer = Webhook::koomessage("{}").try_post(address).await.ok()?;
        (answer.status.as_u16() == 200).then_some(())
    })
    .await;
    let post = async |webhook: Webhook| {
        let answer = webhook.post(address).await;
        (answer.status.as_u16(), answer.body.len())
    };
    let to = |channel: &str| {
        Webhook::koomessage("{}").to(&format!("/social/on/whatsapp/koomessage/report/{channel}"))
    };
    let began = std::time::Instant::now();
    for _ in 0..40 {
        // The response does not show whether the channel exists, or whose it is.
        assert_eq!(post(to(OF_INFOBIP)).await, (401, 0));
        assert_eq!(post(to(OF_NOBODY)).await, (401, 0));
    }
    let seconds = began.elapsed().as_secs() + 2;
    assert_eq!(post(Webhook::infobip("{}").header("accountkey", "wrong")).await.0, 401);
    let said = format!("koomessage posts to channel {OF_INFOBIP}, which is a channel of infobip");
    let line = ingress.line_with(&said).await;
    assert!(line.contains("WARN"), "{line}");

    // By cause in the metrics, in `top` and in `doctor`.
    let metrics = reqwest::get(format!("{admin}/metrics")).await.unwrap().text().await.unwrap();
    for labels in [
        format!(r#"{{bsp="koomessage",channel="{OF_INFOBIP}",outcome="unauthorized",cause="other_bsp"}} 40"#),
        format!(
            r#"{{bsp="infobip",channel="{OF_INFOBIP}",outcome="unauthorized",cause="wrong_credential"}} 1"#
        ),
    ] {
        assert!(metrics.contains(&format!("imchannel_ingress_channel_refused_total{labels}")), "{metrics}");
    }
    let mut top = Program::start_with_args(
        "imchannel",
        &installation.nats.url(),
        &["--json", "top", "--interval", "200ms", "--admin", &admin],
        &[],
    );
    // Only refusals after its first reading are shown.
    top.line_with("\"channels\"").await;
    assert_eq!(post(to(OF_INFOBIP)).await.0, 401);
    assert_eq!(post(to(OF_NOBODY)).await.0, 401);
    let shown = within_looks(&mut top).await;
    assert_eq!(shown, ("other_bsp".to_owned(), "unknown_channel".to_owned()));
    let doctor = run_cli_with(
        &installation.nats.url(),
        "imchannel",
        &["--json", "doctor", "--watch-for", "1s", "--admin", &admin],
        &[],
    )
    .await;
    let findings = String::from_utf8(doctor.stdout).unwrap();
    let found = findings.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found = found.into_iter().find(|found| found["check"] == "ingress.refusals").expect(&findings);
    let what = found["message"].as_str().unwrap();
    assert_eq!(found["level"], "warning", "{what}");
    for part in [
        format!("41 of koomessage to channel {OF_INFOBIP}: other_bsp"),
        format!("1 of infobip to channel {OF_INFOBIP}: wrong_credential"),
    ] {
        assert!(what.contains(&part), "no {part} in {what}");
    }
    // At most one line a second, without any text of the stranger.
    assert!(ingress.stop().await);
    let rest = ingress.rest().await;
    let lines = rest.matches(&said).count();
    assert!(u64::try_from(lines).unwrap() <= seconds + 2, "{lines} lines in {seconds} s");
    assert!(!rest.contains(OF_NOBODY) && !findings.contains(OF_NOBODY), "{rest}");
}
