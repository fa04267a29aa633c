//! The lane of a killed sender is taken over by another one, after the time of its lease.

use std::time::Duration;

use bus::Priority;
use proto::v1::SendOutcome;
use tokio::time::Instant;

use crate::harness::outbound::{Outbound, channel, outcome, text};
use crate::harness::{Program, exclusive, within};

/// A sender whose name begins with `name`.
fn sender(outbound: &Outbound, name: &str) -> Program {
    outbound.sender_program(&[("HOSTNAME", name), ("IMCHANNEL_LOG_LEVEL", "warn")])
}

/// The name of the sender that owns the lane of channel 0.
async fn owner(outbound: &Outbound) -> Option<String> {
    let leases = bus::inspect::leases(&outbound.installation.bus).await.unwrap();
    let name = lane_state::lane_lease(channel(0).as_str());
    let lease = leases.into_iter().find(|lease| lease.name == name)?;
    Some(serde_json::from_slice::<lane_state::LaneState>(&lease.value).unwrap().owner)
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
