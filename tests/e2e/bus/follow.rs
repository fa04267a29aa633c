//! Following a stream as user `timeline`: every message comes once and in order, even if connection,
//! server or consumer are lost, and nothing is needed that this user may not do.

use async_nats::jetstream;
use bsp::ChannelId;
use bus::read::follow::{FollowOptions, Followed, follow, follow_subject};
use bus::streams::{EVENTS, StreamSettings};
use bus::{Bus, EventKind, Headers, Subject, headers, provision};
use futures_util::TryStreamExt;

use crate::harness::files::copy_folder;
use crate::harness::secured::Secured;
use crate::harness::{Installation, TIMEOUT, eventually, within};

/// Size of a message. [`COUNT`] of them are several times what the server sends ahead at first.
const PAYLOAD_BYTES: usize = 8_000;
const COUNT: u64 = 1_000;

struct Stream {
    secured: Secured,
    /// The connection as user `timeline`.
    timeline: Bus,
    normalizer: Bus,
    operator: jetstream::Context,
    stored: u64,
}

impl Stream {
    async fn start() -> Self {
        let secured = Secured::start().await;
        secured.cli("provisioner", &["streams", "apply"]).await;
        let timeline = secured.bus("imchannel-timeline", "timeline").await;
        let normalizer = secured.bus("imchannel-normalizer", "normalizer").await;
        let seed = secured.seed("operator").expose().to_owned();
        let options = async_nats::ConnectOptions::new().nkey(seed);
        let options = options.custom_inbox_prefix("_INBOX_imchannel-operator");
        let operator = jetstream::new(options.connect(secured.nats.url()).await.unwrap());
        Self { secured, timeline, normalizer, operator, stored: 0 }
    }

    async fn store(&mut self, count: u64) {
        self.store_of(count, PAYLOAD_BYTES).await;
    }

    /// Stores messages of a size.
    async fn store_of(&mut self, count: u64, bytes: usize) {
        let bsp = bsp::registry::find("infobip").unwrap().profile().id;
        let subject = Subject::Event(EventKind::Report, bsp, ChannelId::parse("channel-0").unwrap());
        let payload = vec![b'x'; bytes].into();
        for _ in 0..count {
            self.stored += 1;
            let id = self.stored.to_string();
            let headers = || Headers::new().with(headers::MESSAGE_ID, &id);
            let deadline = tokio::time::Instant::now() + TIMEOUT;
            self.normalizer.store(&subject, headers, &payload, deadline).await.unwrap();
        }
    }

    fn follow(&self, options: FollowOptions) -> Followed {
        follow(&self.timeline, &EVENTS, options)
    }

    /// The consumers but the back end's durable.
    async fn consumers(&self) -> Vec<String> {
        let stream = self.operator.get_stream(EVENTS.name).await.unwrap();
        let names: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
        names.into_iter().filter(|name| name != "aicc").collect()
    }

    async fn delete_consumers(&self) {
        for name in self.consumers().await {
            self.operator.delete_consumer_from_stream(name, EVENTS.name).await.unwrap();
        }
    }
}

/// Reads the messages with these sequences, and none other.
async fn take(followed: &mut Followed, sequences: std::ops::RangeInclusive<u64>) {
    for sequence in sequences {
        let read = loop {
            // An error while the server is away is followed by another attempt.
            if let Ok(read) = tokio::time::timeout(TIMEOUT, followed.next()).await.unwrap() {
                break read;
            }
        };
        assert_eq!(read.delivery.sequence, sequence);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_followed_through_lost_consumers_and_a_restarted_server() {
    let mut stream = Stream::start().await;
    stream.store(COUNT).await;
    let mut followed = stream.follow(FollowOptions::default());
    take(&mut followed, 1..=10).await;
    // What was sent ahead of the reader is lost with the consumer, or comes: neither is left out or repeated.
    stream.delete_consumers().await;
    take(&mut followed, 11..=COUNT - 10).await;
    stream.secured.nats.kill().await;
    stream.secured.nats.start_again().await.unwrap();
    take(&mut followed, COUNT - 9..=COUNT).await;
    stream.store(10).await;
    take(&mut followed, COUNT + 1..=COUNT + 10).await;
    // It is idle when its consumer disappears.
    stream.delete_consumers().await;
    stream.store(10).await;
    take(&mut followed, COUNT + 11..=COUNT + 20).await;
    assert_eq!(stream.secured.refusals(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn following_begins_where_it_is_told_and_leaves_no_consumer_behind() {
    let mut stream = Stream::start().await;
    stream.store(10).await;
    let options = FollowOptions { headers_only: true, next_sequence: 8 };
    let mut followed = stream.follow(options);
    let read = followed.next().await.unwrap();
    assert_eq!((read.delivery.sequence, read.pending), (8, 2));
    assert!(read.delivery.payload.is_empty());
    assert_eq!(read.delivery.message_id(), Some("8"));
    drop(followed);
    within(2 * TIMEOUT, "the server deletes consumers to which no client listens", || async {
        stream.consumers().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(stream.secured.refusals(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_created_again_is_noticed_while_it_is_shorter() {
    let installation = Installation::start().await;
    let bsp = bsp::registry::find("infobip").unwrap().profile().id;
    let subject = Subject::Event(EventKind::Report, bsp, ChannelId::parse("channel-0").unwrap());
    let store = async |id: &str| {
        let headers = || Headers::new().with(headers::MESSAGE_ID, id);
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        installation.bus.store(&subject, headers, &b"x".to_vec().into(), deadline).await.unwrap();
    };
    for id in ["1", "2", "3"] {
        store(id).await;
    }
    let mut followed = follow(&installation.bus, &EVENTS, FollowOptions::default());
    take(&mut followed, 1..=3).await;
    assert!(followed.next_or_end().await.unwrap().is_none() && !followed.has_gone_back());
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    let client = jetstream::new(client);
    client.delete_stream(EVENTS.name).await.unwrap();
    provision::apply(&installation.bus, &StreamSettings::default()).await.unwrap();
    client.publish(subject.to_text(), "x".into()).await.unwrap().await.unwrap();
    let notice =
        async { while !matches!(followed.next_or_end().await, Ok(None)) || !followed.has_gone_back() {} };
    tokio::time::timeout(3 * TIMEOUT, notice).await.expect("the reader finds the other stream");
    assert!(followed.next().await.is_err(), "what comes now is incomplete");
}

/// The other stream has every sequence that was read.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_created_again_and_has_more_messages_is_noticed_by_its_time() {
    let installation = Installation::start().await;
    let bsp = bsp::registry::find("infobip").unwrap().profile().id;
    let subject = Subject::Event(EventKind::Report, bsp, ChannelId::parse("channel-0").unwrap());
    let client = jetstream::new(async_nats::connect(installation.nats.url()).await.unwrap());
    let store = async |count: usize| {
        for _ in 0..count {
            client.publish(subject.to_text(), "x".into()).await.unwrap().await.unwrap();
        }
    };
    let hour = jiff::SignedDuration::from_hours(1);
    let since = jiff::Timestamp::now().checked_sub(hour).unwrap();
    store(3).await;
    let mut followed = follow_subject(&installation.bus, &EVENTS, &subject, since);
    take(&mut followed, 1..=3).await;
    assert!(followed.next_or_end().await.unwrap().is_none() && !followed.has_gone_back());
    // Another consumer of the same stream is nothing new.
    let stream = client.get_stream(EVENTS.name).await.unwrap();
    let names: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
    for name in names.iter().filter(|name| name.starts_with("reconciler")) {
        stream.delete_consumer(name).await.unwrap();
    }
    store(1).await;
    take(&mut followed, 4..=4).await;
    assert!(followed.next_or_end().await.unwrap().is_none() && !followed.has_gone_back());
    client.delete_stream(EVENTS.name).await.unwrap();
    provision::apply(&installation.bus, &StreamSettings::default()).await.unwrap();
    store(9).await;
    let notice = async { while !matches!(followed.next_or_end().await, Ok(None)) {} };
    tokio::time::timeout(3 * TIMEOUT, notice).await.expect("the reader finds the other stream");
    assert!(followed.has_gone_back(), "it went on after the sequence that it had read");
    drop(followed);
    let mut again = follow_subject(&installation.bus, &EVENTS, &subject, since);
    take(&mut again, 1..=9).await;
    assert!(again.next_or_end().await.unwrap().is_none() && !again.has_gone_back());
}

/// Such a stream keeps its time of creation.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_a_stream_is_noticed_by_its_end_or_by_its_messages() {
    let mut installation = Installation::start().await;
    let bsp = bsp::registry::find("infobip").unwrap().profile().id;
    let subject = Subject::Event(EventKind::Report, bsp, ChannelId::parse("channel-0").unwrap());
    let since = jiff::Timestamp::now().checked_sub(jiff::SignedDuration::from_hours(1)).unwrap();
    let (streams, backup) =
        (installation.folder().join("nats/jetstream"), installation.folder().join("backup"));
    store_bare(&installation, &subject, 2).await;
    installation.nats.stop().await;
    copy_folder(&streams, &backup);
    installation.nats.start_again().await.unwrap();
    store_bare(&installation, &subject, 3).await;
    let mut whole = follow(&installation.bus, &EVENTS, FollowOptions::default());
    let mut of_subject = follow_subject(&installation.bus, &EVENTS, &subject, since);
    let mut later = follow_subject(&installation.bus, &EVENTS, &subject, since);
    for followed in [&mut whole, &mut of_subject, &mut later] {
        take(followed, 1..=5).await;
    }
    // The same stream after a restart, without the message that was read last.
    let client = jetstream::new(async_nats::connect(installation.nats.url()).await.unwrap());
    client.get_stream(EVENTS.name).await.unwrap().delete_message(5).await.unwrap();
    installation.nats.stop().await;
    installation.nats.start_again().await.unwrap();
    store_bare(&installation, &subject, 1).await;
    for followed in [&mut whole, &mut of_subject, &mut later] {
        take(followed, 6..=6).await;
        assert!(followed.next_or_end().await.unwrap().is_none() && !followed.has_gone_back());
    }
    installation.nats.stop().await;
    std::fs::remove_dir_all(&streams).unwrap();
    copy_folder(&backup, &streams);
    installation.nats.start_again().await.unwrap();
    until_gone_back(&mut whole).await;
    until_gone_back(&mut of_subject).await;
    // Before this reader has a consumer again, the stream has as many messages as were read.
    store_bare(&installation, &subject, 8).await;
    until_gone_back(&mut later).await;
}

/// Stores messages without the checks of the gateway.
async fn store_bare(installation: &Installation, subject: &Subject, count: usize) {
    let client = jetstream::new(async_nats::connect(installation.nats.url()).await.unwrap());
    for _ in 0..count {
        client.publish(subject.to_text(), "x".into()).await.unwrap().await.unwrap();
    }
}

async fn until_gone_back(followed: &mut Followed) {
    let notice = async {
        while !followed.has_gone_back() {
            // An error while the server is away is followed by another attempt.
            if let Ok(Some(read)) = followed.next_or_end().await {
                panic!("sequence {} of the other stream was read", read.delivery.sequence);
            }
        }
    };
    tokio::time::timeout(2 * TIMEOUT, notice).await.expect("the reader finds that it was restored");
}

/// As user `sender`, which reads two kinds of events of its channels, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_reads_the_reports_of_one_channel_and_no_message_of_a_customer() {
    let mut stream = Stream::start().await;
    let sender = stream.secured.bus("imchannel-sender", "sender").await;
    let bsp = bsp::registry::find("infobip").unwrap().profile().id;
    let event = |kind, channel: &str| Subject::Event(kind, bsp, ChannelId::parse(channel).unwrap());
    let hour = jiff::SignedDuration::from_hours(1);
    let since = jiff::Timestamp::now().checked_sub(hour).unwrap();
    let reports = event(EventKind::Report, "channel-0");
    stream.store(5).await;
    let mut followed = follow_subject(&sender, &EVENTS, &reports, since);
    take(&mut followed, 1..=5).await;
    assert!(followed.next_or_end().await.unwrap().is_none(), "a message is left");
    let store = async |subject: Subject| {
        let headers = || Headers::new().with(headers::MESSAGE_ID, "of-the-sender");
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        sender.store(&subject, headers, &b"x".to_vec().into(), deadline).await.unwrap();
    };
    store(event(EventKind::SendResult, "channel-0")).await;
    stream.store(2).await;
    let mut results = follow_subject(&sender, &EVENTS, &event(EventKind::SendResult, "channel-0"), since);
    take(&mut results, 6..=6).await;
    take(&mut followed, 7..=8).await;
    drop((results, followed));
    within(2 * TIMEOUT, "the server deletes consumers to which no client listens", || async {
        stream.consumers().await.is_empty().then_some(())
    })
    .await;
    // A later start leaves out what was stored before it.
    let tomorrow = jiff::Timestamp::now().checked_add(24 * hour).unwrap();
    let mut later = follow_subject(&sender, &EVENTS, &reports, tomorrow);
    assert!(later.next_or_end().await.unwrap().is_none());
    assert_eq!(stream.secured.refusals(), Vec::<String>::new());
    let mut refused = follow_subject(&sender, &EVENTS, &event(EventKind::Message, "channel-0"), since);
    assert!(refused.next_or_end().await.is_err());
    assert!(stream.secured.refusals().iter().any(|line| line.contains("imchannel.event.message")));
}

/// Two processes that follow the same stream disturb each other, and both read everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_reader_takes_nothing_from_the_first() {
    let mut stream = Stream::start().await;
    stream.store(20).await;
    let mut first = stream.follow(FollowOptions::default());
    take(&mut first, 1..=10).await;
    let mut second = stream.follow(FollowOptions::default());
    take(&mut second, 1..=20).await;
    stream.store(10).await;
    take(&mut first, 11..=30).await;
    take(&mut second, 21..=30).await;
}

/// What the client holds is bounded, also where the reader takes nothing for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_not_sent_the_whole_stream() {
    let mut stream = Stream::start().await;
    stream.store(COUNT).await;
    let mut followed = stream.follow(FollowOptions::default());
    take(&mut followed, 1..=1).await;
    let info = eventually("the server has sent ahead", || async {
        let name = stream.consumers().await.pop()?;
        let consumer: jetstream::consumer::PushConsumer =
            stream.operator.get_consumer_from_stream(name, EVENTS.name).await.ok()?;
        let info = consumer.cached_info().clone();
        (info.delivered.stream_sequence > 100).then_some(info)
    })
    .await;
    assert!(info.config.durable_name.is_none());
    assert!(info.num_pending > COUNT / 2, "{} of {COUNT} are not sent", info.num_pending);
    take(&mut followed, 2..=COUNT).await;
}

/// The server would send up to 32 MiB ahead of a reader that has read much before it stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_after_much_was_read_is_not_sent_more_than_its_window() {
    const SENT_AHEAD_MAX: u64 = 9 * 1024 * 1024;
    const BIG_BYTES: usize = 60_000;
    const BIG_COUNT: u64 = 1_000;
    const READ: u64 = 600;
    let mut stream = Stream::start().await;
    stream.store_of(BIG_COUNT, BIG_BYTES).await;
    let mut followed = stream.follow(FollowOptions::default());
    take(&mut followed, 1..=READ).await;
    let before = std::cell::Cell::new(0);
    let sent = eventually("the server sends no more", || async {
        let name = stream.consumers().await.pop()?;
        let consumer: jetstream::consumer::PushConsumer =
            stream.operator.get_consumer_from_stream(name, EVENTS.name).await.ok()?;
        let sent = consumer.cached_info().delivered.stream_sequence;
        (before.replace(sent) == sent && sent > READ).then_some(sent)
    })
    .await;
    let ahead = (sent - READ) * BIG_BYTES as u64;
    assert!(ahead <= SENT_AHEAD_MAX, "{ahead} bytes were sent ahead");
    take(&mut followed, READ + 1..=BIG_COUNT).await;
    assert_eq!(stream.secured.refusals(), Vec::<String>::new());
}
