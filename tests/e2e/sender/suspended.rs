//! A sender is suspended until another one has its lane, and then continues: it neither sends nor answers what the other one has, and
//! it leaves the call of the other one alone.
//!
//! The writes of its leases do not arrive when it continues. So it does not learn within a millisecond that it has lost the lane, and does
//! in that time what it would do.

use std::time::Duration;

use bus::Priority;
use jiff::Timestamp;
use proto::v1::{SendCommand, SendOutcome};
use simulator::infobip_api::Faults;

use crate::harness::held_bus::HeldBus;
use crate::harness::ledger::{entry, forget, until_settled};
use crate::harness::outbound::{Outbound, channel, outcome, text};
use crate::harness::{Program, eventually, exclusive, within};

const LEASES: &str = "$KV.imchannel_lanes.";
const LEDGER: &str = "$KV.imchannel_sends.";
const CUSTOMER: &str = "4915111";
/// A lease is free 13 s after its renewal, and unacknowledged commands come again after 10 s; and the time of a busy machine.
const TAKEOVER: Duration = Duration::from_secs(28);

/// A sender that queries the message log once: a second after the end of its own call, or at the timeout of the call of another one.
fn sender(outbound: &Outbound, nats_url: &str) -> Program {
    outbound.sender_program(&[("IMCHANNEL_NATS_URL", nats_url), ("IMCHANNEL_LOOKUP_DELAYS", "500ms")])
}

/// Continues a sender whose leases cannot be written, and waits until it has left the lane.
async fn resume(suspended: &mut Program, bus: &HeldBus) {
    bus.hold();
    suspended.signal("CONT").await;
    suspended.line_with("left the lane of channel channel-0").await;
    bus.release();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_continues_answers_and_sends_nothing_that_another_one_has_sent() {
    const EACH: usize = 5;
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[100]).await;
    let bus = HeldBus::start(&outbound.installation.nats.url(), LEASES).await;
    let mut suspended = sender(&outbound, &bus.url);
    // The first one keeps its recipient busy, so the others wait in the lane.
    let stall_for = Duration::from_secs(60);
    outbound.account.set_faults(Faults { stalled: 1.0, stall_for, unique_ids: false, ..Faults::default() });
    let deadline = Timestamp::now() + TAKEOVER;
    let mut ids = Vec::new();
    for number in 0..EACH {
        let not_after = Some(bsp::time::to_proto(deadline));
        for (id, not_after) in [(format!("later-{number}"), None), (format!("expiring-{number}"), not_after)]
        {
            let command = SendCommand { not_after, ..text(0, &id, CUSTOMER, "Hello") };
            outbound.publish(Priority::Interactive, &command).await;
            ids.push(id);
        }
    }
    eventually("the first is sent, and the others are in the lane", || async {
        let (queue, channel) = (Priority::Interactive, channel(0));
        let lag = bus::command_consumers::lag(&outbound.installation.bus, queue, &channel).await.ok()??;
        (outbound.account.received_count() == 1 && lag.num_ack_pending == ids.len() as u64).then_some(())
    })
    .await;
    suspended.signal("STOP").await;
    outbound.account.set_faults(Faults { unique_ids: false, ..Faults::default() });

    let _other = sender(&outbound, &outbound.installation.nats.url());
    until_settled(&outbound, 0).await;
    // As after 26 hours.
    forget(&outbound, 0, &ids).await;
    within(TAKEOVER, "the deadline has passed", || async { (Timestamp::now() > deadline).then_some(()) })
        .await;
    resume(&mut suspended, &bus).await;

    let results = outbound.results().await;
    let mut answered: Vec<_> = results.iter().map(|result| (&*result.command_id, outcome(result))).collect();
    answered.sort_unstable();
    let mut expected: Vec<_> = ids.iter().map(|id| (&**id, SendOutcome::Accepted)).collect();
    expected.sort_unstable();
    assert_eq!(answered, expected);
    for id in &ids {
        assert_eq!(outbound.received(&format!("imc-{id}")), 1, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_was_suspended_before_its_call_does_not_make_it() {
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[100]).await;
    let bus = HeldBus::start(&outbound.installation.nats.url(), LEDGER).await;
    let mut suspended = sender(&outbound, &bus.url);
    bus.hold();
    outbound.publish(Priority::Interactive, &text(0, "c", CUSTOMER, "Hello")).await;
    bus.until_held().await;
    suspended.signal("STOP").await;
    bus.release();
    eventually("the intent is stored", || async { entry(&outbound, 0, "c").await.map(drop) }).await;

    let _other = sender(&outbound, &outbound.installation.nats.url());
    let result =
        within(TAKEOVER, "the other sender answers", || async { outbound.results().await.pop() }).await;
    assert_eq!(outcome(&result), SendOutcome::Unknown, "it cannot know that there was no call");
    suspended.signal("CONT").await;
    suspended.line_with("left the lane of channel channel-0").await;
    assert_eq!(outbound.account.calls().sends, 0);
    assert_eq!(outbound.results().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_own_call_does_not_count_for_a_later_call_of_another_sender() {
    /// `resend_unknown_after`: the lowest value, in seconds.
    const RESEND_AFTER_S: u64 = 30;
    let _alone = exclusive().await;
    let outbound = Outbound::start(&[100]).await;
    outbound.apply_channel(0, 100, &format!("resend_unknown_after = {RESEND_AFTER_S}")).await;
    let bus = HeldBus::start(&outbound.installation.nats.url(), LEASES).await;
    let mut suspended = sender(&outbound, &bus.url);
    // Without an effect, which the response does not show.
    outbound.account.set_faults(Faults { error_before: 1.0, ..Faults::default() });
    outbound.publish(Priority::Interactive, &text(0, "c", CUSTOMER, "Hello")).await;
    eventually("its log was queried", || async { (outbound.account.calls().lookups == 1).then_some(()) })
        .await;
    suspended.signal("STOP").await;
    // The next call is accepted, and the log does not show it until its response has come.
    let (stall_for, log_lag) = (Duration::from_secs(7), Duration::from_secs(24 * 3600 * 1000));
    outbound.account.set_faults(Faults { stalled: 1.0, stall_for, log_lag, ..Faults::default() });

    let _other = sender(&outbound, &outbound.installation.nats.url());
    let limit = Duration::from_secs(RESEND_AFTER_S) + TAKEOVER / 2;
    within(limit, "the other sender sends it again", || async {
        (outbound.account.received_count() == 1).then_some(())
    })
    .await;
    resume(&mut suspended, &bus).await;
    let result = outbound.result("c").await;
    assert_eq!(outcome(&result), SendOutcome::Accepted, "{result:?}");
    assert_eq!(result.attempts, 2);
    until_settled(&outbound, 0).await;
    assert_eq!(outbound.results().await.len(), 1);
    assert_eq!(outbound.received("imc-c"), 1);
}
