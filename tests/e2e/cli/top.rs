//! `imchannel top`: its counts are right.

use bus::Priority;
use serde_json::Value;

use crate::harness::outbound::{Outbound, channel, text};
use crate::harness::{CHANNELS, Installation, Program, Webhook, eventually, run_cli, run_cli_with};

#[tokio::test(flavor = "multi_thread")]
async fn top_counts_processed_pending_and_refused_messages() {
    let installation = Installation::start().await;
    let channels = installation.folder().join("channels.toml");
    std::fs::write(&channels, CHANNELS).unwrap();
    let mut ingress =
        Program::start("imchannel-ingress", &installation, &[("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0")]);
    let admin = format!("http://{}", ingress.address_after("probes and metrics on").await);
    let address = ingress.address_after("accepts webhooks on").await.parse().unwrap();
    let report =
        |id: &str| format!(r#"{{"message_id":"{id}","sender":"1","user_number":"2","status":"read"}}"#);
    eventually("ingress takes webhooks", || async {
        let answer = Webhook::koomessage(report("before")).try_post(address).await.ok()?;
        (answer.status.as_u16() == 200).then_some(())
    })
    .await;

    let args = ["--json", "top", "--interval", "200ms", "--admin", &admin];
    let mut top = Program::start_with_args("imchannel", &installation.nats.url(), &args, &[]);
    // One webhook is pending from before.
    until(&mut top, |look| {
        let row = row(look, "koomessage-demo")?;
        (row["webhooks"] == 0 && row["waiting"] == 1).then_some(())
    })
    .await;
    for id in ["a", "b", "c"] {
        assert_eq!(Webhook::koomessage(report(id)).post(address).await.status.as_u16(), 200);
    }
    let wrong = Webhook::koomessage(report("d")).header("authorization", "wrong");
    assert_eq!(wrong.post(address).await.status.as_u16(), 401);
    let stranger = Webhook::gupshup("{}").to("/social/on/whatsapp/gupshup/report/unknown");
    assert_eq!(stranger.post(address).await.status.as_u16(), 401);
    // Of a channel that has stored nothing, too.
    let wrong = Webhook::infobip("{}").header("accountkey", "wrong");
    assert_eq!(wrong.post(address).await.status.as_u16(), 401);
    until(&mut top, |look| {
        let (koomessage, infobip) = (row(look, "koomessage-demo")?, row(look, "202105102694809992")?);
        let is_counted = koomessage["webhooks"] == 3 && koomessage["waiting"] == 4;
        let is_refused =
            koomessage["refused"]["wrong_credential"] == 1 && infobip["refused"]["wrong_credential"] == 1;
        let strangers = look["refused_without_channel"].as_array()?;
        let is_strange =
            strangers.len() == 1 && strangers[0]["bsp"] == "gupshup" && strangers[0]["count"] == 1;
        (is_counted && is_refused && is_strange && look["durables"][0]["pending"] == 4).then_some(())
    })
    .await;

    let _normalizer = installation.normalizer().await;
    assert_eq!(Webhook::koomessage("{}").post(address).await.status.as_u16(), 200);
    until(&mut top, |look| {
        let row = row(look, "koomessage-demo")?;
        (row["events"] == 4 && row["dead_letters"] == 1 && row["waiting"] == 0).then_some(())
    })
    .await;
}

/// Two channels that can send, one of them paused.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_counts_commands_sends_and_halted_lanes() {
    let outbound = Outbound::start(&[50, 50]).await;
    outbound.set_paused(1, true).await;
    let _sender = outbound.sender().await;
    let args = ["--json", "top", "--interval", "200ms"];
    let mut top = Program::start_with_args("imchannel", &outbound.installation.nats.url(), &args, &[]);
    until(&mut top, |look| (look["lane_totals"]["lanes"] == 2).then_some(())).await;
    for number in 0..3 {
        outbound
            .publish(Priority::Interactive, &text(0, &format!("sent-{number}"), "4915112345", "Hello"))
            .await;
    }
    for number in 0..2 {
        outbound.publish(Priority::Bulk, &text(1, &format!("waits-{number}"), "4915112345", "Hello")).await;
    }
    let look = until(&mut top, |look| {
        let (first, second) = (row(look, channel(0).as_str())?, row(look, channel(1).as_str())?);
        let is_sent = first["commands"] == 3 && first["results"]["accepted"] == 3;
        let is_averaged = first["commands_per_s"].as_f64()? > 0.0 && first["results_per_s"].as_f64()? > 0.0;
        let waits = second["commands"] == 2 && second["pending_commands"] == 2;
        (is_sent && is_averaged && waits && first["bsp"] == "infobip").then_some(())
    })
    .await;
    let totals = &look["lane_totals"];
    assert_eq!(totals["halted"], 1, "{look:#}");
    assert_eq!(totals["waiting"], 2, "{look:#}");
    let lanes = look["lanes"].as_array().unwrap();
    assert!(lanes.len() == 1 && lanes[0]["channel"] == channel(1).as_str(), "{look:#}");
    assert!(lanes[0]["halted"].as_str().unwrap().contains("paused by an operator"), "{look:#}");
    // Averages fall to zero when nothing comes any more.
    let second_look = until(&mut top, |look| {
        let row = row(look, channel(0).as_str())?;
        (row["results_per_s"] == 0.0 && row["results"]["accepted"] == 3).then_some(())
    });
    second_look.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_it_says_what_to_do() {
    let installation = Installation::start().await;
    let output = run_cli(&installation, &["top"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--json"));
    // No service responds at the admin port: the rest is shown anyway.
    let args = ["--json", "top", "--count", "1", "--interval", "100ms", "--admin", "http://127.0.0.1:1"];
    let output = run_cli_with(&installation.nats.url(), "imchannel", &args, &[]).await;
    let look: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(look["admin_ports"]["asked"], 1);
    assert_eq!(look["admin_ports"]["answering"], 0);
    assert_eq!(look["streams"].as_array().unwrap().len(), 4);
}

fn row(look: &Value, channel: &str) -> Option<Value> {
    look["channels"].as_array()?.iter().find(|row| row["channel"] == channel).cloned()
}

/// The first output with the expected values; output comes as long as the program runs.
async fn until(top: &mut Program, wanted: impl Fn(&Value) -> Option<()>) -> Value {
    let deadline = tokio::time::Instant::now() + crate::harness::TIMEOUT;
    loop {
        let look: Value = serde_json::from_str(&top.line_with("\"channels\"").await).unwrap();
        if wanted(&look).is_some() {
            return look;
        }
        assert!(tokio::time::Instant::now() < deadline, "the last look was {look:#}");
    }
}
