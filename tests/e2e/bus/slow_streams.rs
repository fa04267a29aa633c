//! Stores that are slower than their writers: the number of started writes follows what they acknowledge.

use std::net::SocketAddr;
use std::time::Duration;

use bus::Priority;
use futures_util::future::join_all;
use proto::v1::SendOutcome;
use tokio::time::Instant;

use crate::harness::outbound::{Outbound, RunningSender, outcome, text};
use crate::harness::slow_bus::{Slow, SlowBus};
use crate::harness::{Installation, TIMEOUT, Webhook, exclusive, within};

const CHANNELS: usize = 4;
const COMMANDS: usize = 1_200;
/// The ledger takes 250 writes a second: 125 sends, where the lanes may begin 4,000.
const EACH: Duration = Duration::from_millis(4);

const LEDGER: &str = "$KV.imchannel_sends.";

fn metric(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// Messages of batches without an acknowledgement: each is stored again, alone. None where the server takes no batches.
fn written_again(metrics: &str) -> u64 {
    let of_unknown =
        |line: &&str| line.contains("nats_batch_messages_total{") && line.contains("\"unknown\"");
    let counts = metrics.lines().filter(of_unknown).map(|line| line.rsplit(' ').next().unwrap());
    counts.map(|count| count.parse::<u64>().unwrap()).sum()
}

/// Commands that are already pending, and a sender on a slow bus.
async fn send_all(
    outbound: &Outbound,
    count: usize,
    slow: Slow,
    limit: Duration,
) -> (SlowBus, RunningSender) {
    for number in 0..count {
        let (id, customer) = (format!("c-{number}"), format!("49151{number:08}"));
        outbound.publish(Priority::Interactive, &text(number % CHANNELS, &id, &customer, "hello")).await;
    }
    let bus = SlowBus::start(&outbound.installation.nats.url(), slow).await;
    let sender = outbound.sender_on(&bus.url, &[]).await;
    let results = within(limit, "every command has its result", || async {
        let results = outbound.results().await;
        (results.len() >= count).then_some(results)
    })
    .await;
    assert!(results.iter().all(|result| outcome(result) == SendOutcome::Accepted));
    assert_eq!(results.len(), count, "each was sent once");
    assert_eq!(outbound.account.received().len(), count, "each was sent once");
    (bus, sender)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_slower_than_its_lanes_costs_two_writes_a_send_and_no_call() {
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[1_000; CHANNELS]).await;
    let slow = Slow { prefix: LEDGER, each: EACH, stall: None };
    // At least half as fast as the ledger.
    let limit = EACH * (4 * COMMANDS as u32);
    let (bus, sender) = send_all(&outbound, COMMANDS, slow, limit).await;
    let metrics = sender.metrics();
    assert_eq!(bus.handed_on(), 2 * COMMANDS as u64, "an intent and an outcome of each");
    assert_eq!(metric(&metrics, "sender_aborted_calls_total"), 0, "{metrics}");
    assert_eq!(metric(&metrics, "sender_ledger_timeouts_total"), 0, "{metrics}");
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_a_stall_delays_are_read_back_and_not_repeated() {
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[1_000; CHANNELS]).await;
    let slow = Slow { prefix: LEDGER, each: EACH, stall: Some((200, Duration::from_millis(2_200))) };
    let (bus, sender) = send_all(&outbound, 300, slow, TIMEOUT).await;
    let metrics = sender.metrics();
    assert!(metric(&metrics, "sender_ledger_timeouts_total") > 0, "nothing was delayed: {metrics}");
    assert_eq!(bus.handed_on(), 600 + written_again(&metrics), "an intent and an outcome of each");
    assert_eq!(metric(&metrics, "sender_aborted_calls_total"), 0, "{metrics}");
    sender.stop().await;
}

/// Posts different reports from this number of senders, each the next when the last is answered, until `end`. Returns
/// the answers 200.
async fn post_until(ingress: SocketAddr, senders: usize, end: Instant) -> usize {
    let sender = async |sender: usize| {
        let (mut number, mut answered) = (0, 0);
        while Instant::now() < end {
            number += 1;
            let id = format!("m-{sender}-{number}");
            answered += usize::from(Webhook::infobip(report(&id)).post(ingress).await.status.as_u16() == 200);
        }
        answered
    };
    join_all((0..senders).map(sender)).await.into_iter().sum()
}

fn report(message_id: &str) -> String {
    format!(
        r#"{{"results":[{{"messageId":"{message_id}","to":"49151","status":{{"groupName":"DELIVERED"}}}}]}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_stream_stores_of_too_many_webhooks_is_answered_200() {
    let _alone = exclusive().await;
    let installation = Installation::start().await;
    // Fifty a second, for three hundred senders: six times what is stored before the deadline of 2 s.
    let slow = Slow { prefix: "imchannel.webhook.", each: Duration::from_millis(20), stall: None };
    let bus = SlowBus::start(&installation.nats.url(), slow).await;
    let ingress = installation.ingress_on(&bus.url, &[]).await;
    ingress.until_ready().await;
    let answered = post_until(ingress.address, 300, Instant::now() + Duration::from_secs(8)).await;
    let written = bus.handed_on();
    assert!(answered >= 100, "{answered} of {written} written webhooks were answered 200");
    assert!(answered as u64 * 2 >= written, "{answered} of {written} written webhooks were answered 200");
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_waits_for_a_slow_stream_is_written_once() {
    const WEBHOOKS: usize = 900;
    let _alone = exclusive().await;
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    for batch in 0..WEBHOOKS / 100 {
        let posts = (0..100).map(|number| {
            let webhook = Webhook::infobip(report(&format!("m-{batch}-{number}")));
            async move { webhook.post(ingress.address).await.status.as_u16() }
        });
        assert!(join_all(posts).await.into_iter().all(|status| status == 200));
    }
    // The last of all waits 9 s; storing an event may take 5.
    let slow = Slow { prefix: "imchannel.event.", each: Duration::from_millis(10), stall: None };
    let bus = SlowBus::start(&installation.nats.url(), slow).await;
    let normalizer = installation.normalizer_on(&bus.url, &[]).await;
    installation.until_processed().await;
    assert_eq!(installation.reports().await.len(), WEBHOOKS);
    assert_eq!(bus.handed_on(), WEBHOOKS as u64, "each event is written once");
    assert_eq!(metric(&normalizer.metrics(), "worker_retries_total"), 0);
    normalizer.stop().await;
    ingress.stop().await;
}
