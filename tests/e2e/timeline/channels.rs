//! How channels are: a wrong password, the password in use, a halted lane, and an admin port that can no longer be read.

use bus::Priority;
use reqwest::StatusCode;
use serde_json::Value;

use super::lives::CUSTOMER;
use crate::harness::files::client;
use crate::harness::outbound::{Outbound, text};
use crate::harness::timeline::{RunningTimeline, store_folder};
use crate::harness::{Installation, Program, Webhook, eventually};

/// A channel with two passwords.
const OF_INFOBIP: &str = "202105102694809992";
const REPORT: &str = r#"{"results":[{"messageId":"m-1","to":"49151","status":{"groupName":"DELIVERED"}}]}"#;

/// The answer about a channel, once it has what is waited for.
async fn channel(
    timeline: &RunningTimeline,
    id: &str,
    what: &str,
    is_there: impl Fn(&Value) -> bool,
) -> Value {
    let path = format!("/v1/channels/{id}");
    eventually(&format!("{id}: {what}"), || async {
        let (status, answer) = timeline.get(&path).await;
        (status == StatusCode::OK && is_there(&answer)).then_some(answer)
    })
    .await
}

async fn page(timeline: &RunningTimeline, path: &str) -> String {
    let answer = client().get(format!("{}{path}", timeline.url)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_shows_refusals_the_password_in_use_and_why_its_lane_is_halted() {
    let outbound = Outbound::on(Installation::start().await, &[100], None).await;
    let listen = [("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0")];
    let mut ingress = Program::start("imchannel-ingress", &outbound.installation, &listen);
    let mut sender = outbound.sender_program(&[]);
    let ingress_admin = ingress.address_after("probes and metrics on").await;
    let sender_admin = sender.address_after("probes and metrics on").await;
    let address = ingress.address_after("accepts webhooks on").await.parse().unwrap();
    let (store, urls) = (store_folder(), format!("http://{ingress_admin}, http://{sender_admin}"));
    let variables = [("IMCHANNEL_TIMELINE_ADMIN_URLS", urls.as_str())];
    let timeline = RunningTimeline::start(&outbound.installation, &store, &variables).await;
    let before =
        channel(&timeline, OF_INFOBIP, "everything is read", |answer| answer["partial"] == false).await;
    assert_eq!(before["admin_ports"][0]["program"], "imchannel-ingress", "{before:#}");
    assert!(before["last_webhook"].is_null() && before["refused"] == serde_json::json!([]), "{before:#}");

    // Two wrong passwords, and one webhook with the second valid one.
    for _ in 0..2 {
        let wrong = Webhook::infobip(REPORT).header("accountkey", "wrong").post(address).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    }
    let valid = Webhook::infobip(REPORT).header("accountkey", "infobip-previous").post(address).await;
    assert_eq!(valid.status, StatusCode::OK);
    let counted = |answer: &Value| {
        let is_counted = answer["passwords"][1]["recent"] == 1 && answer["refused"][0]["recent"] == 2;
        is_counted && answer["last_webhook"].is_object()
    };
    let answer = channel(&timeline, OF_INFOBIP, "refusals and the password are counted", counted).await;
    assert_eq!(answer["refused"][0]["cause"], "wrong_credential", "{answer:#}");
    assert_eq!(answer["passwords"][0]["total"], 0, "{answer:#}");
    assert!(answer["passwords"][1]["last_at"].is_string(), "{answer:#}");
    assert_eq!(answer["last_webhook"]["pointer"], "WEBHOOKS/1", "{answer:#}");

    // A send, and then one that waits in a lane that is paused.
    outbound.publish(Priority::Interactive, &text(0, "c-1", CUSTOMER, "my secret text")).await;
    let is_sent = |answer: &Value| answer["last_send"]["outcome"] == "ACCEPTED";
    channel(&timeline, "channel-0", "a send was accepted", is_sent).await;
    outbound.set_paused(0, true).await;
    let is_halted = |answer: &Value| answer["lane"]["halted"]["reason"] == "paused";
    channel(&timeline, "channel-0", "the lane is halted", is_halted).await;
    outbound.publish(Priority::Interactive, &text(0, "c-2", CUSTOMER, "my secret text")).await;
    let waits = |answer: &Value| {
        answer["lane"]["waiting"] == 1 && answer["paused"] == true && answer["results"][0]["recent"] == 1
    };
    let answer = channel(&timeline, "channel-0", "a command waits and the result is counted", waits).await;
    assert!(answer["lane"]["oldest_waiting_at"].is_string(), "{answer:#}");
    let shown = page(&timeline, "/channels/channel-0").await;
    assert!(shown.contains("Nothing is sent: paused by an operator"), "{shown}");
    let all = page(&timeline, "/channels").await;
    assert!(all.contains("2 refused") && all.contains("halted"), "{all}");
    for personal in [CUSTOMER, "secret text", "infobip-previous", "infobip-secret"] {
        assert!(!shown.contains(personal) && !all.contains(personal), "{personal} is shown");
    }

    sender.kill().await;
    let is_partial = |answer: &Value| answer["admin_ports"][1]["failed_since"].is_string();
    let answer = channel(&timeline, "channel-0", "the sender's port cannot be read", is_partial).await;
    assert_eq!(answer["partial"], true, "{answer:#}");
    assert!(page(&timeline, "/channels").await.contains("Not everything could be read"));
}

#[tokio::test]
async fn without_admin_ports_an_answer_says_what_is_not_counted() {
    let installation = Installation::start().await;
    let store = store_folder();
    let timeline = RunningTimeline::start(&installation, &store, &[]).await;
    let answer = channel(&timeline, OF_INFOBIP, "the lanes are read", |answer| {
        answer["not_read"].as_array().is_some_and(|sources| sources.len() == 1)
    })
    .await;
    assert_eq!((&answer["partial"], &answer["not_read"][0]["source"]), (&true.into(), &"admin_ports".into()));
    assert!(answer["refused"].is_null() && answer["passwords"].is_null(), "{answer:#}");
}
