//! Measures the times that docs/sending.md promises if a sender dies or a response does not come.

use std::time::Duration;

use bus::Priority;
use proto::v1::SendOutcome;
use simulator::infobip_api::Faults;
use tokio::time::Instant;

use crate::harness::outbound::{Outbound, channel, outcome, text};
use crate::harness::{Program, eventually, exclusive, within};

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

/// A sender whose name begins with `name`.
fn sender(outbound: &Outbound, name: &str) -> Program {
    outbound.sender_program(&[("HOSTNAME", name), ("IMCHANNEL_LOG_LEVEL", "warn")])
}

/// The name of the sender that owns the lane of channel 0.
async fn owner(outbound: &Outbound) -> Option<String> {
    let leases = bus::inspect::leases(&outbound.installation.bus).await.unwrap();
    let name = sender::lane_lease(channel(0).as_str());
    let lease = leases.into_iter().find(|lease| lease.name == name)?;
    Some(serde_json::from_slice::<sender::LaneState>(&lease.value).unwrap().owner)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lane_of_a_killed_sender_is_taken_over_by_its_lease_and_sends_once() {
    /// A lease is free 13 s after its last renewal, which was up to 5 s before the death.
    const LEAST: Duration = Duration::from_secs(8);
    /// 13 s, the interval of half a second at which leases are checked, and the additional time of a busy machine.
    const MOST: Duration = Duration::from_secs(20);
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[100]).await;
    let mut senders = [sender(&outbound, "first"), sender(&outbound, "second")];
    outbound.publish(Priority::Interactive, &text(0, "before", "4915111", "Hello")).await;
    outbound.result("before").await;
    let dead = owner(&outbound).await.unwrap();
    let place = usize::from(!dead.starts_with("first-"));
    let killed_at = Instant::now();
    senders[place].kill().await;
    outbound.publish(Priority::Interactive, &text(0, "after", "4915111", "Hello")).await;
    within(MOST, "the other sender goes on", || async {
        (outbound.received("imc-after") == 1).then_some(())
    })
    .await;
    let took = killed_at.elapsed();
    assert!(took >= LEAST, "taken over after {took:?}, while the owner could still have believed to hold it");
    let result = outbound.result("after").await;
    assert_eq!(outcome(&result), SendOutcome::Accepted);
    assert_eq!(result.attempts, 1);
    let heir = owner(&outbound).await.unwrap();
    assert_ne!(heir, dead);
    assert_eq!(outbound.account.received_count(), 2, "sent twice");
    assert_eq!(outbound.account.calls().sends, 2, "sent twice");
    eprintln!("taken over after {took:?}");
    assert!(senders[1 - place].stop().await);
}
