//! Purging does not affect messages in flight: delivered and unacked messages are redelivered, also by old servers,
//! which drop them when a stream is purged.

use std::time::Duration;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::{self, AckKind};
use bsp::ChannelId;
use bus::purger::{self, PurgeMetrics};
use bus::streams::{
    AICC, COMMANDS, DEADLETTERS, EVENTS, LaneConsumer, StreamDefinition, StreamSettings, WEBHOOKS,
};
use bus::{EventKind, Headers, Priority, Subject, headers, provision, read};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::harness::{Installation, TIMEOUT, Webhook, eventually, run_cli, within};

const MAX_BYTES: u64 = 256 * 1024;
/// Messages that fill a stream of [`MAX_BYTES`] to 80 %.
const COUNT: usize = 200;
/// How many of these are in flight at the purge.
const IN_FLIGHT: usize = 10;

const CHANNELS: &str = r#"
[[channel]]
id = "channel-0"
bsp = "infobip"
tenant = "tenantname"
webhook = [{ password = "p" }]

[[channel]]
id = "channel-1"
bsp = "infobip"
tenant = "tenantname"
webhook = [{ password = "p" }]
"#;

fn channel(number: usize) -> ChannelId {
    ChannelId::parse(&format!("channel-{number}")).unwrap()
}

async fn store(installation: &Installation, subject: &Subject, count: usize) {
    let payload = vec![b'x'; 1_000].into();
    for number in 0..count {
        let id = format!("{}-{number}", subject.to_text());
        let headers = || Headers::new().with(headers::MESSAGE_ID, &id);
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        installation.bus.store(subject, headers, &payload, deadline).await.unwrap();
    }
}

/// A reader of a durable, like a back end's client.
struct Reader(PullConsumer);

impl Reader {
    async fn open(installation: &Installation, stream: &str, durable: &str) -> Self {
        let client = async_nats::connect(installation.nats.url()).await.unwrap();
        let jetstream = jetstream::new(client);
        Self(jetstream.get_consumer_from_stream(durable, stream).await.unwrap())
    }

    /// Receives `count` messages, acks all but the last few, and naks those with a delay of a second. Returns their
    /// sequences.
    async fn take_all_but_a_few(&self, count: usize, few: usize) -> Vec<u64> {
        let mut messages = self.0.fetch().max_messages(count).messages().await.unwrap();
        let mut left = Vec::new();
        for number in 0..count {
            let next = tokio::time::timeout(TIMEOUT, messages.next()).await.unwrap();
            let message = next.unwrap().unwrap();
            if number < count - few {
                message.double_ack().await.unwrap();
            } else {
                message.ack_with(AckKind::Nak(Some(Duration::from_secs(1)))).await.unwrap();
                left.push(message.info().unwrap().stream_sequence);
            }
        }
        left
    }

    /// Receives messages until these sequences have come.
    async fn until_came(&self, mut expected: Vec<u64>) {
        let coming = async {
            while !expected.is_empty() {
                let batch = self.0.batch().max_messages(COUNT).expires(Duration::from_secs(1));
                let mut messages = batch.messages().await.unwrap();
                while let Some(Ok(message)) = messages.next().await {
                    let sequence = message.info().unwrap().stream_sequence;
                    expected.retain(|wanted| *wanted != sequence);
                    message.double_ack().await.unwrap();
                }
            }
        };
        let came = tokio::time::timeout(TIMEOUT, coming).await.is_ok();
        assert!(came, "in flight at the purge, and never delivered again: {expected:?}");
    }
}

/// Runs a purger on a stream until it has at most `messages`.
async fn purge_to(installation: &Installation, definition: &'static StreamDefinition, messages: usize) {
    let stop = CancellationToken::new();
    let (bus, stopped) = (installation.bus.clone(), stop.clone());
    let purger = tokio::spawn(async move {
        purger::run(&bus, &[definition], Duration::from_millis(50), &PurgeMetrics::default(), stopped).await;
    });
    eventually("the purger makes room", || async {
        let snapshot = bus::inspect::snapshot(&installation.bus).await;
        let stream = snapshot.streams.iter().find(|stream| stream.id == definition.id)?;
        (stream.messages <= messages as u64).then_some(())
    })
    .await;
    stop.cancel();
    purger.await.unwrap();
}

fn body(number: usize) -> String {
    let padding = "x".repeat(2_000);
    format!(
        r#"{{"results":[{{"messageId":"m-{number}","to":"49151","status":{{"groupName":"DELIVERED"}}}}],"p":"{padding}"}}"#
    )
}

async fn share_of(installation: &Installation, definition: &StreamDefinition) -> f64 {
    let snapshot = bus::inspect::snapshot(&installation.bus).await;
    let stream = snapshot.streams.iter().find(|stream| stream.id == definition.id).unwrap();
    stream.bytes as f64 / stream.max_bytes.unwrap() as f64
}

/// Fills EVENTS until nothing more is published to it, but not to its last bytes, which an old server does not store
/// safely.
async fn fill_events(installation: &Installation) {
    let bsp = bsp::registry::find("infobip").unwrap().profile().id;
    let subject = Subject::Event(EventKind::Media, bsp, channel(0));
    let payload = vec![b'x'; 4_000].into();
    while share_of(installation, &EVENTS).await < 0.955 {
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        installation.bus.store(&subject, Headers::new, &payload, deadline).await.unwrap();
    }
}

/// EVENTS is full, so webhooks wait, delivered and nakked; WEBHOOKS fills up after them, and processed ones are purged.
#[tokio::test(flavor = "multi_thread")]
async fn no_webhook_is_lost_while_events_is_full_and_webhooks_is_purged() {
    let (before, count) = (100, 400);
    let settings = StreamSettings {
        webhooks_max_bytes: 1024 * 1024,
        events_max_bytes: 2 * 1024 * 1024,
        ..StreamSettings::default()
    };
    let installation = Installation::start_with(&settings).await;
    let quick = [("purge-interval", "50ms")];
    let ingress = installation.ingress_with(&quick).await;
    ingress.until_ready().await;
    let normalizer = installation.normalizer_with(&quick).await;
    for number in 0..count {
        if number == before {
            installation.until_processed().await;
            fill_events(&installation).await;
        }
        let answer = Webhook::infobip(body(number)).post(ingress.address).await;
        assert_eq!(answer.status.as_u16(), 200, "webhook {number}: {answer:?}");
    }
    eventually("processed webhooks are purged", || async {
        let first = read::sequences(&installation.bus, &WEBHOOKS).await.ok()?.first;
        (first > 1).then_some(())
    })
    .await;
    assert!(installation.reports().await.len() < count, "EVENTS was never full");
    let enlarged = StreamSettings { events_max_bytes: 16 * 1024 * 1024, ..settings };
    provision::apply(&installation.bus, &enlarged).await.unwrap();
    within(2 * TIMEOUT, "every webhook that was answered 200 is an event", || async {
        let reports = installation.reports().await;
        (0..count)
            .all(|number| reports.iter().any(|report| report.message_id == format!("m-{number}")))
            .then_some(())
    })
    .await;
    normalizer.stop().await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_the_back_end_holds_outlive_a_purge() {
    let settings = StreamSettings { events_max_bytes: MAX_BYTES, ..StreamSettings::default() };
    let installation = Installation::start_with(&settings).await;
    let bsp = bsp::registry::find("infobip").unwrap().profile().id;
    store(&installation, &Subject::Event(EventKind::Report, bsp, channel(0)), COUNT).await;
    let aicc = Reader::open(&installation, EVENTS.name, AICC.name).await;
    let left = aicc.take_all_but_a_few(COUNT, IN_FLIGHT).await;
    purge_to(&installation, &EVENTS, COUNT * 3 / 4).await;
    aicc.until_came(left).await;
}

async fn two_lanes() -> Installation {
    let settings = StreamSettings { commands_max_bytes: MAX_BYTES, ..StreamSettings::default() };
    let installation = Installation::start_bare().await;
    provision::apply(&installation.bus, &settings).await.unwrap();
    installation.apply_channels(CHANNELS).await;
    for number in [0, 1] {
        let subject = Subject::Command(Priority::Interactive, channel(number));
        store(&installation, &subject, COUNT / 2).await;
    }
    installation
}

async fn lane(installation: &Installation, number: usize) -> Reader {
    let durable = LaneConsumer::of(Priority::Interactive, &channel(number));
    Reader::open(installation, COMMANDS.name, &durable.name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_a_lane_holds_outlive_a_purge() {
    let installation = two_lanes().await;
    let (first, second) = (lane(&installation, 0).await, lane(&installation, 1).await);
    let left = first.take_all_but_a_few(COUNT / 2, IN_FLIGHT).await;
    second.take_all_but_a_few(COUNT / 2, 0).await;
    // An idle lane keeps its last few.
    purge_to(&installation, &COMMANDS, COUNT / 4).await;
    first.until_came(left).await;
}

/// A durable of all of COMMANDS, which an operator may create to record all commands.
async fn recorder(installation: &Installation) -> Reader {
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    let config = pull::Config { durable_name: Some("recorder".to_owned()), ..pull::Config::default() };
    Reader(jetstream::new(client).create_consumer_on_stream(config, COMMANDS.name).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_durable_over_all_commands_has_not_read_is_kept() {
    let installation = two_lanes().await;
    let recorder = recorder(&installation).await;
    lane(&installation, 0).await.take_all_but_a_few(COUNT / 2, 0).await;
    lane(&installation, 1).await.take_all_but_a_few(COUNT / 2, 0).await;
    recorder.take_all_but_a_few(COUNT / 2, 0).await;
    purge_to(&installation, &COMMANDS, COUNT / 2).await;
    // The other half is stored for it.
    recorder.take_all_but_a_few(COUNT / 2, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_in_flight_outlive_the_removal_of_another_channel() {
    let installation = two_lanes().await;
    lane(&installation, 0).await.take_all_but_a_few(COUNT / 2, 0).await;
    let recorder = recorder(&installation).await;
    let left = recorder.take_all_but_a_few(COUNT, IN_FLIGHT).await;
    let removed = run_cli(&installation, &["channel", "remove", channel(0).as_str(), "--yes"]).await;
    assert!(removed.status.success(), "{removed:?}");
    let subject = Subject::Command(Priority::Interactive, channel(0)).to_text();
    let mut rest =
        read::subscribe(&installation.bus, &COMMANDS, subject, read::StartAt::Start).await.unwrap();
    assert!(rest.next_stored().await.unwrap().is_none(), "a command of the removed channel is left");
    recorder.until_came(left).await;
}

/// Observers of a stream: a consumer without a durable name, and a durable of the name that the purger ignores. Each
/// acknowledges the first `acknowledged` messages.
async fn observe(installation: &Installation, stream: &str, acknowledged: usize) {
    let jetstream = jetstream::new(async_nats::connect(installation.nats.url()).await.unwrap());
    for durable in [None, Some("timeline")] {
        let config = pull::Config {
            durable_name: durable.map(str::to_owned),
            inactive_threshold: TIMEOUT,
            ..pull::Config::default()
        };
        let observer = Reader(jetstream.create_consumer_on_stream(config, stream).await.unwrap());
        observer.take_all_but_a_few(acknowledged, 0).await;
    }
}

/// Fills DEADLETTERS, and has a durable acknowledge all of it, which no durable of imchannel does.
async fn fill_dead_letters(installation: &Installation) {
    let jetstream = jetstream::new(async_nats::connect(installation.nats.url()).await.unwrap());
    let config = pull::Config { durable_name: Some("recorder".to_owned()), ..pull::Config::default() };
    let recorder = Reader(jetstream.create_consumer_on_stream(config, DEADLETTERS.name).await.unwrap());
    for _ in 0..COUNT {
        let letter = jetstream.publish("imchannel.deadletter.webhook.channel-0", vec![b'x'; 1_000].into());
        letter.await.unwrap().await.unwrap();
    }
    recorder.take_all_but_a_few(COUNT, 0).await;
}

async fn held(installation: &Installation, definition: &StreamDefinition) -> u64 {
    let snapshot = bus::inspect::snapshot(&installation.bus).await;
    snapshot.streams.iter().find(|stream| stream.id == definition.id).unwrap().messages
}

/// The back end has read all events and the lanes no command; an observer of each stream has read the opposite. A dead letter is
/// never purged.
#[tokio::test(flavor = "multi_thread")]
async fn the_progress_of_an_observer_keeps_nothing_and_purges_nothing() {
    let settings = StreamSettings {
        commands_max_bytes: MAX_BYTES,
        events_max_bytes: MAX_BYTES,
        deadletters_max_bytes: MAX_BYTES,
        ..StreamSettings::default()
    };
    let installation = Installation::start_bare().await;
    provision::apply(&installation.bus, &settings).await.unwrap();
    installation.apply_channels(CHANNELS).await;
    store(&installation, &Subject::Command(Priority::Interactive, channel(0)), COUNT).await;
    observe(&installation, COMMANDS.name, COUNT).await;
    let bsp = bsp::registry::find("infobip").unwrap().profile().id;
    store(&installation, &Subject::Event(EventKind::Report, bsp, channel(0)), COUNT).await;
    Reader::open(&installation, EVENTS.name, AICC.name).await.take_all_but_a_few(COUNT, 0).await;
    observe(&installation, EVENTS.name, 1).await;
    fill_dead_letters(&installation).await;
    observe(&installation, DEADLETTERS.name, COUNT).await;

    let stop = CancellationToken::new();
    let (bus, stopped) = (installation.bus.clone(), stop.clone());
    // In this order: when events are purged, the others were looked at.
    let streams = [&COMMANDS, &DEADLETTERS, &EVENTS];
    let purger = tokio::spawn(async move {
        purger::run(&bus, &streams, Duration::from_millis(50), &PurgeMetrics::default(), stopped).await;
    });
    eventually("events are purged although observers have not read them", || async {
        (held(&installation, &EVENTS).await <= COUNT as u64 * 3 / 4).then_some(())
    })
    .await;
    stop.cancel();
    purger.await.unwrap();
    assert_eq!(held(&installation, &COMMANDS).await, COUNT as u64, "an observer's acknowledgements purge");
    assert_eq!(held(&installation, &DEADLETTERS).await, COUNT as u64, "dead letters were purged");
}

/// A durable whose name only begins like the observer's is a reader like any other.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_durable_called_like_the_timeline_has_not_read_is_kept() {
    let settings = StreamSettings { events_max_bytes: MAX_BYTES, ..StreamSettings::default() };
    let installation = Installation::start_bare().await;
    provision::apply(&installation.bus, &settings).await.unwrap();
    let bsp = bsp::registry::find("infobip").unwrap().profile().id;
    let jetstream = jetstream::new(async_nats::connect(installation.nats.url()).await.unwrap());
    let config = pull::Config { durable_name: Some("timeline-2".to_owned()), ..pull::Config::default() };
    let archive = Reader(jetstream.create_consumer_on_stream(config, EVENTS.name).await.unwrap());
    store(&installation, &Subject::Event(EventKind::Report, bsp, channel(0)), COUNT).await;
    Reader::open(&installation, EVENTS.name, AICC.name).await.take_all_but_a_few(COUNT, 0).await;
    archive.take_all_but_a_few(20, 0).await;

    let stop = CancellationToken::new();
    let (bus, stopped) = (installation.bus.clone(), stop.clone());
    let purger = tokio::spawn(async move {
        purger::run(&bus, &[&EVENTS], Duration::from_millis(50), &PurgeMetrics::default(), stopped).await;
    });
    eventually("what both have read is purged", || async {
        (held(&installation, &EVENTS).await < COUNT as u64).then_some(())
    })
    .await;
    stop.cancel();
    purger.await.unwrap();
    assert_eq!(held(&installation, &EVENTS).await, COUNT as u64 - 20, "unread events were purged");
}
