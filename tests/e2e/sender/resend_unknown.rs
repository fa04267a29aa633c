//! A message of unknown outcome is sent again after the channel's `resend_unknown_after`, and never without it.

use std::time::Duration;

use bus::Priority;
use proto::v1::SendOutcome;
use simulator::infobip_api::Faults;
use tokio::time::Instant;

use crate::harness::outbound::{Outbound, outcome, text};
use crate::harness::{eventually, exclusive, within};

/// `resend_unknown_after` of these tests: the lowest value, in seconds.
const RESEND_AFTER_S: u64 = 30;
/// Additional time for a busy machine.
const SLACK: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_unknown_outcome_is_sent_once_more_after_its_time_and_never_without() {
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[100, 100]).await;
    outbound.apply_channel(0, 100, &format!("resend_unknown_after = {RESEND_AFTER_S}")).await;
    let _sender = outbound.sender().await;
    // Accepted, no response, and the log does not show it for a day: the second call is refused as a duplicate.
    let silent = Duration::from_secs(24 * 3600 * 1000);
    outbound.account.set_faults(Faults { cut: 1.0, log_lag: silent, ..Faults::default() });
    let began = Instant::now();
    outbound.publish(Priority::Interactive, &text(0, "taken", "4915111", "Hello")).await;
    outbound.publish(Priority::Interactive, &text(1, "never", "4915112", "Hello")).await;
    let calls = async |count: u64| {
        let what = format!("{count} calls were made");
        eventually(&what, || async { (outbound.account.calls().sends >= count).then_some(()) }).await;
    };
    // Accepted with this log delay, which is drawn at the acceptance and not when the call is counted.
    eventually("both were taken", || async { (outbound.account.received_count() == 2).then_some(()) }).await;
    // Not accepted, and no response that says so.
    outbound.account.set_faults(Faults { error_before: 1.0, ..Faults::default() });
    outbound.publish(Priority::Interactive, &text(0, "lost", "4915113", "Hello")).await;
    calls(3).await;
    outbound.account.set_faults(Faults::default());

    // Without the setting it stays unknown, which is reported early.
    let never = outbound.result("never").await;
    assert_eq!(outcome(&never), SendOutcome::Unknown);
    assert_eq!(never.attempts, 1);
    assert_eq!(outbound.account.calls().sends, 3, "a message was sent again immediately");
    let least = Duration::from_secs(RESEND_AFTER_S);
    for id in ["taken", "lost"] {
        let result = within(least + SLACK, "it is decided", || async {
            outbound.results().await.into_iter().find(|result| result.command_id == id)
        })
        .await;
        assert_eq!(outcome(&result), SendOutcome::Accepted, "{id}");
        assert_eq!(result.attempts, 2, "{id}");
        let took = began.elapsed();
        assert!(took >= least, "{id} was sent again after {took:?}");
        assert!(took < least + SLACK, "{id} was sent again after {took:?}");
        assert_eq!(outbound.received(&format!("imc-{id}")), 1, "{id}");
    }
    let calls = outbound.account.calls();
    assert_eq!(calls.sends, 5);
    assert_eq!(calls.duplicates, 1);
}
