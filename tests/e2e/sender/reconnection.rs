//! A sender whose connection to NATS is lost in the middle of a send.

use bsp::CommandId;
use bus::Priority;
use bus::ledger::LedgerKey;
use proto::v1::SendOutcome;

use crate::harness::cut_bus::{Cut, CutBus};
use crate::harness::eventually;
use crate::harness::outbound::{Outbound, channel, outcome, text};

/// Withheld requests for the state of the ledger: the check on a new connection and the check of its size ask once each, and again
/// after the timeout of a request. By then a call would have been made.
const WITHHELD: u64 = 3;

/// The write may have shown that the ledger has lost entries, which the new connection does not know yet. Nothing is sent until it
/// does; and as no call was made, the command does not end as UNKNOWN.
#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_is_found_on_a_new_connection_waits_for_the_check_of_the_ledger() {
    let outbound = Outbound::start(&[100]).await;
    let cut = Cut { after: "$KV.imchannel_sends.", withheld: "$JS.API.STREAM.INFO.KV_imchannel_sends" };
    let bus = CutBus::start(&outbound.installation.nats.url(), cut).await;
    let sender = outbound.sender_on(&bus.url, &[("send-timeout", "10s"), ("lookup-delays", "1s")]).await;
    outbound.publish(Priority::Interactive, &text(0, "c-1", "+4915112345", "Hello")).await;
    assert_eq!(outcome(&outbound.result("c-1").await), SendOutcome::Accepted);
    bus.arm();
    outbound.publish(Priority::Interactive, &text(0, "c-2", "+4915112345", "Hello")).await;
    let key = LedgerKey::new(&channel(0), &CommandId::parse("c-2").unwrap());
    eventually("the intent is written, and the checks of the ledger are withheld", || async {
        let entry = outbound.installation.bus.ledger_read(&key).await.ok()?;
        (entry.is_some() && bus.withheld() >= WITHHELD).then_some(())
    })
    .await;
    assert_eq!(outbound.received("imc-c-2"), 0, "it was sent before the ledger was checked");
    bus.release();
    assert_eq!(outcome(&outbound.result("c-2").await), SendOutcome::Accepted);
    assert_eq!(outbound.received("imc-c-2"), 1);
    sender.stop().await;
}
