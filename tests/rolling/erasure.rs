//! An erasure beside a sender of the version before: it waits for a sender that has erasures, and the older one knows what it leaves in
//! the ledger.

use bus::Priority;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::PART_LIMIT;
use crate::harness::files::client;
use crate::harness::ledger::{decoded, until_settled};
use crate::harness::outbound::{Outbound, channel, text};
use crate::harness::timeline::{RunningTimeline, store_folder};
use crate::harness::within;
use crate::upgrade::Version;

const CUSTOMER: &str = "4915112345678";

/// Asks for the erasure of the customer and returns its id.
async fn erase(timeline: &RunningTimeline) -> String {
    let body =
        json!({ "number": CUSTOMER, "dry_run": false, "force": true, "reason": "asked for by letter" });
    let url = format!("{}/v1/erasures", timeline.url);
    let request = client().post(url).header("sec-fetch-site", "none").body(body.to_string());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    answer["id"].as_str().unwrap().to_owned()
}

/// The value of a command's entry in words.
async fn entry(outbound: &Outbound, id: &str) -> String {
    let key = bus::ledger::LedgerKey::new(&channel(0), &bsp::CommandId::parse(id).unwrap());
    let entry = outbound.installation.bus.ledger_read(&key).await.unwrap().unwrap();
    decoded(&entry.value).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_ends_with_a_sender_of_this_version_and_the_version_before_knows_the_entry() {
    service::process::install_crypto_provider();
    let (previous, this) = (Version::previous(), Version::this());
    let outbound = Outbound::start(&[100]).await;
    let installation = &outbound.installation;
    let (folder, redis_url) = (store_folder(), outbound.redis.url());
    let more = [("IMCHANNEL_TIMELINE_ERASURE", "on"), ("IMCHANNEL_REDIS_URL", redis_url.as_str())];
    let timeline = RunningTimeline::start(installation, &folder, &more).await;
    let mut sender = outbound.sender_program_of(&previous.program("imchannel-sender"), &[]);
    let command = text(0, "erased", CUSTOMER, "Hello");
    outbound.publish(Priority::Interactive, &command).await;
    outbound.result("erased").await;
    timeline.life("erased", &["command", "attempt", "result"]).await;
    let id = erase(&timeline).await;
    let state = async || timeline.get(&format!("/v1/erasures/{id}")).await.1;
    within(PART_LIMIT, "the erasure waits or is done", || async {
        let state = state().await;
        let waits = state["waits_for"].as_array().is_some_and(|waits| !waits.is_empty());
        (waits || state["step"] == "done").then_some(())
    })
    .await;
    assert!(sender.stop().await);
    let mut sender = outbound.sender_program_of(&this.program("imchannel-sender"), &[]);
    let done = within(PART_LIMIT, "the erasure is done", || async {
        Some(state().await).filter(|state| state["step"] == "done")
    })
    .await;
    assert!(!done.to_string().contains(CUSTOMER), "{done:#}");
    let blanked = entry(&outbound, "erased").await;
    assert!(blanked.contains("Answered"), "{blanked}");
    assert!(sender.stop().await);

    let mut sender = outbound.sender_program_of(&previous.program("imchannel-sender"), &[]);
    outbound.publish_as(Priority::Interactive, &command, "again").await;
    until_settled(&outbound, 0).await;
    assert_eq!(outbound.account.calls().sends, 1, "the version before sent it again");
    assert_eq!(entry(&outbound, "erased").await, blanked);
    assert!(sender.stop().await);
}
