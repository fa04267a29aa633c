//! The order of messages to one recipient if an outcome is unknown, and the limit of pending commands of a recipient.

use std::time::Duration;

use bus::Priority;
use proto::v1::{SendOutcome, SendResult};
use simulator::infobip_api::{Faults, Received};

use crate::harness::outbound::{Outbound, RunningSender, channel, outcome, text};
use crate::harness::{balancer, eventually, exclusive, within};

const CUSTOMER: &str = "4915112345";

/// Messages to the customer are accepted, their connections are closed, and the log does not show them.
fn lost_answers() -> Faults {
    Faults { cut: 1.0, ..never_in_log() }
}

/// The log does not show messages to the customer.
fn never_in_log() -> Faults {
    let log_lag = Duration::from_secs(1_000_000);
    Faults { log_lag, only_recipient: Some(CUSTOMER.to_owned()), ..Faults::default() }
}

/// The account with one channel that holds messages back for this number of seconds.
async fn start(unknown_hold_s: u32) -> Outbound {
    let outbound = Outbound::start(&[1000]).await;
    outbound.apply_channel(0, 1000, &format!("unknown_hold = {unknown_hold_s}")).await;
    outbound
}

/// A sender that queries the log for the last time this number of milliseconds after a message was begun.
async fn sender(outbound: &Outbound, decided_after_ms: u32) -> RunningSender {
    let delays = format!("1s,{decided_after_ms}ms");
    outbound.sender_with(&[("send-timeout", "1s"), ("lookup-delays", &delays)]).await
}

async fn send(outbound: &Outbound, id: &str) {
    outbound.publish(Priority::Interactive, &text(0, id, CUSTOMER, id)).await;
}

async fn arrived(outbound: &Outbound, id: &str) -> Received {
    within(Duration::from_secs(60), &format!("{id} arrives"), || async {
        outbound.account.received().into_iter().find(|received| received.message_id == format!("imc-{id}"))
    })
    .await
}

async fn is_decided(outbound: &Outbound, id: &str) -> bool {
    outbound.results().await.iter().any(|result| result.command_id == id)
}

/// This number of calls got a fault.
async fn faulty_calls(outbound: &Outbound, count: u64) {
    eventually("calls break", || async { (outbound.account.calls().faulty >= count).then_some(()) }).await;
}

#[tokio::test]
async fn a_lost_answer_holds_the_next_message_for_the_channels_time_and_no_longer() {
    let outbound = start(2).await;
    outbound.account.set_faults(lost_answers());
    let sender = sender(&outbound, 20_000).await;
    for id in ["a", "b", "c"] {
        send(&outbound, id).await;
    }
    faulty_calls(&outbound, 1).await;
    outbound.account.set_faults(never_in_log());
    let (a, b, c) =
        (arrived(&outbound, "a").await, arrived(&outbound, "b").await, arrived(&outbound, "c").await);
    let held = b.at - a.at;
    assert!(held >= Duration::from_secs(2) && held < Duration::from_secs(10), "held for {held:?}");
    assert!(b.at < c.at && !is_decided(&outbound, "a").await);
    assert!(sender.metrics().contains("sender_overtaken_commands_total 1\n"), "{}", sender.metrics());
    for id in ["b", "c"] {
        assert_eq!(outcome(&outbound.result(id).await), SendOutcome::Accepted);
    }
    assert_eq!(outcome(&outbound.result("a").await), SendOutcome::Unknown);
    assert_eq!(outbound.account.received_count(), 3);
}

#[tokio::test]
async fn without_a_hold_the_next_message_waits_until_the_one_before_is_decided() {
    let outbound = start(0).await;
    outbound.account.set_faults(lost_answers());
    let _sender = sender(&outbound, 5_000).await;
    send(&outbound, "a").await;
    send(&outbound, "b").await;
    faulty_calls(&outbound, 1).await;
    outbound.account.set_faults(never_in_log());
    let b = arrived(&outbound, "b").await;
    assert!(b.at - arrived(&outbound, "a").await.at >= Duration::from_millis(4_500));
    assert!(is_decided(&outbound, "a").await);
}

#[tokio::test]
async fn one_unknown_message_of_a_recipient_is_overtaken_at_a_time() {
    let outbound = start(1).await;
    outbound.account.set_faults(lost_answers());
    let _sender = sender(&outbound, 8_000).await;
    for id in ["a", "b", "c"] {
        send(&outbound, id).await;
    }
    faulty_calls(&outbound, 2).await;
    outbound.account.set_faults(never_in_log());
    let (a, b, c) =
        (arrived(&outbound, "a").await, arrived(&outbound, "b").await, arrived(&outbound, "c").await);
    assert!(b.at - a.at < Duration::from_secs(5), "b waited for {:?}", b.at - a.at);
    // The second unknown one is overtaken only once the first is decided, and before it is decided itself.
    assert!(c.at - a.at >= Duration::from_millis(7_500), "c waited for {:?}", c.at - a.at);
    assert!(is_decided(&outbound, "a").await);
}

#[tokio::test]
async fn a_hold_goes_on_when_another_sender_takes_the_lane() {
    let outbound = start(2).await;
    outbound.account.set_faults(lost_answers());
    let first = sender(&outbound, 40_000).await;
    send(&outbound, "a").await;
    send(&outbound, "b").await;
    faulty_calls(&outbound, 1).await;
    outbound.account.set_faults(never_in_log());
    first.stop().await;
    let _second = sender(&outbound, 40_000).await;
    let held = arrived(&outbound, "b").await.at - arrived(&outbound, "a").await.at;
    // The timeout of the first sender's call comes before it.
    assert!(held >= Duration::from_millis(2_900) && held < Duration::from_secs(30), "held for {held:?}");
    assert!(!is_decided(&outbound, "a").await);
    assert_eq!(outbound.received("imc-a"), 1);
}

#[tokio::test]
async fn a_broken_call_is_looked_up_a_second_later() {
    let outbound = start(30).await;
    outbound.account.set_faults(Faults { cut: 1.0, ..Faults::default() });
    let more = [("send-timeout", "10s"), ("lookup-delays", "20s,40s")];
    let _sender = outbound.sender_with(&more).await;
    send(&outbound, "a").await;
    let taken = arrived(&outbound, "a").await;
    let result = outbound.result("a").await;
    assert!(taken.at.elapsed() < Duration::from_secs(8), "it took {:?}", taken.at.elapsed());
    assert_eq!(outcome(&result), SendOutcome::Accepted);
    assert_eq!(result.attempts, 1);
}

#[tokio::test]
async fn connections_that_are_used_once_are_not_closed_under_a_call() {
    const COMMANDS: usize = 300;
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[200]).await;
    let account = outbound.account_url.trim_start_matches("http://").parse().unwrap();
    let url = balancer::start(account, Duration::from_millis(3)).await;
    outbound.apply_channel_at(0, 200, &url, "").await;
    let sender = outbound.sender_with(&[("bsp-idle-timeout", "0s")]).await;
    for number in 0..COMMANDS {
        let command = text(0, &format!("c-{number}"), &format!("49151{number:04}"), "Hello");
        outbound.publish(Priority::Bulk, &command).await;
    }
    let results = within(Duration::from_secs(60), "every command is answered", || async {
        let results = outbound.results().await;
        (results.len() == COMMANDS).then_some(results)
    })
    .await;
    assert!(results.iter().all(|result| outcome(result) == SendOutcome::Accepted && result.attempts == 1));
    assert_eq!(outbound.account.received_count(), COMMANDS);
    assert!(!sender.metrics().contains("outcome=\"broken\""), "{}", sender.metrics());
}

#[tokio::test]
async fn one_recipient_with_many_commands_keeps_no_other_waiting() {
    const COMMANDS: usize = 2_600;
    let outbound = start(0).await;
    outbound.account.set_faults(lost_answers());
    // Longer than a busy machine takes: the first message stays unknown during that time.
    let sender = sender(&outbound, 600_000).await;
    for number in 0..COMMANDS {
        outbound.publish(Priority::Bulk, &text(0, &format!("much-{number}"), CUSTOMER, "Hello")).await;
    }
    for number in 0..20 {
        let command = text(0, &format!("other-{number}"), &format!("49152{number:04}"), "Hello");
        outbound.publish(Priority::Bulk, &command).await;
    }
    outbound.publish(Priority::Interactive, &text(0, "agent", CUSTOMER, "Hello")).await;
    within(Duration::from_secs(30), "the others are sent", || async {
        let received = outbound.account.received();
        let others = received.iter().filter(|message| message.recipient != CUSTOMER).count();
        (others == 20).then_some(())
    })
    .await;
    // One is in progress, and 500 wait: the agent's command among them, in place of a campaign's.
    let refused = within(Duration::from_secs(60), "the rest is refused", || async {
        let results = outbound.results().await;
        let refused: Vec<_> = results.into_iter().filter(is_refused).collect();
        (refused.len() == COMMANDS + 1 - 501).then_some(refused)
    })
    .await;
    assert!(refused.iter().all(|result| result.command_id.starts_with("much-") && result.attempts == 0));
    assert!(refused.iter().all(|result| result.command_id != "much-1"), "the first ones wait");
    // The reason that operators see is the recipient limit, without a phone number.
    let state = eventually("the lane says why", || async {
        let leases = bus::inspect::leases(&outbound.installation.bus).await.ok()?;
        let lane = lane_state::lane_lease(channel(0).as_str());
        let lease = leases.into_iter().find(|lease| lease.name == lane)?;
        let state: lane_state::LaneState = serde_json::from_slice(&lease.value).ok()?;
        (state.crowded.full_recipients == 1).then_some(state)
    })
    .await;
    assert_eq!(state.crowded.behind, 500);
    assert!(!state.crowded.is_lane_full);
    assert!(sender.metrics().contains(&format!("sender_recipient_queue_full_total {}\n", COMMANDS - 500)));
    assert!(!is_decided(&outbound, "agent").await);
}

fn is_refused(result: &SendResult) -> bool {
    let code = result.error.as_ref().map(|error| error.code.as_str());
    outcome(result) == SendOutcome::Rejected && code == Some("RECIPIENT_QUEUE_FULL")
}
