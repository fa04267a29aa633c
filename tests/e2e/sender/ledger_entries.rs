//! Entries of the ledger: compact while the bucket allows it, and each gives its result again. `tests/rolling/ledger.rs`
//! tries them with senders of two versions.

use bsp::{event_id, registry};
use bus::Priority;
use bus::provision;
use bus::streams::{EVENTS, StreamSettings};
use proto::v1::{SendCommand, SendOutcome, SendResult};
use serde_json::json;
use simulator::infobip_api::Faults;

use crate::harness::eventually;
use crate::harness::ledger::{change_events, decided, describe_as_before, until_settled};
use crate::harness::outbound::{Outbound, RunningSender, channel, outcome, text};

async fn until_compact(sender: &RunningSender, wanted: bool) {
    eventually("the sender has read the ledger's description", || async {
        (sender.context.bus.is_ledger_compact() == wanted).then_some(())
    })
    .await;
}

async fn send(outbound: &Outbound, id: &str) {
    outbound.publish(Priority::Interactive, &text(0, id, "4915112345", "Hello")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_compact_from_setup_on_until_the_setup_of_an_older_version() {
    let outbound = Outbound::start(&[100]).await;
    describe_as_before(&outbound).await;
    let sender = outbound.sender().await;
    send(&outbound, "before").await;
    let before = decided(&outbound, 0, "before").await;
    assert!(before.is_whole(), "{}", before.json);

    provision::apply(&outbound.installation.bus, &StreamSettings::default()).await.unwrap();
    until_compact(&sender, true).await;
    send(&outbound, "compact").await;
    let compact = decided(&outbound, 0, "compact").await;
    assert!(compact.is_compact(), "{}", compact.json);
    // What a version without compact entries makes of it: it may have been sent, and is never sent again.
    let for_older = json!({ "intent": { "at_ms": 0, "unknown_since_ms": 0, "is_resent": true } });
    assert_eq!(compact.json["state"], for_older);
    assert!(compact.length * 5 < before.length * 3, "{} bytes of {}", compact.length, before.length);

    describe_as_before(&outbound).await;
    until_compact(&sender, false).await;
    send(&outbound, "after").await;
    assert!(decided(&outbound, 0, "after").await.is_whole());

    // Each is recognized, in both forms.
    for id in ["before", "compact", "after"] {
        let command = text(0, id, "4915112345", "Hello");
        outbound.publish_as(Priority::Bulk, &command, &format!("{id} again")).await;
        let other = text(0, id, "4915112345", "Something else");
        outbound.publish_as(Priority::Bulk, &other, &format!("{id} of another")).await;
    }
    until_settled(&outbound, 0).await;
    assert_eq!(outbound.account.received_count(), 3);
    let results = outbound.results().await;
    let code = |result: &SendResult| result.error.as_ref().map(|error| error.code.clone());
    let reused = results.iter().filter(|result| code(result).as_deref() == Some("REUSED_COMMAND_ID"));
    assert_eq!((results.len(), reused.count()), (6, 3), "{results:#?}");
    sender.stop().await;
}

/// The state after a sender that dies between its last ledger write and the result.
#[tokio::test(flavor = "multi_thread")]
async fn a_compact_entry_gives_the_next_sender_the_result_that_was_decided() {
    let outbound = Outbound::start(&[100]).await;
    let mut program = outbound.sender_program(&[]);
    let mut first = 0;
    while {
        first += 1;
        let id = format!("first-{first}");
        send(&outbound, &id).await;
        // It may not have read the ledger's description yet.
        !decided(&outbound, 0, &id).await.is_compact()
    } {}
    until_settled(&outbound, 0).await;
    change_events(&outbound, &["imchannel.event.report.*.*"]).await;
    let mut sequences = Vec::new();
    for (id, recipient, rejected) in [("accepted", "4915110", 0.0), ("rejected", "4915111", 1.0)] {
        outbound.account.set_faults(Faults { rejected, ..Faults::default() });
        let command = SendCommand { context: "ticket 7".to_owned(), ..text(0, id, recipient, "Hello") };
        sequences.push(outbound.publish_as(Priority::Interactive, &command, &format!("msg {id}")).await);
        assert!(decided(&outbound, 0, id).await.is_compact(), "{id}");
    }
    let calls = outbound.account.calls();
    program.kill().await;
    let died_at = jiff::Timestamp::now();

    change_events(&outbound, EVENTS.subjects).await;
    let sender = outbound.sender().await;
    let bsp = registry::find("infobip").unwrap().profile().id;
    for (id, sequence) in ["accepted", "rejected"].into_iter().zip(sequences) {
        let result = outbound.result(id).await;
        let decided = outcome(&result);
        assert_eq!(decided == SendOutcome::Accepted, id == "accepted", "{result:#?}");
        assert_eq!(result.error.is_some(), id == "rejected", "{result:#?}");
        let code = result.error.as_ref().map(|error| error.code.as_str()).unwrap_or_default();
        let event_id = event_id::of_result(bsp, &channel(0), id, decided.as_str_name(), code);
        assert_eq!(result.event_id, event_id);
        assert_eq!((result.bsp.as_str(), result.channel_id.as_str()), ("infobip", "channel-0"));
        assert_eq!((result.message_id, result.command_msg_id), (format!("imc-{id}"), format!("msg {id}")));
        assert_eq!((result.command_sequence, result.attempts), (sequence, 1));
        // Only the dead sender had the call.
        assert_eq!((result.attempts_made.len(), result.attempts_left_out), (0, 1));
        assert_eq!(result.context, "ticket 7");
        let decided_at = result.decided_at.unwrap();
        assert!(decided_at.seconds <= died_at.as_second(), "it was decided again");
    }
    let status = outbound.result("accepted").await.provider_status.unwrap();
    assert_eq!((status.name.as_str(), status.raw.as_str()), ("PENDING_ENROUTE", "PENDING_ENROUTE"));
    until_settled(&outbound, 0).await;
    assert_eq!(outbound.results().await.len(), first + 2);
    assert_eq!(outbound.account.calls().sends, calls.sends, "called again");
    assert_eq!(outbound.account.calls().lookups, 0, "looked up");
    sender.stop().await;
}
