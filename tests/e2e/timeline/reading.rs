//! How the timeline reads the streams: killed at any moment, away, with streams that were created again, and without any effect
//! on the path of messages.

use bus::provision;
use bus::streams::{DEADLETTERS, EVENTS, StreamSettings};
use serde_json::Value;

use crate::harness::timeline::{RunningTimeline, store_folder};
use crate::harness::{Installation, Webhook, eventually};

/// A report of one message.
fn report(number: usize) -> Webhook {
    Webhook::infobip(format!(
        r#"{{"results":[{{"messageId":"m-{number}","to":"49151","status":{{"groupName":"DELIVERED"}}}}]}}"#
    ))
}

async fn until_read(timeline: &RunningTimeline, stream: &str, sequence: u64) {
    eventually(&format!("{stream} is read up to {sequence}"), || async {
        // Any answer says how far each stream was read, also that nothing was found.
        let (_, answer) = timeline.get("/v1/problems").await;
        let of = answer["read_until"].as_array()?.iter().find(|of| of["stream"] == stream)?.clone();
        (of["sequence"].as_u64()? >= sequence).then_some(())
    })
    .await;
}

async fn last(installation: &Installation, stream: &'static bus::streams::StreamDefinition) -> u64 {
    bus::read::last_sequence(&installation.bus, stream).await.unwrap()
}

fn rows_of_event(answer: &Value) -> usize {
    answer["lives"][0]["rows"]
        .as_array()
        .map_or(0, |rows| rows.iter().filter(|row| row["kind"] == "report").count())
}

#[tokio::test]
async fn a_timeline_that_is_killed_while_it_reads_has_each_row_once() {
    const REPORTS: usize = 600;
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let _normalizer = installation.normalizer().await;
    let store = store_folder();
    let posting = tokio::spawn({
        let address = ingress.address;
        async move {
            for number in 0..REPORTS {
                assert_eq!(report(number).post(address).await.status, 200);
            }
        }
    });
    let mut kills = 0;
    while !posting.is_finished() {
        let mut timeline = RunningTimeline::start(&installation, &store, &[]).await;
        until_read(&timeline, "WEBHOOKS", last(&installation, &bus::streams::WEBHOOKS).await).await;
        timeline.program.kill().await;
        kills += 1;
    }
    posting.await.unwrap();
    assert!(kills >= 3, "killed {kills} times");
    installation.until_processed().await;
    let timeline = RunningTimeline::start(&installation, &store, &[]).await;
    until_read(&timeline, "EVENTS", last(&installation, &EVENTS).await).await;
    for number in 0..REPORTS {
        let (_, answer) = timeline.get(&format!("/v1/timeline/m-{number}")).await;
        assert_eq!(rows_of_event(&answer), 1, "m-{number}: {answer:#}");
    }
}

#[tokio::test]
async fn a_timeline_that_was_away_too_long_says_what_it_missed() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let _normalizer = installation.normalizer().await;
    let store = store_folder();
    let mut timeline = RunningTimeline::start(&installation, &store, &[]).await;
    report(0).post(ingress.address).await;
    installation.until_processed().await;
    until_read(&timeline, "EVENTS", last(&installation, &EVENTS).await).await;
    timeline.program.kill().await;
    for number in 1..=5 {
        report(number).post(ingress.address).await;
    }
    installation.until_processed().await;
    // They are gone before the timeline is back.
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream(EVENTS.name).await.unwrap();
    stream.purge().await.unwrap();
    report(6).post(ingress.address).await;
    installation.until_processed().await;
    let timeline = RunningTimeline::start(&installation, &store, &[]).await;
    let answer = timeline.answer("m-6", "its report", |answer| rows_of_event(answer) == 1).await;
    let missed = answer["missed"].as_array().unwrap();
    let of_events = missed.iter().find(|missed| missed["stream"] == "EVENTS").unwrap();
    assert_eq!((of_events["first"].as_u64(), of_events["last"].as_u64()), (Some(2), Some(6)), "{missed:?}");
}

#[tokio::test]
async fn a_stream_that_was_created_again_is_read_from_its_beginning() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    let store = store_folder();
    let timeline = RunningTimeline::start(&installation, &store, &[]).await;
    for number in 0..3 {
        report(number).post(ingress.address).await;
    }
    installation.until_processed().await;
    until_read(&timeline, "EVENTS", 3).await;
    normalizer.stop().await;
    ingress.stop().await;
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    for name in [EVENTS.name, DEADLETTERS.name] {
        jetstream.delete_stream(name).await.unwrap();
    }
    provision::apply(&installation.bus, &StreamSettings::default()).await.unwrap();
    let ingress = installation.ingress().await;
    let _normalizer = installation.normalizer().await;
    report(9).post(ingress.address).await;
    timeline.answer("m-9", "the report in the new stream", |answer| rows_of_event(answer) == 1).await;
    let (_, answer) = timeline.get("/v1/timeline/m-0").await;
    assert_eq!(rows_of_event(&answer), 1, "what the old stream held stays: {answer:#}");
}

#[tokio::test]
async fn no_stream_waits_for_a_timeline_and_none_has_a_durable_of_it() {
    let installation = Installation::start().await;
    let store = store_folder();
    let timeline = RunningTimeline::start(&installation, &store, &[]).await;
    let ingress = installation.ingress().await;
    let _normalizer = installation.normalizer().await;
    report(0).post(ingress.address).await;
    installation.until_processed().await;
    until_read(&timeline, "EVENTS", 1).await;
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    for stream in bus::streams::STREAMS {
        let found = jetstream.get_stream(stream.name).await.unwrap();
        let mut consumers = found.consumers();
        while let Some(consumer) = futures_util::StreamExt::next(&mut consumers).await {
            let config = consumer.unwrap().config;
            let name = config.durable_name.unwrap_or_default();
            assert!(!name.contains("timeline"), "{name} of {}", stream.name);
            if name.is_empty() {
                let policy = async_nats::jetstream::consumer::AckPolicy::None;
                assert_eq!(config.ack_policy, policy, "an observer acknowledges nothing");
            }
        }
    }
}
