//! Reply subjects of publishes are used again. An answer that comes late or twice, like that of two leaders of a stream, is not taken for the
//! answer to the next message on its subject.

use std::collections::BTreeSet;
use std::time::Duration;

use bsp::ChannelId;
use bus::streams::COMMANDS;
use bus::{Headers, Priority, Stored, Subject, headers};
use futures_util::StreamExt;
use tokio::time::Instant;

use crate::harness::{Installation, TIMEOUT};

const MESSAGES: u64 = 300;
/// Further answers after each message: enough for some to come while the next one waits for its own.
const LATE_ANSWERS: usize = 20;

fn subject() -> Subject {
    Subject::Command(Priority::Interactive, ChannelId::parse("channel-0").unwrap())
}

async fn store(installation: &Installation, number: u64) -> Stored {
    let id = format!("c-{number}");
    let headers = || Headers::new().with(headers::MESSAGE_ID, &id);
    let deadline = Instant::now() + Duration::from_secs(5);
    installation.bus.store(&subject(), headers, &number.to_string().into(), deadline).await.unwrap()
}

/// A connection that sees every stored message with its reply subject.
async fn watch(installation: &Installation) -> (async_nats::Client, async_nats::Subscriber) {
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    let seen = client.subscribe(subject().to_text()).await.unwrap();
    // The server has the subscription when it answers a later request of the connection.
    async_nats::jetstream::new(client.clone()).get_stream(COMMANDS.name).await.unwrap();
    (client, seen)
}

async fn reply_of(seen: &mut async_nats::Subscriber) -> async_nats::Subject {
    tokio::time::timeout(TIMEOUT, seen.next()).await.unwrap().unwrap().reply.unwrap()
}

/// The number in the message with that sequence.
async fn number_at(client: &async_nats::Client, sequence: u64) -> u64 {
    let stream = async_nats::jetstream::new(client.clone()).get_stream(COMMANDS.name).await.unwrap();
    let message = stream.get_raw_message(sequence).await.unwrap();
    std::str::from_utf8(&message.payload).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_is_used_again_after_a_plain_acknowledgement_only() {
    let installation = Installation::start().await;
    let (_client, mut seen) = watch(&installation).await;
    let mut subjects = BTreeSet::new();
    for number in 0..20 {
        store(&installation, number).await;
        subjects.insert(reply_of(&mut seen).await.to_string());
    }
    assert_eq!(subjects.len(), 1, "of 20 messages, one after the other: {subjects:?}");

    let again = store(&installation, 7).await;
    assert!(again.is_duplicate());
    assert_eq!(again.sequence(), 8, "that of the first one");
    let of_duplicate = [reply_of(&mut seen).await, reply_of(&mut seen).await];
    assert!(subjects.contains(of_duplicate[0].as_str()));
    assert!(!subjects.contains(of_duplicate[1].as_str()), "stored again under a new subject");
    store(&installation, 20).await;
    let next = reply_of(&mut seen).await;
    assert!(!subjects.contains(next.as_str()) && next != of_duplicate[1], "{next}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_an_earlier_message_is_not_taken_for_that_of_the_next_one() {
    let installation = Installation::start().await;
    let (client, mut seen) = watch(&installation).await;
    let first = store(&installation, 0).await;
    // Each subject that may be used again gets further answers of the first message. No server sends one to a subject that is new.
    let late = format!(r#"{{"stream":"{}","seq":{}}}"#, COMMANDS.name, first.sequence());
    let answering = tokio::spawn({
        let client = client.clone();
        async move {
            let subjects = reply_of(&mut seen).await;
            let prefix = subjects.rsplitn(3, '.').last().unwrap();
            while let Some(message) = seen.next().await {
                let reply = message.reply.unwrap();
                let answers = if reply.starts_with(prefix) { LATE_ANSWERS } else { 0 };
                for _ in 0..answers {
                    client.publish(reply.clone(), late.clone().into()).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    let mut sequences = BTreeSet::from([first.sequence()]);
    for number in 1..MESSAGES {
        let stored = store(&installation, number).await;
        assert_eq!(number_at(&client, stored.sequence()).await, number);
        sequences.insert(stored.sequence());
    }
    answering.abort();
    let info = async_nats::jetstream::new(client).get_stream(COMMANDS.name).await.unwrap();
    assert_eq!(info.cached_info().state.messages, MESSAGES, "each is stored once");
    assert_eq!(sequences.len() as u64, MESSAGES);
}
