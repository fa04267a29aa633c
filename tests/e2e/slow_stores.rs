//! Stores that are slower than those who write to them: what is begun follows what they acknowledge.

use std::time::Duration;

use bus::Queue;
use proto::v1::SendOutcome;

use crate::harness::outbound::{Outbound, RunningSender, outcome, text};
use crate::harness::slow_bus::{Slow, SlowBus};
use crate::harness::{PATIENCE, alone, within};

const CHANNELS: usize = 4;
const COMMANDS: usize = 1_200;
/// The ledger takes 250 writes a second: 125 sends, where the lanes may begin 4,000.
const EACH: Duration = Duration::from_millis(4);

const LEDGER: &str = "$KV.imchannel_sends.";

fn metric(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// Commands that wait already, and a sender on a bus that is slow.
async fn send_all(
    outbound: &Outbound,
    count: usize,
    slow: Slow,
    limit: Duration,
) -> (SlowBus, RunningSender) {
    for number in 0..count {
        let (id, customer) = (format!("c-{number}"), format!("49151{number:08}"));
        outbound.publish(Queue::Send, &text(number % CHANNELS, &id, &customer, "hello")).await;
    }
    let bus = SlowBus::start(&outbound.installation.nats.url(), slow).await;
    let sender = outbound.sender_on(&bus.url, &[]).await;
    let results = within(limit, "every command has its result", || async {
        let results = outbound.results().await;
        (results.len() >= count).then_some(results)
    })
    .await;
    assert!(results.iter().all(|result| outcome(result) == SendOutcome::Accepted));
    assert_eq!((results.len(), outbound.omni.received().len()), (count, count), "each was sent once");
    (bus, sender)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_slower_than_its_lanes_costs_two_writes_a_send_and_no_call() {
    let _alone = alone().await;
    let outbound = Outbound::start(&[1_000; CHANNELS]).await;
    let slow = Slow { prefix: LEDGER, each: EACH, stall: None };
    // Half as fast as the ledger, at least.
    let limit = EACH * (4 * COMMANDS as u32);
    let (bus, sender) = send_all(&outbound, COMMANDS, slow, limit).await;
    let metrics = sender.metrics();
    assert_eq!(bus.handed_on(), 2 * COMMANDS as u64, "an intent and an outcome of each");
    assert_eq!(metric(&metrics, "sender_withheld_calls_total"), 0, "{metrics}");
    assert_eq!(metric(&metrics, "sender_ledger_timeouts_total"), 0, "{metrics}");
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_a_stall_delays_are_read_back_and_not_repeated() {
    let _alone = alone().await;
    let outbound = Outbound::start(&[1_000; CHANNELS]).await;
    let slow = Slow { prefix: LEDGER, each: EACH, stall: Some((200, Duration::from_millis(2_200))) };
    let (bus, sender) = send_all(&outbound, 300, slow, PATIENCE).await;
    let metrics = sender.metrics();
    assert!(metric(&metrics, "sender_ledger_timeouts_total") > 0, "nothing was delayed: {metrics}");
    assert_eq!(bus.handed_on(), 600, "an intent and an outcome of each");
    assert_eq!(metric(&metrics, "sender_withheld_calls_total"), 0, "{metrics}");
    sender.stop().await;
}
