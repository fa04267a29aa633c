//! The spool: while the bus is away or full, webhooks of BSPs that may not post them again are answered 200 from the disk,
//! and come out once by their ids when the bus is back, in order, also after a SIGKILL.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bus::streams::StreamSettings;
use futures_util::StreamExt;
use tokio::time::Instant;

use crate::harness::slow_bus::{Slow, SlowBus};
use crate::harness::{
    Answer, CHANNELS, Installation, Program, RunningIngress, Webhook, eventually, exclusive, within,
};

/// Longest time that a webhook may take while the bus is away.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A duplicate window in which no repeat of a test is.
fn short_window() -> StreamSettings {
    StreamSettings { duplicate_window: Duration::from_millis(100), ..StreamSettings::default() }
}

fn infobip(number: usize) -> Webhook {
    Webhook::infobip(format!(
        r#"{{"results":[{{"messageId":"m-{number}","to":"49151","status":{{"groupName":"DELIVERED"}}}}]}}"#
    ))
}

fn koomessage(number: usize) -> Webhook {
    Webhook::koomessage(format!(
        r#"{{"sender":"1","user_number":"2","message_id":"koo-{number}","status":"read"}}"#
    ))
}

fn twilio(number: usize) -> Webhook {
    Webhook::twilio(format!("MessageSid=SM-{number}&MessageStatus=read"))
}

fn folder(installation: &Installation) -> PathBuf {
    installation.folder().join("spool")
}

async fn ingress(installation: &Installation, settings: &[(&'static str, &str)]) -> RunningIngress {
    let folder = folder(installation);
    let spool = [("spool-dir", folder.to_str().unwrap())];
    let settings: Vec<_> = spool.into_iter().chain(settings.iter().copied()).collect();
    let ingress = installation.ingress_with(&settings).await;
    ingress.until_ready().await;
    ingress
}

/// Ingress as a process, that can be killed.
async fn program(installation: &Installation) -> (Program, SocketAddr) {
    let folder = folder(installation);
    let variables =
        [("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0"), ("IMCHANNEL_SPOOL_DIR", folder.to_str().unwrap())];
    let mut program = Program::start("imchannel-ingress", installation, &variables);
    let address = program.address_after("accepts webhooks on").await.parse().unwrap();
    (program, address)
}

/// Posts until the channels are read.
async fn until_accepted(address: SocketAddr, webhook: &Webhook) {
    eventually("ingress accepts a webhook", || async {
        let answer = webhook.try_post(address).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
}

/// Posts them, this number at a time: a test on a busy machine measures ingress, not its own clients.
const POSTS_IN_FLIGHT: usize = 32;

async fn post_all(address: SocketAddr, webhooks: Vec<Webhook>) -> Vec<(Answer, Duration)> {
    let posting = webhooks.into_iter().map(|webhook| async move {
        let began = Instant::now();
        (webhook.post(address).await, began.elapsed())
    });
    futures_util::stream::iter(posting).buffer_unordered(POSTS_IN_FLIGHT).collect().await
}

fn assert_spooled(answers: &[(Answer, Duration)]) {
    for (answer, took) in answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(*took < AT_ONCE, "{took:?}");
    }
}

/// Waits until the bus is known to be away: then a webhook is answered from the disk at once.
async fn until_away(ingress: &RunningIngress) {
    let bus = ingress.context.bus.clone();
    eventually("the bus is away", || async { bus.is_away().then_some(()) }).await;
}

/// The ids of the events of each message.
async fn ids(installation: &Installation) -> BTreeMap<String, BTreeSet<String>> {
    let mut ids = BTreeMap::<_, BTreeSet<_>>::new();
    for report in installation.reports().await {
        ids.entry(report.message_id).or_default().insert(report.event_id);
    }
    ids
}

/// Waits until every message has its event, and checks that it is one by its id.
async fn until_all_come_out_once(installation: &Installation, messages: &[String]) {
    within(Duration::from_secs(60), "every event has come out", || async {
        let ids = ids(installation).await;
        messages.iter().all(|message| ids.contains_key(message)).then_some(())
    })
    .await;
    installation.until_processed().await;
    let ids = ids(installation).await;
    for message in messages {
        assert_eq!(ids[message].len(), 1, "{message}: {:?}", ids[message]);
    }
}

fn metric(ingress: &RunningIngress, line: &str) -> u64 {
    let text = ingress.metrics();
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {line} in\n{text}")).parse::<f64>().unwrap() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_of_an_outage_are_answered_200_at_once_and_come_out_once() {
    let _alone = exclusive().await;
    let mut installation = Installation::start_with(&short_window()).await;
    let ingress = ingress(&installation, &[]).await;
    let normalizer = installation.normalizer().await;
    installation.nats.kill().await;
    until_away(&ingress).await;

    let webhooks = (0..200).flat_map(|number| [koomessage(number), twilio(number)]).collect();
    assert_spooled(&post_all(ingress.address, webhooks).await);
    // One that the BSP posts again is spooled again, under the same id.
    assert_spooled(&post_all(ingress.address, vec![twilio(0), twilio(0)]).await);
    assert_eq!(metric(&ingress, "ingress_spool_spooled_total{bsp=\"twilio\"}"), 202);
    assert_eq!(metric(&ingress, "ingress_requests_total{bsp=\"twilio\",outcome=\"spooled\"}"), 202);
    // Infobip posts again for 41 hours.
    assert_eq!(infobip(1).post(ingress.address).await.status, 503);
    // A stranger writes nothing to the disk.
    let wrong = twilio(0).header("authorization", "basic d3Jvbmc6d3Jvbmc=").post(ingress.address).await;
    assert_eq!(wrong.status, 401);
    eventually("the gauges are shown", || async {
        (metric(&ingress, "ingress_spool_entries") == 402).then_some(())
    })
    .await;

    installation.nats.start_again().await.unwrap();
    let messages: Vec<_> =
        (0..200).flat_map(|number| [format!("koo-{number}"), format!("SM-{number}")]).collect();
    until_all_come_out_once(&installation, &messages).await;
    eventually("nothing is left on the disk", || async {
        let is_empty = metric(&ingress, "ingress_spool_entries") == 0;
        (is_empty && metric(&ingress, "ingress_spool_size_bytes") == 0).then_some(())
    })
    .await;
    assert_eq!(metric(&ingress, "ingress_spool_drained_total"), 402);
    ingress.stop().await;
    normalizer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_can_say_whether_it_spools() {
    let mut installation = Installation::start().await;
    let channels = CHANNELS
        .replace("bsp = \"koomessage\"", "bsp = \"koomessage\"\nspool = false")
        .replace("bsp = \"infobip\"", "bsp = \"infobip\"\nspool = true");
    installation.apply_channels(&channels).await;
    let ingress = ingress(&installation, &[]).await;
    installation.nats.kill().await;
    until_away(&ingress).await;
    assert_eq!(infobip(1).post(ingress.address).await.status, 200);
    let began = Instant::now();
    assert_eq!(koomessage(1).post(ingress.address).await.status, 503);
    assert!(began.elapsed() > Duration::from_millis(1_500), "it waits for the bus as long as it may");
    installation.nats.start_again().await.unwrap();
    eventually("it is published", || async {
        (metric(&ingress, "ingress_spool_drained_total") == 1).then_some(())
    })
    .await;
    ingress.stop().await;
}

/// The bus goes away while webhooks wait for its acknowledgment. They do not wait for their deadline of 12 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_in_progress_is_spooled_when_the_bus_goes_away() {
    let _alone = exclusive().await;
    let mut installation = Installation::start().await;
    let ingress = ingress(&installation, &[]).await;
    installation.nats.suspend().await;
    let address = ingress.address;
    let posting = tokio::spawn(async move { post_all(address, (0..20).map(twilio).collect()).await });
    eventually("they wait for the bus", || async {
        (metric(&ingress, "ingress_requests_in_flight") == 20).then_some(())
    })
    .await;
    let began = Instant::now();
    installation.nats.kill().await;
    for (answer, _) in posting.await.unwrap() {
        assert_eq!(answer.status, 200);
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    installation.nats.start_again().await.unwrap();
    eventually("they are published", || async {
        (metric(&ingress, "ingress_spool_drained_total") == 20).then_some(())
    })
    .await;
    ingress.stop().await;
}

/// A server that hangs keeps its connection: the spool takes what is in flight when nothing was acknowledged for half a second.
#[tokio::test(flavor = "multi_thread")]
async fn webhooks_in_flight_are_spooled_when_the_bus_falls_silent() {
    let _alone = exclusive().await;
    let installation = Installation::start_with(&short_window()).await;
    let ingress = ingress(&installation, &[]).await;
    let normalizer = installation.normalizer().await;
    // One after the other, so that each is alone in flight, and then many at the same time.
    assert_eq!(koomessage(0).post(ingress.address).await.status, 200);
    installation.nats.suspend().await;
    for number in 1..3 {
        assert_spooled(&post_all(ingress.address, vec![twilio(number)]).await);
    }
    assert_spooled(&post_all(ingress.address, (1..100).map(koomessage).collect()).await);
    installation.nats.resume().await;
    // The server stores what was given up too. The copy from the spool gives the same event.
    eventually("it is drained", || async {
        (metric(&ingress, "ingress_spool_drained_total") >= 101).then_some(())
    })
    .await;
    let reports = (0..100).map(|number| format!("koo-{number}"));
    until_all_come_out_once(
        &installation,
        &reports.chain(["SM-1".to_owned(), "SM-2".to_owned()]).collect::<Vec<_>>(),
    )
    .await;
    // It stores again, and does not only spool.
    let spooled = metric(&ingress, "ingress_spool_drained_total");
    assert_eq!(koomessage(100).post(ingress.address).await.status, 200);
    assert_eq!(metric(&ingress, "ingress_spool_drained_total"), spooled);
    ingress.stop().await;
    normalizer.stop().await;
}

/// A stream that is slower than its webhooks: those without an acknowledgment or a permit are spooled at their deadline.
#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_stream_has_webhooks_spooled() {
    let _alone = exclusive().await;
    let installation = Installation::start_with(&short_window()).await;
    let slow = Slow { prefix: "imchannel.webhook.", each: Duration::from_millis(20), stall: None };
    let bus = SlowBus::start(&installation.nats.url(), slow).await;
    let folder = folder(&installation);
    let ingress = installation.ingress_on(&bus.url, &[("spool-dir", folder.to_str().unwrap())]).await;
    ingress.until_ready().await;
    // Fifty a second are stored, so that a hundred are before the deadline of 2 s.
    let address = ingress.address;
    let posting = (0..300).map(|number| async move { koomessage(number).post(address).await.status });
    let statuses = futures_util::future::join_all(posting).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert!(metric(&ingress, "ingress_spool_spooled_total{bsp=\"koomessage\"}") > 0);
    let normalizer = installation.normalizer().await;
    let messages: Vec<_> = (0..300).map(|number| format!("koo-{number}")).collect();
    until_all_come_out_once(&installation, &messages).await;
    ingress.stop().await;
    normalizer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhooks_of_a_channel_leave_the_spool_in_order_and_new_ones_do_not_wait() {
    let _alone = exclusive().await;
    let mut installation = Installation::start_with(&short_window()).await;
    let ingress = ingress(&installation, &[("spool-drain-rate", "40")]).await;
    installation.nats.kill().await;
    until_away(&ingress).await;
    const SPOOLED: usize = 100;
    for number in 0..SPOOLED {
        assert_eq!(twilio(number).post(ingress.address).await.status, 200);
        assert_eq!(koomessage(number).post(ingress.address).await.status, 200);
    }
    installation.nats.start_again().await.unwrap();
    let new = twilio(SPOOLED);
    within(Duration::from_secs(4), "a new webhook is stored by the bus", || async {
        let answer = new.post(ingress.address).await;
        let on_bus = metric(&ingress, "ingress_requests_total{bsp=\"twilio\",outcome=\"stored\"}");
        (answer.status == 200 && on_bus > 0).then_some(())
    })
    .await;
    assert!(
        metric(&ingress, "ingress_spool_drained_total") < 2 * SPOOLED as u64,
        "it has not waited for the drain"
    );
    eventually("the spool is drained", || async {
        (metric(&ingress, "ingress_spool_drained_total") >= 2 * SPOOLED as u64).then_some(())
    })
    .await;
    for bsp in ["twilio", "koomessage"] {
        let subject = format!("imchannel.webhook.{bsp}.{bsp}-demo");
        let stored = installation.webhooks().await.into_iter().filter(|webhook| *webhook.subject == subject);
        let new = new.body().to_owned();
        let bodies: Vec<_> =
            stored.map(|webhook| webhook.payload.to_vec()).filter(|body| *body != new).collect();
        let posted = |number| if bsp == "twilio" { twilio(number) } else { koomessage(number) };
        let expected: Vec<_> = (0..SPOOLED).map(|number| posted(number).body().to_owned()).collect();
        assert_eq!(bodies.len(), SPOOLED);
        assert!(bodies == expected, "the webhooks of {bsp} are not in order");
    }
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_has_webhooks_spooled_until_it_has_room() {
    let _alone = exclusive().await;
    let settings = StreamSettings { webhooks_max_bytes: 2 * 1024 * 1024, ..short_window() };
    let installation = Installation::start_with(&settings).await;
    let ingress = ingress(&installation, &[("purge-interval", "100ms")]).await;
    let large = |number| {
        let text = "x".repeat(100_000);
        Webhook::infobip(format!(
            r#"{{"results":[{{"messageId":"m-{number}","to":"49151","status":{{"groupName":"DELIVERED","description":"{text}"}}}}]}}"#
        ))
    };
    let mut number = 0;
    within(Duration::from_secs(60), "the stream is full", || {
        number += 1;
        let webhook = large(number);
        let address = ingress.address;
        async move { (webhook.post(address).await.status == 503).then_some(()) }
    })
    .await;
    assert!(ingress.context.readiness.is_ready());
    assert_spooled(
        &post_all(ingress.address, (0..20).flat_map(|number| [twilio(number), koomessage(number)]).collect())
            .await,
    );
    assert_eq!(metric(&ingress, "ingress_spool_drained_total"), 0);
    let normalizer = installation.normalizer().await;
    let messages: Vec<_> =
        (0..20).flat_map(|number| [format!("koo-{number}"), format!("SM-{number}")]).collect();
    until_all_come_out_once(&installation, &messages).await;
    ingress.stop().await;
    normalizer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_200_survives_a_sigkill() {
    let _alone = exclusive().await;
    let mut installation = Installation::start_with(&short_window()).await;
    let normalizer = installation.normalizer().await;
    let (mut first, address) = program(&installation).await;
    until_accepted(address, &twilio(999)).await;
    // A killed server loses acknowledgments, and delivers webhooks again after 30 s.
    installation.until_processed().await;
    installation.nats.stop().await;
    first.line_with("disconnected from NATS").await;
    let webhooks: Vec<_> = (0..100).flat_map(|number| [koomessage(number), twilio(number)]).collect();
    for (answer, _) in post_all(address, webhooks).await {
        assert_eq!(answer.status, 200);
    }
    first.kill().await;

    let (mut second, _) = program(&installation).await;
    installation.nats.start_again().await.unwrap();
    let mut messages: Vec<_> =
        (0..100).flat_map(|number| [format!("koo-{number}"), format!("SM-{number}")]).collect();
    until_all_come_out_once(&installation, &messages).await;
    // Killed when everything is acknowledged, and perhaps not removed yet: it may go out again, under the same ids.
    second.kill().await;
    let (mut third, address) = program(&installation).await;
    until_accepted(address, &twilio(100)).await;
    messages.push("SM-100".to_owned());
    until_all_come_out_once(&installation, &messages).await;
    eventually("nothing is left on the disk", || async {
        let states = spool::inspect(&folder(&installation)).unwrap();
        states.iter().all(|state| state.entries == 0).then_some(())
    })
    .await;
    assert!(third.stop().await);
    normalizer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_drains_the_spool_of_one_that_has_ended() {
    let _alone = exclusive().await;
    let mut installation = Installation::start_with(&short_window()).await;
    let normalizer = installation.normalizer().await;
    let (mut first, first_address) = program(&installation).await;
    let (mut second, second_address) = program(&installation).await;
    until_accepted(first_address, &twilio(990)).await;
    until_accepted(second_address, &twilio(991)).await;
    // A killed server loses acknowledgments, and delivers webhooks again after 30 s.
    installation.until_processed().await;
    installation.nats.stop().await;
    first.line_with("disconnected from NATS").await;
    second.line_with("disconnected from NATS").await;
    for (answer, _) in post_all(first_address, (0..50).map(twilio).collect()).await {
        assert_eq!(answer.status, 200);
    }
    for (answer, _) in post_all(second_address, (0..50).map(koomessage).collect()).await {
        assert_eq!(answer.status, 200);
    }
    let found = spool::inspect(&folder(&installation)).unwrap();
    assert_eq!(
        found.iter().map(|state| (state.has_owner, state.entries)).collect::<Vec<_>>(),
        [(true, 50); 2]
    );
    first.kill().await;
    let found = spool::inspect(&folder(&installation)).unwrap();
    assert_eq!(found.iter().filter(|state| !state.has_owner && state.entries == 50).count(), 1);

    second.line_with("drains sub-folder").await;
    installation.nats.start_again().await.unwrap();
    let messages: Vec<_> =
        (0..50).flat_map(|number| [format!("koo-{number}"), format!("SM-{number}")]).collect();
    until_all_come_out_once(&installation, &messages).await;
    // The adopted sub-folder is given up, and free for the next process.
    eventually("the sub-folder is free", || async {
        let found = spool::inspect(&folder(&installation)).unwrap();
        found.iter().any(|state| !state.has_owner && state.entries == 0).then_some(())
    })
    .await;
    assert!(second.stop().await);
    normalizer.stop().await;
}

/// A replica that is scaled down has its grace time to publish what it has spooled.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_publishes_what_is_spooled() {
    let _alone = exclusive().await;
    let mut installation = Installation::start_with(&short_window()).await;
    let ingress = ingress(&installation, &[("spool-drain-rate", "100")]).await;
    installation.nats.kill().await;
    until_away(&ingress).await;
    assert_spooled(&post_all(ingress.address, (0..100).map(twilio).collect()).await);
    installation.nats.start_again().await.unwrap();
    eventually("the drain has begun", || async {
        (metric(&ingress, "ingress_spool_drained_total") > 0).then_some(())
    })
    .await;
    assert!(metric(&ingress, "ingress_spool_drained_total") < 100);
    ingress.stop().await;
    assert_eq!(installation.webhooks().await.len(), 100);
    let found = spool::inspect(&folder(&installation)).unwrap();
    assert_eq!(found[0].entries, 0);
}
