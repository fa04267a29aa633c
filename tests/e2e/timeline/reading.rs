//! How the timeline reads the streams: killed at any moment, away, with streams that were created again, and without any effect
//! on the path of messages.

use std::path::Path;
use std::time::Instant;

use bus::provision;
use bus::streams::{DEADLETTERS, EVENTS, StreamSettings};
use serde_json::Value;

use crate::harness::files::copy_folder;
use crate::harness::slow_bus::{Slow, SlowBus};
use crate::harness::timeline::{RunningTimeline, store_folder};
use crate::harness::{Installation, Posting, Webhook, eventually};

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

/// A stream of EVENTS as an operator has it.
async fn events(installation: &Installation) -> async_nats::jetstream::stream::Stream {
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    async_nats::jetstream::new(client).get_stream(EVENTS.name).await.unwrap()
}

/// First and last sequence of each range that was missed in EVENTS, as the answer to an id that is stored says.
async fn missed(timeline: &RunningTimeline, id: &str) -> Vec<(u64, u64)> {
    let (_, answer) = timeline.get(&format!("/v1/timeline/{id}")).await;
    let all = answer["missed"].as_array().unwrap();
    let of_events = all.iter().filter(|missed| missed["stream"] == "EVENTS");
    of_events.map(|missed| (missed["first"].as_u64().unwrap(), missed["last"].as_u64().unwrap())).collect()
}

fn rows_of_event(answer: &Value) -> usize {
    answer["lives"][0]["rows"]
        .as_array()
        .map_or(0, |rows| rows.iter().filter(|row| row["kind"] == "report").count())
}

#[tokio::test]
async fn a_timeline_that_is_killed_while_it_reads_has_each_row_once() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let _normalizer = installation.normalizer().await;
    let store = store_folder();
    let posting = Posting::start(ingress.address, 1, report);
    for _ in 0..3 {
        let mut timeline = RunningTimeline::start(&installation, &store, &[]).await;
        until_read(&timeline, "WEBHOOKS", last(&installation, &bus::streams::WEBHOOKS).await).await;
        timeline.program.kill().await;
    }
    let posted = posting.end().await;
    installation.until_processed().await;
    let timeline = RunningTimeline::start(&installation, &store, &[]).await;
    until_read(&timeline, "EVENTS", last(&installation, &EVENTS).await).await;
    for number in 0..posted {
        let (_, answer) = timeline.get(&format!("/v1/timeline/m-{number}")).await;
        assert_eq!(rows_of_event(&answer), 1, "m-{number}: {answer:#}");
    }
}

#[tokio::test]
async fn a_timeline_does_not_wake_up_for_each_message() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let _normalizer = installation.normalizer().await;
    let store = store_folder();
    let timeline = RunningTimeline::start(&installation, &store, &[]).await;
    let (before, began) = (timeline.program.waits(), Instant::now());
    let posting = Posting::start(ingress.address, 1, report);
    let posted = eventually("2,000 webhooks are stored", || async {
        let stored = last(&installation, &bus::streams::WEBHOOKS).await;
        (stored >= 2000).then_some(stored)
    })
    .await;
    let waits: u64 = (timeline.program.waits().into_iter())
        .map(|(thread, waits)| waits - before.get(&thread).unwrap_or(&0))
        .sum();
    let per_second = waits as f64 / began.elapsed().as_secs_f64();
    posting.end().await;
    // It sleeps 10 ms at a time, however many messages there are.
    assert!(per_second < 300.0, "{waits} waits while {posted} webhooks came: {per_second:.0} a second");
    until_read(&timeline, "EVENTS", last(&installation, &EVENTS).await).await;
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
async fn a_stream_whose_last_messages_are_gone_is_read_without_a_new_one() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let _normalizer = installation.normalizer().await;
    let store = store_folder();
    let post = async |numbers: std::ops::RangeInclusive<usize>| {
        for number in numbers {
            report(number).post(ingress.address).await;
        }
        installation.until_processed().await;
    };
    post(1..=3).await;
    let mut timeline = RunningTimeline::start(&installation, &store, &[]).await;
    until_read(&timeline, "EVENTS", 3).await;
    timeline.program.kill().await;
    // The last ones were deleted one by one, and those before are still held.
    post(4..=6).await;
    let stream = events(&installation).await;
    for sequence in [5, 6] {
        stream.delete_message(sequence).await.unwrap();
    }
    let mut timeline = RunningTimeline::start(&installation, &store, &[]).await;
    until_read(&timeline, "EVENTS", 6).await;
    assert_eq!(missed(&timeline, "m-1").await, [(5, 6)]);
    timeline.program.kill().await;
    // Everything was purged.
    post(7..=8).await;
    stream.purge().await.unwrap();
    let timeline = RunningTimeline::start(&installation, &store, &[]).await;
    until_read(&timeline, "EVENTS", 8).await;
    assert_eq!(missed(&timeline, "m-1").await, [(5, 6), (7, 8)]);
    post(9..=9).await;
    timeline.answer("m-9", "its report", |answer| rows_of_event(answer) == 1).await;
    assert_eq!(missed(&timeline, "m-1").await, [(5, 6), (7, 8)]);
}

#[tokio::test]
async fn what_a_stream_lost_before_the_first_start_is_not_missed() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let _normalizer = installation.normalizer().await;
    let store = store_folder();
    for number in 1..=8 {
        report(number).post(ingress.address).await;
    }
    installation.until_processed().await;
    let stream = events(&installation).await;
    for sequence in [1, 2, 4, 5, 7] {
        stream.delete_message(sequence).await.unwrap();
    }
    let mut timeline = RunningTimeline::start(&installation, &store, &[]).await;
    until_read(&timeline, "EVENTS", 8).await;
    assert_eq!(missed(&timeline, "EVENTS/3").await, []);
    timeline.program.kill().await;
    for number in 9..=12 {
        report(number).post(ingress.address).await;
    }
    installation.until_processed().await;
    stream.delete_message(10).await.unwrap();
    let timeline = RunningTimeline::start(&installation, &store, &[]).await;
    until_read(&timeline, "EVENTS", 12).await;
    assert_eq!(missed(&timeline, "EVENTS/3").await, [(10, 10)], "it was there after the first start");
}

#[tokio::test]
async fn what_a_stream_lost_after_a_first_start_without_messages_is_missed() {
    let installation = Installation::start().await;
    let store = store_folder();
    let mut timeline = RunningTimeline::start(&installation, &store, &[]).await;
    eventually("EVENTS is read", || async {
        let (_, answer) = timeline.get("/v1/problems").await;
        let of = answer["read_until"].as_array()?.iter().find(|of| of["stream"] == "EVENTS")?.clone();
        of["until"].is_string().then_some(())
    })
    .await;
    timeline.program.kill().await;
    let ingress = installation.ingress().await;
    let _normalizer = installation.normalizer().await;
    for number in 1..=2 {
        report(number).post(ingress.address).await;
    }
    installation.until_processed().await;
    events(&installation).await.purge().await.unwrap();
    report(3).post(ingress.address).await;
    installation.until_processed().await;
    let timeline = RunningTimeline::start(&installation, &store, &[]).await;
    until_read(&timeline, "EVENTS", 3).await;
    assert_eq!(missed(&timeline, "EVENTS/3").await, [(1, 2)]);
}

#[tokio::test]
async fn a_consumer_that_takes_long_to_create_is_created() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let _normalizer = installation.normalizer().await;
    report(1).post(ingress.address).await;
    installation.until_processed().await;
    // Longer than the interval at which the timeline asks how far an idle stream is.
    let each = std::time::Duration::from_millis(1500);
    let slow = Slow { prefix: "$JS.API.CONSUMER.CREATE.EVENTS", each, stall: None };
    let bus = SlowBus::start(&installation.nats.url(), slow).await;
    let store = store_folder();
    let variables = [("IMCHANNEL_NATS_URL", bus.url.as_str())];
    let timeline = RunningTimeline::start(&installation, &store, &variables).await;
    timeline.answer("m-1", "its report", |answer| rows_of_event(answer) == 1).await;
    assert_eq!(bus.handed_on(), 1, "one consumer was created");
}

/// Waits until EVENTS is read: each of these messages has one report.
async fn until_each_is_there(installation: &Installation, timeline: &RunningTimeline, numbers: &[usize]) {
    until_read(timeline, "EVENTS", last(installation, &EVENTS).await).await;
    for number in numbers {
        let (_, answer) = timeline.get(&format!("/v1/timeline/m-{number}")).await;
        assert_eq!(rows_of_event(&answer), 1, "m-{number}: {answer:#}");
    }
}

/// Restarts the server with the streams of a backup.
async fn restore(installation: &mut Installation, backup: &Path) {
    let streams = installation.folder().join("nats").join("jetstream");
    installation.nats.stop().await;
    std::fs::remove_dir_all(&streams).unwrap();
    copy_folder(backup, &streams);
    installation.nats.start_again().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_was_restored_from_an_older_copy_is_read_again() {
    let mut installation = Installation::start().await;
    let store = store_folder();
    let streams = installation.folder().join("nats").join("jetstream");
    let backup = installation.folder().join("backup");
    let post = async |installation: &Installation, numbers: std::ops::RangeInclusive<usize>| {
        let ingress = installation.ingress().await;
        let normalizer = installation.normalizer().await;
        for number in numbers {
            report(number).post(ingress.address).await;
        }
        installation.until_processed().await;
        normalizer.stop().await;
        ingress.stop().await;
    };
    post(&installation, 1..=2).await;
    installation.nats.stop().await;
    copy_folder(&streams, &backup);
    installation.nats.start_again().await.unwrap();
    post(&installation, 3..=6).await;
    let mut timeline = RunningTimeline::start(&installation, &store, &[]).await;
    until_read(&timeline, "EVENTS", 6).await;
    timeline.program.kill().await;
    restore(&mut installation, &backup).await;
    post(&installation, 11..=12).await;
    let mut timeline = RunningTimeline::start(&installation, &store, &[]).await;
    timeline.answer("m-12", "its report", |answer| rows_of_event(answer) == 1).await;
    timeline.program.kill().await;
    // The stream has more messages now than it had before.
    post(&installation, 13..=20).await;
    let mut timeline = RunningTimeline::start(&installation, &store, &[]).await;
    until_each_is_there(&installation, &timeline, &[1, 2, 6, 11, 12, 13, 20]).await;
    assert_eq!(missed(&timeline, "m-1").await, []);
    timeline.program.kill().await;
    // Restored again, and with as many messages as before when the timeline comes back: the last one is another.
    restore(&mut installation, &backup).await;
    post(&installation, 31..=44).await;
    let mut timeline = RunningTimeline::start(&installation, &store, &[]).await;
    timeline.answer("m-31", "its report", |answer| rows_of_event(answer) == 1).await;
    until_each_is_there(&installation, &timeline, &[1, 2, 6, 11, 20, 31, 38, 44]).await;
    // Restored once more, and with more messages than before when a timeline that was running all the time is connected again.
    timeline.program.signal("STOP").await;
    restore(&mut installation, &backup).await;
    post(&installation, 51..=70).await;
    timeline.program.signal("CONT").await;
    timeline.answer("m-51", "its report", |answer| rows_of_event(answer) == 1).await;
    until_each_is_there(&installation, &timeline, &[1, 2, 6, 44, 51, 62, 63, 70]).await;
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
