//! One erasure at a time in the timelines of a database, also when the one that erases is killed.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::erasure::acknowledge;
use super::postgres::{Database, KEY};
use crate::harness::files::client;
use crate::harness::outbound::Outbound;
use crate::harness::timeline::{RunningTimeline, store_folder};
use crate::harness::{Installation, Webhook, eventually};

const ERASED: &str = "4915112345678";
const OTHER: &str = "4915187654321";

struct Stage {
    outbound: Outbound,
    database: Database,
}

impl Stage {
    async fn timeline(&self, folder: &TempDir) -> RunningTimeline {
        let (url, redis) = (self.database.url(), self.outbound.redis.url());
        let variables = [
            ("IMCHANNEL_TIMELINE_URL", url.as_str()),
            ("IMCHANNEL_TIMELINE_KEY", KEY),
            ("IMCHANNEL_TIMELINE_ERASURE", "on"),
            ("IMCHANNEL_REDIS_URL", redis.as_str()),
        ];
        RunningTimeline::start(&self.outbound.installation, folder, &variables).await
    }
}

/// Asks for an erasure: the status, and the answer.
async fn ask(timeline: &RunningTimeline, number: &str) -> (StatusCode, Value) {
    let body = json!({ "number": number, "dry_run": false, "reason": "asked for by letter" }).to_string();
    let url = format!("{}/v1/erasures", timeline.url);
    let answer = client().post(url).header("sec-fetch-site", "none").body(body).send().await.unwrap();
    let status = answer.status();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

/// Waits until the state of an erasure is as it should be.
async fn until(timeline: &RunningTimeline, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || async {
        let (_, state) = timeline.get(&format!("/v1/erasures/{id}")).await;
        is_so(&state).then_some(state)
    })
    .await
}

fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn one_timeline_of_a_database_erases_at_a_time_and_another_one_after_it_was_killed() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let _normalizer = installation.normalizer().await;
    let outbound = Outbound::on(installation, &[100], None).await;
    let stage = Stage { outbound, database: Database::start().await };
    let folders = [store_folder(), store_folder()];
    let (mut one, other) = (stage.timeline(&folders[0]).await, stage.timeline(&folders[1]).await);
    for (number, message) in [(ERASED, "m-1"), (OTHER, "m-2")] {
        let report = format!(
            r#"{{"results":[{{"messageId":"{message}","to":"{number}","status":{{"groupName":"DELIVERED"}}}}]}}"#
        );
        assert_eq!(Webhook::infobip(report).post(ingress.address).await.status, 200);
        for timeline in [&one, &other] {
            timeline.life(message, &["report"]).await;
        }
    }
    // It waits for the back end, which has acknowledged nothing.
    let (status, answer) = ask(&one, ERASED).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer:#}");
    let first = id(&answer);
    let waits = |state: &Value, text: &str| state["waits_for"].to_string().contains(text);
    until(&one, &first, "it waits for the back end", |state| waits(state, "the back end")).await;
    let (status, refused) = ask(&one, OTHER).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(refused["detail"].as_str().unwrap().contains(&first), "{refused:#}");
    let (status, refused) = ask(&other, OTHER).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(refused["detail"].as_str().unwrap().contains("another timeline"), "{refused:#}");

    one.program.kill().await;
    let second = eventually("the other may erase", || async {
        let (status, answer) = ask(&other, OTHER).await;
        (status == StatusCode::ACCEPTED).then(|| id(&answer))
    })
    .await;
    let one = stage.timeline(&folders[0]).await;
    until(&one, &first, "it waits for its turn", |state| waits(state, "another timeline")).await;
    until(&other, &second, "the other waits for the back end", |state| waits(state, "the back end")).await;
    acknowledge(&stage.outbound.installation).await;
    for (timeline, id) in [(&other, &second), (&one, &first)] {
        let done = until(timeline, id, "it is erased", |state| state["step"] == "done").await;
        assert_eq!(
            (&done["erased"]["events"], &done["erased"]["webhooks"]),
            (&1.into(), &1.into()),
            "{done:#}"
        );
    }
    // Both may be asked again.
    let (status, answer) = ask(&one, ERASED).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer:#}");
    until(&one, &id(&answer), "nothing is left", |state| state["step"] == "done").await;
    assert_eq!(ask(&other, OTHER).await.0, StatusCode::ACCEPTED);
}
