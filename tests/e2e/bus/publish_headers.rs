//! The headers with which a message was published (`Nats-Msg-Id`, `Nats-Expected-*`, `Nats-Batch-*`) are stored with it. No way of
//! reading gives them, and no message that is published because of it has one of them.

use async_nats::jetstream;
use async_nats::jetstream::message::StreamMessage;
use bsp::ChannelId;
use bus::read::follow::{FollowOptions, follow};
use bus::streams::{COMMANDS, DEADLETTERS, EVENTS, StreamDefinition, WEBHOOKS};
use bus::{Delivery, EventKind, Origin, Priority, Subject, headers, message_store};
use prost::Message;

use crate::harness::outbound::{Outbound, text};
use crate::harness::{Installation, eventually, run_cli};

const CHANNEL: &str = "channel-0";

fn channel() -> ChannelId {
    ChannelId::parse(CHANNEL).unwrap()
}

/// A message with all headers of a publish, as a server stores one of a batch.
struct Batched<'b> {
    subject: Subject,
    id: &'b str,
    fields: &'b [(headers::Name, &'b str)],
    payload: Vec<u8>,
}

impl Batched<'_> {
    /// Stores it as a batch of one, which every server takes, and returns its sequence. Servers before 2.12 ignore these headers and
    /// store them.
    async fn store(self, jetstream: &jetstream::Context) -> u64 {
        let mut map = async_nats::HeaderMap::new();
        for (name, value) in self.fields {
            map.insert(name.as_str(), *value);
        }
        map.insert("Nats-Msg-Id", self.id);
        map.insert("Nats-Expected-Stream", self.subject.stream().name());
        map.insert("Nats-Batch-Id", format!("batch-{}", self.id));
        map.insert("Nats-Batch-Sequence", "1");
        map.insert("Nats-Batch-Commit", "1");
        let sent = jetstream.publish_with_headers(self.subject.to_text(), map, self.payload.into());
        sent.await.unwrap().await.unwrap().sequence
    }
}

async fn jetstream_of(installation: &Installation) -> jetstream::Context {
    jetstream::new(async_nats::connect(installation.nats.url()).await.unwrap())
}

/// Everything that a stream holds, as the server has it.
async fn raw(jetstream: &jetstream::Context, stream: &StreamDefinition) -> Vec<StreamMessage> {
    let found = jetstream.get_stream(stream.name).await.unwrap();
    let mut all = Vec::new();
    for sequence in 1..=found.cached_info().state.last_sequence {
        all.extend(found.get_raw_message(sequence).await.ok());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_of_reading_gives_the_headers_of_the_publish() {
    let installation = Installation::start().await;
    let bus = &installation.bus;
    let bsp = bsp::registry::find("infobip").unwrap().profile().id;
    let subject = Subject::Event(EventKind::Report, bsp, channel());
    let fields = [(headers::CE_ID, "event-1")];
    let event = Batched { subject: subject.clone(), id: "one", fields: &fields, payload: b"x".to_vec() };
    let sequence = event.store(&jetstream_of(&installation).await).await;

    let stored = installation.stored(&EVENTS, "imchannel.event.>").await.remove(0);
    let got = message_store::get(bus, &EVENTS, sequence).await.unwrap().unwrap();
    let last = bus::read::last_of_subject(bus, &subject).await.unwrap().unwrap();
    let followed = follow(bus, &EVENTS, FollowOptions::default()).next().await.unwrap().delivery;
    let headers_only = FollowOptions { headers_only: true, ..FollowOptions::default() };
    let of_headers = follow(bus, &EVENTS, headers_only).next().await.unwrap().delivery;
    for delivery in [stored, got, last, followed, of_headers] {
        let Delivery { headers, .. } = &delivery;
        let names: Vec<String> = headers.sorted().into_iter().map(|(name, _)| name).collect();
        let of_server = ["Nats-Msg-Size".to_owned()];
        assert!(names.iter().all(|name| name == "ce-id" || of_server.contains(name)), "{names:?}");
        assert_eq!(headers.get(headers::MESSAGE_ID), None);
        assert_eq!(headers.get(headers::CE_ID), Some("event-1"));
        assert_eq!(delivery.message_id(), Some("one"));
    }
}

/// A report, a part of a webhook that is refused, two commands, and the dead letter of one that can be published again.
async fn store_everything(jetstream: &jetstream::Context) -> Vec<(&'static str, u64)> {
    let bsp = bsp::registry::find("infobip").unwrap().profile().id;
    let received_at = jiff::Timestamp::now().to_string();
    let json = (headers::CONTENT_TYPE, "application/json");
    let of_webhook = [(headers::ROUTE, "report"), (headers::RECEIVED_AT, received_at.as_str()), json.clone()];
    let of_letter = [
        (headers::REASON_KIND, "no_channel"),
        (headers::ORIGIN, "COMMANDS/999/0"),
        (headers::PART, headers::PART_BODY),
        (headers::CONTENT_TYPE, headers::PROTOBUF),
    ];
    let report = r#"{"messageId":"m-1","to":"4915112345678","status":{"groupName":"DELIVERED"}}"#;
    let webhook = format!(r#"{{"results":[{report},{{"price":{{}}}}]}}"#).into_bytes();
    let sent = text(0, "c", "8618257518839", "Hello").encode_to_vec();
    let again = text(0, "again", "8618257518840", "Hello").encode_to_vec();
    let command = || Subject::Command(Priority::Interactive, channel());
    let letter = Subject::DeadLetter(Origin::Command, Some(channel()));
    let protobuf = [(headers::CONTENT_TYPE, headers::PROTOBUF)];
    let mut stored = Vec::new();
    for batched in [
        Batched {
            subject: Subject::Webhook(bsp, channel()),
            id: "webhook",
            fields: &of_webhook,
            payload: webhook,
        },
        Batched { subject: command(), id: "command", fields: &protobuf, payload: sent },
        Batched { subject: command(), id: "broken", fields: &[json], payload: b"{".to_vec() },
        Batched { subject: letter, id: "letter", fields: &of_letter, payload: again },
    ] {
        let stream = batched.subject.stream().name();
        stored.push((stream, batched.store(jetstream).await));
    }
    stored
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_follows_from_a_message_has_the_headers_of_its_publish() {
    let outbound = Outbound::start(&[50]).await;
    let installation = &outbound.installation;
    let jetstream = jetstream_of(installation).await;
    let first = store_everything(&jetstream).await;
    let (normalizer, sender) = (installation.normalizer().await, outbound.sender().await);
    outbound.result("c").await;
    installation.until_processed().await;
    eventually("both messages that are refused are dead letters", || async {
        (installation.dead_letters().await.len() == 3).then_some(())
    })
    .await;

    let (_, letter) = first[3];
    let shown = run_cli(installation, &["deadletter", "show", &letter.to_string()]).await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("Nats-Msg-Id: letter") && !shown.contains("Nats-Batch"), "{shown}");
    assert!(!shown.contains("Nats-Expected"), "{shown}");

    let replay = ["replay", "webhooks", "--from-sequence", "1", "--publish", "--yes"];
    assert!(run_cli(installation, &replay).await.status.success());
    let replay = ["deadletter", "replay", &letter.to_string(), "--publish", "--yes"];
    assert!(run_cli(installation, &replay).await.status.success());
    outbound.result("again").await;

    for (stream, count) in [(&WEBHOOKS, 1), (&EVENTS, 5), (&COMMANDS, 3), (&DEADLETTERS, 2)] {
        let all = raw(&jetstream, stream).await;
        assert_eq!(
            all.len(),
            count,
            "{}: {:?}",
            stream.name,
            all.iter().map(|one| &one.subject).collect::<Vec<_>>()
        );
        for message in all.iter().filter(|one| !first.contains(&(stream.name, one.sequence))) {
            for (name, values) in message.headers.iter() {
                let (name, at): (&str, _) = (name.as_ref(), (stream.name, message.sequence));
                assert!(
                    !name.starts_with("Nats-Batch-") && !name.starts_with("Nats-Expected-"),
                    "{at:?}: {name}"
                );
                let is_copied = name == "Nats-Msg-Id"
                    && ["webhook", "command", "broken", "letter"].contains(&values[0].as_str());
                assert!(!is_copied, "{at:?}: {values:?}");
            }
        }
    }
    normalizer.stop().await;
    sender.stop().await;
}
