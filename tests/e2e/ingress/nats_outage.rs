//! While NATS is unreachable, ingress answers 503 within the BSP's deadline and never 200, and it works again within
//! two seconds of the server's return, without a restart.

use std::time::Duration;

use bus::streams::{COMMANDS, StreamSettings};
use bus::{Bus, Headers, Priority, PublishError, Stored, Subject, headers, inspect, provision};
use tokio::time::Instant;

use crate::harness::cluster::Cluster;
use crate::harness::outbound::channel;
use crate::harness::{Installation, Webhook, bus_options, eventually, exclusive, within};

fn body(number: usize) -> String {
    format!(
        r#"{{"results":[{{"messageId":"m-{number}","to":"49151","status":{{"groupName":"DELIVERED"}}}}]}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_answered_503_and_ends_by_itself() {
    let _alone = exclusive().await;
    let mut installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    assert_eq!(Webhook::infobip(body(0)).post(ingress.address).await.status.as_u16(), 200);

    for round in 1..=2 {
        // Once as a crash, once as a graceful stop.
        if round == 1 {
            installation.nats.kill().await;
        } else {
            installation.nats.stop().await;
        }
        for number in 0..3 {
            let began = Instant::now();
            let answer = Webhook::infobip(body(100 * round + number)).post(ingress.address).await;
            assert_eq!(answer.status.as_u16(), 503, "{answer:?}");
            assert!(answer.headers.contains_key("retry-after"));
            assert!(
                began.elapsed() < Duration::from_millis(2500),
                "Infobip's deadline is 2 s: {:?}",
                began.elapsed()
            );
        }
        // The channels are still cached: a wrong password is still detected.
        let wrong = Webhook::infobip(body(0)).header("accountkey", "wrong").post(ingress.address).await;
        assert_eq!(wrong.status.as_u16(), 401);
        assert!(!ingress.context.readiness.is_ready());

        installation.nats.start_again().await.unwrap();
        let webhook = Webhook::infobip(body(200 * round));
        within(Duration::from_secs(2), "ingress serves again", || async {
            (webhook.post(ingress.address).await.status.as_u16() == 200).then_some(())
        })
        .await;
        ingress.until_ready().await;
    }
    // Twilio's webhooks wait longer, because Twilio would not retry them: the server returns during that time.
    installation.nats.kill().await;
    let address = ingress.address;
    let waiting =
        tokio::spawn(async move { Webhook::twilio("MessageSid=SM1&MessageStatus=read").post(address).await });
    let began = Instant::now();
    assert_eq!(Webhook::infobip(body(999)).post(ingress.address).await.status.as_u16(), 503);
    assert!(began.elapsed() > Duration::from_secs(1), "a webhook waits for the server as long as it may");
    installation.nats.start_again().await.unwrap();
    assert_eq!(waiting.await.unwrap().status.as_u16(), 200);

    installation.until_processed().await;
    let ids: Vec<_> = installation.reports().await.into_iter().map(|report| report.message_id).collect();
    for answered_200 in ["m-0", "m-200", "m-400", "SM1"] {
        assert!(ids.iter().any(|id| id == answered_200), "{answered_200} is not among {ids:?}");
    }
    normalizer.stop().await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_answered_503_by_every_deadline() {
    let _alone = exclusive().await;
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    installation.nats.suspend().await;
    let report = r#"{"sender":"1","user_number":"2","message_id":"k","status":"read"}"#;
    let webhooks = [
        (Webhook::infobip(body(1)), 2),
        (Webhook::koomessage(report), 2),
        (Webhook::gupshup("{}"), 8),
        (Webhook::twilio("MessageSid=SM1&MessageStatus=read"), 12),
    ];
    let posting = webhooks.map(|(webhook, deadline_s)| {
        let address = ingress.address;
        tokio::spawn(async move {
            let began = Instant::now();
            let status = webhook.post(address).await.status.as_u16();
            (status, deadline_s, began.elapsed())
        })
    });
    for posted in posting {
        let (status, deadline_s, took) = posted.await.unwrap();
        assert_eq!(status, 503);
        assert!(took <= Duration::from_millis(deadline_s * 1000 + 500), "{took:?}, not {deadline_s} s");
    }
    installation.nats.resume().await;
    let webhook = Webhook::infobip(body(2));
    eventually("ingress serves again", || async {
        (webhook.post(ingress.address).await.status.as_u16() == 200).then_some(())
    })
    .await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ingress_starts_before_the_server_does() {
    let mut installation = Installation::start().await;
    installation.nats.stop().await;
    let ingress = installation.ingress_with(&[]).await;
    assert_eq!(Webhook::infobip(body(1)).post(ingress.address).await.status.as_u16(), 503);
    installation.nats.start_again().await.unwrap();
    ingress.until_ready().await;
    assert_eq!(Webhook::infobip(body(1)).post(ingress.address).await.status.as_u16(), 200);
    ingress.stop().await;
}

/// Stores a message, always the same one under the same id.
async fn store(bus: &Bus) -> Result<Stored, PublishError> {
    let subject = Subject::Command(Priority::Interactive, channel(0));
    let headers = || Headers::new().with(headers::MESSAGE_ID, "one");
    bus.store(&subject, headers, &"{}".into(), Instant::now() + Duration::from_secs(2)).await
}

/// The number of the server that leads a replicated stream.
async fn leader(url: &str, stream: &str) -> Option<usize> {
    let jetstream = async_nats::jetstream::new(async_nats::connect(url).await.ok()?);
    let stream = jetstream.get_stream(stream).await.ok()?;
    let name = stream.cached_info().cluster.as_ref()?.leader.clone()?;
    name.strip_prefix('n')?.parse().ok()
}

/// A leader of nats-server 2.10 answers the second attempt under one id as a duplicate although it has stored nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_majority_has_stored_nothing() {
    let _alone = exclusive().await;
    let mut cluster = Cluster::start().await;
    let url = cluster.servers[0].url();
    let bus = Bus::connect_now(&bus_options("test", &url)).await.unwrap();
    let settings = StreamSettings { replicas: 3, ..StreamSettings::default() };
    within(Duration::from_secs(90), "streams are made", || async {
        provision::apply(&bus, &settings).await.ok()
    })
    .await;
    let leading = eventually("COMMANDS has a leader", || leader(&url, COMMANDS.name)).await;
    let bus = Bus::connect_now(&bus_options("test", cluster.servers[leading].url())).await.unwrap();
    let others: Vec<usize> = (0..cluster.servers.len()).filter(|number| *number != leading).collect();
    for number in &others {
        cluster.servers[*number].kill().await;
    }
    for _ in 0..2 {
        let outcome = store(&bus).await;
        assert!(outcome.is_err(), "{outcome:?}");
    }
    for number in others {
        cluster.servers[number].start_again().await.unwrap();
    }
    let stored = within(Duration::from_secs(90), "it is stored", || async { store(&bus).await.ok() }).await;
    assert_eq!(stored.sequence(), 1);
}

/// `imchannel doctor` tells this from a request that the server does not permit, which gets no answer.
#[tokio::test(flavor = "multi_thread")]
async fn jetstream_answers_that_the_stream_of_a_stopped_server_is_offline() {
    let _alone = exclusive().await;
    let mut cluster = Cluster::start().await;
    let url = cluster.servers[0].url();
    let bus = Bus::connect_now(&bus_options("test", &url)).await.unwrap();
    within(Duration::from_secs(90), "streams are made", || async {
        provision::apply(&bus, &StreamSettings::default()).await.ok()
    })
    .await;
    assert!(inspect::streams(&bus).await.is_ok());
    let leading = eventually("COMMANDS has a leader", || leader(&url, COMMANDS.name)).await;
    cluster.servers[leading].stop().await;
    let other = (leading + 1) % cluster.servers.len();
    let bus = Bus::connect_now(&bus_options("test", cluster.servers[other].url())).await.unwrap();
    within(Duration::from_secs(60), "the stream is offline", || async {
        inspect::streams(&bus).await.err()?.is_jetstream_error().then_some(())
    })
    .await;
}
