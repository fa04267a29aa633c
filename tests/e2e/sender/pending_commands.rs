//! Pending commands are reported with their number and age in all tools, also while the lane holds them.

use serde_json::Value;

use crate::harness::outbound::{Outbound, RunningSender, channel, text};
use crate::harness::{eventually, run_cli_with, within};

use bus::Priority;

/// The value of a lane's gauge.
fn gauge(sender: &RunningSender, name: &str, number: usize) -> Option<i64> {
    let start = format!("{name}{{channel=\"{}\"}} ", channel(number));
    sender.metrics().lines().find_map(|line| line.strip_prefix(&start)?.parse().ok())
}

/// Output of the command line, one object per line.
async fn objects(outbound: &Outbound, args: &[&str]) -> Vec<Value> {
    let secrets = outbound.installation.folder().to_string_lossy().into_owned();
    let variables = [("IMCHANNEL_SECRETS_DIR", secrets.as_str())];
    let output = run_cli_with(&outbound.installation.nats.url(), "imchannel", args, &variables).await;
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn waiting(outbound: &Outbound, number: usize) -> Value {
    let id = channel(number).to_string();
    objects(outbound, &["--json", "lanes", "list", "--channel", &id]).await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_halted_lane_holds_waits() {
    let outbound = Outbound::start(&[100, 100]).await;
    let key = outbound.installation.folder().join("api.key");
    std::fs::write(&key, "another-key").unwrap();
    outbound.set_paused(1, true).await;
    let sender = outbound.sender().await;
    for number in 0..30 {
        let recipient = format!("49151{number:04}");
        outbound.publish(Priority::Bulk, &text(0, &format!("c-{number}"), &recipient, "Hello")).await;
    }
    for number in 0..3 {
        outbound
            .publish(Priority::Interactive, &text(1, &format!("p-{number}"), "4915112345", "Hello"))
            .await;
    }
    // Every call is answered 401; the lane holds all 30 commands. A probe has a call in flight for a moment.
    eventually("the metrics count them", || async {
        let is_halted = gauge(&sender, "sender_lane_halted", 0) == Some(1);
        let waits = gauge(&sender, "sender_pending_commands", 0) == Some(30);
        let age_s = gauge(&sender, "sender_oldest_pending_age_seconds", 0)?;
        let pauses = gauge(&sender, "sender_pending_commands", 1) == Some(3);
        (is_halted && waits && age_s >= 1 && pauses).then_some(())
    })
    .await;
    eventually("`lanes list` counts them", || async {
        let shown = waiting(&outbound, 0).await;
        let is_whole = shown["bulk_waiting"] == 30 && shown["in_progress"] == 0;
        let why = shown["reason"].as_str()?.contains("the account fails (401 UNAUTHORIZED); next try in");
        (is_whole && why && shown["oldest_waiting_age_s"].as_u64()? >= 1).then_some(())
    })
    .await;
    let shown = waiting(&outbound, 1).await;
    assert_eq!(shown["send_waiting"], 3);
    assert_eq!(shown["reason"], "paused by an operator");
    within(crate::harness::TIMEOUT, "`doctor` warns with number and age", || async {
        let findings = objects(&outbound, &["--json", "doctor", "--watch-for", "1s"]).await;
        let says = |check: &str, level: &str, text: &str| {
            findings.iter().any(|found| {
                let what = found["message"].as_str().unwrap_or_default();
                found["check"] == check && found["level"] == level && what.contains(text)
            })
        };
        let is_told = says("lanes.halted", "error", "30 commands wait, the oldest for")
            && says("lanes.paused", "warning", "channel-1; 3 commands wait, the oldest for");
        is_told.then_some(())
    })
    .await;
    eventually("`top` warns with number and age", || async {
        let board =
            objects(&outbound, &["--json", "top", "--count", "1", "--interval", "100ms"]).await.pop()?;
        let lanes = board["lanes"].as_array()?;
        let lane = |number: usize| lanes.iter().find(|lane| lane["channel"] == channel(number).as_str());
        let (halted, paused) = (lane(0)?, lane(1)?);
        let is_told = halted["waiting"] == 30 && halted["halted"].as_str()?.contains("401");
        let is_paused = paused["waiting"] == 3 && paused["halted"] == "paused by an operator";
        (is_told && is_paused && halted["oldest_age_s"].as_u64()? >= 1).then_some(())
    })
    .await;
    // Without a sender they are pending too.
    sender.stop().await;
    let shown = waiting(&outbound, 0).await;
    assert_eq!(shown["bulk_waiting"], 30);
    assert_eq!(shown["reason"], "the lane has no owner");
    // After the fix, nothing is pending.
    std::fs::write(&key, "0123456789abcdef0123456789abcdef-key").unwrap();
    let sender = outbound.sender().await;
    within(std::time::Duration::from_secs(60), "all are sent and nothing waits", || async {
        let is_sent = outbound.account.received_count() == 30;
        let age = gauge(&sender, "sender_oldest_pending_age_seconds", 0);
        (is_sent && gauge(&sender, "sender_pending_commands", 0) == Some(0) && age == Some(0)).then_some(())
    })
    .await;
}

/// The owner of a lane writes its state into the lease every 5 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_channel_is_resuming_until_its_lease_is_renewed() {
    let outbound = Outbound::start(&[100]).await;
    outbound.set_paused(0, true).await;
    let sender = outbound.sender().await;
    eventually("the lease says that the channel is paused", || async {
        (outbound.halted(0).await? == "paused by an operator").then_some(())
    })
    .await;
    outbound.set_paused(0, false).await;
    assert_eq!(waiting(&outbound, 0).await["reason"], "resuming");
    let findings = objects(&outbound, &["--json", "doctor", "--watch-for", "1s"]).await;
    let of_lanes = |found: &&Value| found["check"].as_str().is_some_and(|check| check.starts_with("lanes."));
    let lanes: Vec<&Value> = findings.iter().filter(of_lanes).collect();
    assert!(lanes.iter().all(|found| found["level"] == "ok"), "{lanes:#?}");
    assert!(lanes.iter().any(|found| found["message"] == "1 channel resuming: channel-0"), "{lanes:#?}");
    eventually("the lease is renewed", || async {
        (waiting(&outbound, 0).await["reason"] == "").then_some(())
    })
    .await;
    sender.stop().await;
}
