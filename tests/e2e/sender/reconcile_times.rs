//! When the message log is asked for reports: at a part of its rate, and so that no question about an outcome waits for long.

use std::time::{Duration, Instant};

use bus::Priority;
use proto::v1::{ReportStatus, SendOutcome};
use simulator::infobip_api::{Faults, RetryAfter};

use super::reconcile::{CUSTOMER, reconcile, send, until_reconciled};
use crate::harness::outbound::{Outbound, outcome, text};
use crate::harness::{eventually, exclusive, within};

/// Another customer, whose calls get no answer.
const CUT: &str = "4915112345679";

/// Faults of an account that loses the answer to every call for [`CUT`].
fn cut() -> Faults {
    Faults { cut: 1.0, only_recipient: Some(CUT.to_owned()), ..Faults::default() }
}

/// Sends a message whose outcome is unknown until the log is asked, and waits for its result.
async fn send_cut(outbound: &Outbound, command_id: &str) {
    outbound.publish(Priority::Interactive, &text(0, command_id, CUT, "Hello")).await;
    assert_eq!(outcome(&outbound.result(command_id).await), SendOutcome::Accepted);
}

async fn until_looked_up(outbound: &Outbound, count: u64) {
    eventually(&format!("{count} requests to the log"), || async {
        (outbound.account.calls().lookups >= count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_about_an_outcome_waits_for_no_slow_answer_about_reports() {
    /// More than a request for reports may take, and less than one about an outcome may.
    const WAIT_MAX: Duration = Duration::from_secs(8);
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[100]).await;
    reconcile(&outbound, 0, 1).await;
    let sender = outbound.sender().await;
    send(&outbound, 0, "first").await;
    outbound.account.set_faults(Faults { latency: Duration::from_secs(600), ..Faults::default() });
    until_looked_up(&outbound, 1).await;
    let asked_at = Instant::now();
    outbound.account.set_faults(cut());
    send_cut(&outbound, "unknown").await;
    let waited = asked_at.elapsed();
    assert!(waited < WAIT_MAX, "the outcome was known after {waited:?}");
    assert_eq!(outbound.account.asked("imc-first"), 0, "the first request was answered");
    until_reconciled(&outbound, "imc-first", 1, ReportStatus::Pending).await;
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_for_reports_delays_reports_for_its_time_and_no_outcome() {
    /// More than the pause after a question that failed.
    const REST: Duration = Duration::from_secs(25);
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[100]).await;
    reconcile(&outbound, 0, 1).await;
    let retry_after = RetryAfter::Seconds(REST.as_secs());
    let limited = Faults { lookups_per_minute: 0, log_retry_after: Some(retry_after), ..Faults::default() };
    outbound.account.set_faults(limited);
    let sender = outbound.sender().await;
    send(&outbound, 0, "first").await;
    let asked_at = Instant::now();
    within(REST, "the log refused", || async {
        (outbound.account.calls().lookups_refused >= 1).then_some(())
    })
    .await;
    outbound.account.set_faults(cut());
    send_cut(&outbound, "unknown").await;
    let waited = asked_at.elapsed();
    assert!(waited < REST, "the outcome was known after {waited:?}");
    assert_eq!(outbound.account.asked("imc-first"), 0);
    until_reconciled(&outbound, "imc-first", 1, ReportStatus::Pending).await;
    let waited = asked_at.elapsed();
    assert!(waited >= REST, "the log was asked for reports again after {waited:?}");
    assert_eq!(outbound.account.calls().lookups_refused, 1);
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_reports_take_a_quarter_of_the_rate() {
    /// The log allows 120 requests a minute.
    const INTERVAL: Duration = Duration::from_secs(2);
    const MEASURED: u32 = 5;
    /// So that messages are due at each time at which the sender checks.
    const SENDS_PER_SECOND: u32 = 4;
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[SENDS_PER_SECOND]).await;
    reconcile(&outbound, 0, 1).await;
    for number in 0..80 {
        let command = text(0, &format!("m-{number}"), CUSTOMER, "Hello");
        outbound.publish(Priority::Interactive, &command).await;
    }
    let sender = outbound.sender().await;
    until_looked_up(&outbound, 1).await;
    let began = Instant::now();
    until_looked_up(&outbound, 1 + u64::from(MEASURED)).await;
    let took = began.elapsed();
    // When the first was made is known a moment later.
    assert!(took >= INTERVAL * MEASURED - INTERVAL / 2, "{MEASURED} more requests in {took:?}");
    sender.stop().await;
}

/// A sender reads the past of a few lanes at a time, so that what it holds of it does not grow with their number.
#[tokio::test(flavor = "multi_thread")]
async fn every_lane_has_its_turn_to_read_what_was_reported() {
    const LANES: usize = 5;
    let outbound = Outbound::start(&[100; LANES]).await;
    for lane in 0..LANES {
        reconcile(&outbound, lane, 1).await;
    }
    let sender = outbound.sender().await;
    for lane in 0..LANES {
        send(&outbound, lane, &format!("lane-{lane}")).await;
    }
    for lane in 0..LANES {
        until_reconciled(&outbound, &format!("imc-lane-{lane}"), 1, ReportStatus::Pending).await;
    }
    sender.stop().await;
}
