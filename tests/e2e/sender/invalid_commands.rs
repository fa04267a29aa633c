//! Commands that cannot be decoded or have a used id: each is a dead letter, and gets a result anyway. `orphans.rs`
//! tests commands that no lane reads.

use std::collections::BTreeSet;
use std::time::Duration;

use bus::streams::{DEADLETTERS, EVENTS, StreamSettings};
use bus::{Delivery, Priority, headers};
use prost::Message;
use proto::v1::{SendOutcome, SendResult};

use crate::harness::ledger::change_events;
use crate::harness::outbound::{Outbound, channel, outcome, text};
use crate::harness::{eventually, run_cli};

const JSON: (headers::Name, &str) = (headers::CONTENT_TYPE, "application/json");

/// A command with a given `Nats-Msg-Id`.
async fn publish(outbound: &Outbound, id: &str, payload: &[u8], more: &[(headers::Name, &str)]) -> u64 {
    let fields = [&[(headers::MESSAGE_ID, id)], more].concat();
    outbound.publish_raw(Priority::Interactive, &channel(0), payload.to_vec(), &fields).await
}

/// All results of one command, by its sequence.
async fn results_of(outbound: &Outbound, sequence: u64) -> Vec<SendResult> {
    let all = outbound.results().await;
    all.into_iter().filter(|result| result.command_sequence == sequence).collect()
}

async fn result_of(outbound: &Outbound, sequence: u64) -> SendResult {
    eventually("the command is answered", || async { results_of(outbound, sequence).await.pop() }).await
}

async fn letters(outbound: &Outbound) -> Vec<Delivery> {
    outbound.installation.stored(&DEADLETTERS, "imchannel.deadletter.>").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_answered_beside_its_letter() {
    let outbound = Outbound::start(&[100]).await;
    let sender = outbound.sender().await;
    let long = "x".repeat(600);
    let mut event_ids = BTreeSet::new();
    for (msg_id, payload, id) in [
        ("garbage", &b"\xff\xff\xff"[..], ""),
        ("empty", b"", ""),
        ("no-json", b"{\"commandId\":\"lost", ""),
        ("list", b"[]", ""),
        (
            "no-id",
            br#"{"channelId":"channel-0","recipient":"4915112345","text":{"body":"hi"},"context":"t 7"}"#,
            "",
        ),
        (
            "odd-id",
            br#"{"commandId":"a b","channelId":"channel-0","recipient":"4915112345","text":{"body":"hi"}}"#,
            "a b",
        ),
        ("typo", br#"{"commandId":"typo-1","recipien":"4915112345"}"#, "typo-1"),
        (&long, b"\xff", ""),
    ] {
        let more = if payload.starts_with(b"[") { &[JSON][..] } else { &[] };
        let sequence = publish(&outbound, msg_id, payload, more).await;
        let result = result_of(&outbound, sequence).await;
        assert_eq!(outcome(&result), SendOutcome::Rejected, "{msg_id}");
        assert_eq!(result.command_id.as_str(), id, "{msg_id}");
        assert_eq!(result.bsp.as_str(), "infobip", "{msg_id}");
        assert_eq!(result.channel_id.as_str(), "channel-0", "{msg_id}");
        assert_eq!(result.command_msg_id, if msg_id == long { "" } else { msg_id });
        assert_eq!(result.error.as_ref().unwrap().code, "INVALID_COMMAND", "{msg_id}");
        assert!(!result.faults.is_empty(), "{msg_id}");
        assert_eq!(result.context, if msg_id == "no-id" { "t 7" } else { "" });
        event_ids.insert(result.event_id);
    }
    assert_eq!(event_ids.len(), 8, "each has an id of its own");
    assert!(event_ids.iter().all(|id| id.len() == 32));
    assert_eq!(letters(&outbound).await.len(), 8);
    assert_eq!(outbound.account.received_count(), 0);

    // The result of a sent command has its sequence too.
    let good = publish(&outbound, "good", &text(0, "good", "4915112345", "Hello").encode_to_vec(), &[]).await;
    let result = result_of(&outbound, good).await;
    assert_eq!(outcome(&result), SendOutcome::Accepted);
    assert_eq!(result.command_msg_id.as_str(), "good");
    assert_eq!(outbound.result("good").await, result);

    let output = run_cli(&outbound.installation, &["tail", "sends", "--from-beginning", "--no-follow"]).await;
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("command 1 of COMMANDS") && shown.contains("command typo-1"), "{shown}");
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_id_is_answered_under_no_id() {
    let outbound = Outbound::start(&[100]).await;
    let sender = outbound.sender().await;
    let command = |body: &str| text(0, "reused", "4915112345", body).encode_to_vec();
    let first = publish(&outbound, "a", &command("Hello"), &[]).await;
    let accepted = result_of(&outbound, first).await;
    assert_eq!(outcome(&accepted), SendOutcome::Accepted);
    let other = publish(&outbound, "b", &command("Something else"), &[]).await;
    // A version with other rules, or a damaged repeat: it cannot be decoded, and its id is used.
    let broken = publish(&outbound, "c", br#"{"commandId":"reused","oops":1}"#, &[]).await;
    for (sequence, msg_id) in [(other, "b"), (broken, "c")] {
        let result = result_of(&outbound, sequence).await;
        assert_eq!(outcome(&result), SendOutcome::Rejected);
        assert_eq!(result.error.unwrap().code, "REUSED_COMMAND_ID");
        assert_eq!(result.command_id.as_str(), "");
        assert_eq!(result.message_id.as_str(), "");
        assert_eq!(result.command_msg_id.as_str(), msg_id);
        assert_eq!(result.faults.len(), 0);
        assert_ne!(result.event_id, accepted.event_id);
    }
    // The same command again is not another one, and has a result.
    let repeat = publish(&outbound, "d", &command("Hello"), &[]).await;
    eventually("the repeat is settled", || async {
        let waiting =
            bus::command_consumers::lag(&outbound.installation.bus, Priority::Interactive, &channel(0))
                .await
                .unwrap()?;
        (waiting.num_pending + waiting.num_ack_pending == 0).then_some(())
    })
    .await;
    assert_eq!(results_of(&outbound, repeat).await.len(), 0);
    let under_the_id =
        outbound.results().await.into_iter().filter(|result| result.command_id == "reused").count();
    assert_eq!(under_the_id, 1);
    assert_eq!(letters(&outbound).await.len(), 2);
    assert_eq!(outbound.account.received_count(), 1);
    sender.stop().await;
}

/// The state after a sender that dies between dead letter and result, and a sender whose result has no room.
#[tokio::test(flavor = "multi_thread")]
async fn letter_and_result_are_stored_once_each_whatever_comes_between_them() {
    let outbound = Outbound::start_with(&[100], &StreamSettings::default()).await;
    change_events(&outbound, &["imchannel.event.report.*.*"]).await;
    let mut program = outbound.sender_program(&[]);
    let garbage = publish(&outbound, "garbage", b"\xff\xff", &[]).await;
    let no_id = publish(&outbound, "no-id", br#"{"channelId":"channel-0"}"#, &[]).await;
    eventually("both letters are stored", || async { (letters(&outbound).await.len() == 2).then_some(()) })
        .await;
    assert_eq!(bus::read::last_sequence(&outbound.installation.bus, &EVENTS).await.unwrap(), 0);
    program.kill().await;

    change_events(&outbound, EVENTS.subjects).await;
    let sender = outbound.sender().await;
    for sequence in [garbage, no_id] {
        let result = result_of(&outbound, sequence).await;
        assert_eq!(outcome(&result), SendOutcome::Rejected);
    }
    assert_eq!(outbound.results().await.len(), 2);
    assert_eq!(letters(&outbound).await.len(), 2);
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_finds_no_place_costs_no_second_letter() {
    let duplicate_window = Duration::from_millis(100);
    let outbound =
        Outbound::start_with(&[100], &StreamSettings { duplicate_window, ..StreamSettings::default() }).await;
    change_events(&outbound, &["imchannel.event.report.*.*"]).await;
    let mut sender = outbound.sender_program(&[]);
    let garbage = publish(&outbound, "garbage", b"\xff\xff", &[]).await;
    for attempt in 1..=2 {
        // It tries for 5 s each time.
        let line = sender
            .line_within(Duration::from_secs(30), "the result of an invalid command was not stored")
            .await;
        assert_eq!(letters(&outbound).await.len(), 1, "{attempt}: {line}");
    }
    change_events(&outbound, EVENTS.subjects).await;
    assert_eq!(outcome(&result_of(&outbound, garbage).await), SendOutcome::Rejected);
    assert_eq!(letters(&outbound).await.len(), 1);
    sender.stop().await;
}
