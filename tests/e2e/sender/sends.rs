//! Commands that reach their customers or do not, and their results, against a simulated account over real HTTP.

use std::collections::HashSet;
use std::time::Duration;

use bus::{Priority, headers};
use jiff::Timestamp;
use proto::v1::{SendCommand, SendOutcome, SendResult};
use serde_json::json;
use simulator::infobip_api::Faults;

use crate::harness::outbound::{Outbound, channel, outcome, text};
use crate::harness::{eventually, within};

#[tokio::test]
async fn a_command_published_twice_is_sent_once_and_answered_once() {
    let outbound = Outbound::start(&[100]).await;
    let command = SendCommand { context: "ticket 7".to_owned(), ..text(0, "c-1", "+4915112345", "Hello") };
    outbound.publish_as(Priority::Interactive, &command, "first").await;
    let sender = outbound.sender().await;
    let result = outbound.result("c-1").await;
    assert_eq!(outcome(&result), SendOutcome::Accepted);
    assert_eq!(result.attempts, 1);
    assert_eq!(result.message_id, "imc-c-1");
    assert_eq!(result.context, "ticket 7");
    assert_eq!(result.provider_status.unwrap().name, "PENDING_ENROUTE");
    // Again with another message id, and as a campaign.
    outbound.publish_as(Priority::Interactive, &command, "second").await;
    outbound.publish_as(Priority::Bulk, &command, "third").await;
    eventually("both repeats are seen", || async {
        sender.metrics().contains("sender_duplicate_commands_total 2").then_some(())
    })
    .await;
    assert_eq!(outbound.results().await.len(), 1);
    let received = outbound.account.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].recipient, "4915112345");
    assert_eq!(received[0].content, json!({ "text": "Hello" }));
    sender.stop().await;
}

#[tokio::test]
async fn another_message_under_a_used_id_is_a_dead_letter_with_a_result() {
    let outbound = Outbound::start(&[100]).await;
    let _sender = outbound.sender().await;
    outbound.publish_as(Priority::Interactive, &text(0, "c-1", "+4915112345", "Hello"), "first").await;
    outbound.result("c-1").await;
    outbound.publish_as(Priority::Interactive, &text(0, "c-1", "+4915112345", "Bye"), "second").await;
    let letter =
        eventually("it is a dead letter", || async { outbound.installation.dead_letters().await.pop() })
            .await;
    assert_eq!(letter.headers.get(headers::REASON_KIND), Some("reused_command_id"));
    // Its result has no command id, because the id is that of the first message.
    let result = outbound.result("").await;
    assert_eq!(result.error.unwrap().code, "REUSED_COMMAND_ID");
    assert_eq!(outbound.results().await.len(), 2);
    assert_eq!(outbound.account.received_count(), 1);
}

#[tokio::test]
async fn a_command_in_json_is_sent() {
    let outbound = Outbound::start(&[100]).await;
    let _sender = outbound.sender().await;
    let command = json!({ "commandId": "json", "channelId": "channel-0", "recipient": "4915112345",
        "location": { "latitude": 52.5, "longitude": 13.4 } });
    publish_json(&outbound, Priority::Interactive, &command.to_string()).await;
    assert_eq!(outcome(&outbound.result("json").await), SendOutcome::Accepted);
    assert_eq!(outbound.account.received_count(), 1);
}

#[tokio::test]
async fn what_cannot_be_sent_is_answered_with_every_fault() {
    let outbound = Outbound::start(&[100]).await;
    let _sender = outbound.sender().await;
    let command =
        json!({ "commandId": "bad", "channelId": "channel-1", "recipient": "x", "text": { "body": "" } });
    publish_json(&outbound, Priority::Interactive, &command.to_string()).await;
    let result = outbound.result("bad").await;
    assert_eq!(outcome(&result), SendOutcome::Rejected);
    assert_eq!(result.error.unwrap().code, "INVALID_COMMAND");
    let fields: Vec<_> = result.faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(fields, ["channel_id", "recipient", "text.body"]);
    assert!(outbound.installation.dead_letters().await.is_empty(), "the result says everything");
    assert_eq!(outbound.account.received_count(), 0);
}

#[tokio::test]
async fn what_cannot_be_decoded_is_a_dead_letter_and_answered_if_its_id_is_readable() {
    let outbound = Outbound::start(&[100]).await;
    let _sender = outbound.sender().await;
    let id = channel(0);
    // Truncated after its id.
    let bytes = prost::Message::encode_to_vec(&text(0, "cut", "4915112345", "Hello"));
    outbound.publish_raw(Priority::Interactive, &id, bytes[..bytes.len() - 3].to_vec(), &[]).await;
    assert_eq!(outcome(&outbound.result("cut").await), SendOutcome::Rejected);
    publish_json(&outbound, Priority::Bulk, r#"{"command_id":"odd","text":7}"#).await;
    assert_eq!(outcome(&outbound.result("odd").await), SendOutcome::Rejected);
    outbound.publish_raw(Priority::Interactive, &id, vec![0xff; 40], &[]).await;
    let letters = eventually("three dead letters", || async {
        let letters = outbound.installation.dead_letters().await;
        (letters.len() == 3).then_some(letters)
    })
    .await;
    assert!(letters.iter().all(|letter| letter.subject == "imchannel.deadletter.command.channel-0"));
    assert_eq!(letters[2].payload, vec![0xff; 40]);
    assert_eq!(outbound.account.received_count(), 0);
}

async fn publish_json(outbound: &Outbound, queue: Priority, command: &str) {
    let json = (headers::CONTENT_TYPE, "application/json");
    outbound.publish_raw(queue, &channel(0), command.into(), &[json]).await;
}

/// Sends one message to an account with these faults; returns its result.
async fn result_with(outbound: &Outbound, id: &str, faults: Faults) -> SendResult {
    outbound.account.set_faults(faults);
    outbound.publish(Priority::Interactive, &text(0, id, "4915112345", "Hello")).await;
    outbound.result(id).await
}

#[tokio::test]
async fn a_message_that_the_bsp_rejects_is_rejected_with_its_error() {
    let outbound = Outbound::start(&[100]).await;
    let _sender = outbound.sender().await;
    let result = result_with(&outbound, "refused", Faults { rejected: 1.0, ..Faults::default() }).await;
    assert_eq!(outcome(&result), SendOutcome::Rejected);
    assert_eq!(result.error.unwrap().code, "12");
    assert_eq!(outbound.account.received_count(), 0);
}

#[tokio::test]
async fn a_call_without_an_answer_is_accepted_if_the_message_log_shows_the_message() {
    let outbound = Outbound::start(&[100]).await;
    let _sender = outbound.sender().await;
    let result = result_with(&outbound, "cut", Faults { cut: 1.0, ..Faults::default() }).await;
    assert_eq!(outcome(&result), SendOutcome::Accepted);
    assert_eq!(result.attempts, 1);
    assert_eq!(outbound.received("imc-cut"), 1);
}

#[tokio::test]
async fn a_server_error_after_acceptance_is_accepted_by_the_message_log() {
    let outbound = Outbound::start(&[100]).await;
    let _sender = outbound.sender().await;
    let result = result_with(&outbound, "after", Faults { error_after: 1.0, ..Faults::default() }).await;
    assert_eq!(outcome(&result), SendOutcome::Accepted);
    assert_eq!(outbound.received("imc-after"), 1);
}

#[tokio::test]
async fn a_message_that_was_not_accepted_is_unknown_as_the_log_cannot_show_that() {
    let outbound = Outbound::start(&[100]).await;
    let _sender = outbound.sender().await;
    let result = result_with(&outbound, "before", Faults { error_before: 1.0, ..Faults::default() }).await;
    assert_eq!(outcome(&result), SendOutcome::Unknown);
    assert_eq!(result.message_id, "imc-before");
    assert_eq!(result.error.unwrap().code, "OUTCOME_UNKNOWN");
    assert_eq!(outbound.account.received_count(), 0);
}

#[tokio::test]
async fn a_message_that_the_log_shows_too_late_is_unknown_and_not_sent_again() {
    let outbound = Outbound::start(&[100]).await;
    let _sender = outbound.sender().await;
    let late = Faults { cut: 1.0, log_lag: Duration::from_secs(100_000), ..Faults::default() };
    let result = result_with(&outbound, "late", late).await;
    assert_eq!(outcome(&result), SendOutcome::Unknown);
    assert_eq!(outbound.received("imc-late"), 1);
}

#[tokio::test]
async fn a_command_over_the_rate_limit_is_tried_again() {
    let outbound = Outbound::start(&[100]).await;
    let _sender = outbound.sender().await;
    outbound.account.set_faults(Faults { limited: 1.0, ..Faults::default() });
    outbound.publish(Priority::Interactive, &text(0, "limited", "4915112345", "Hello")).await;
    eventually("it was answered 429", || async { (outbound.account.calls().faulty >= 2).then_some(()) })
        .await;
    outbound.account.set_faults(Faults::default());
    let result = outbound.result("limited").await;
    assert_eq!(outcome(&result), SendOutcome::Accepted);
    assert!(result.attempts >= 3, "{result:?}");
    assert_eq!(outbound.account.received_count(), 1);
}

#[tokio::test]
async fn a_command_for_a_server_that_does_not_listen_is_tried_until_its_deadline() {
    let outbound = Outbound::start(&[100]).await;
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    outbound.apply_channel_at(0, 100, &format!("http://{unused}"), "").await;
    let _sender = outbound.sender().await;
    // Long enough for a lane to get another owner on a busy machine.
    let soon = bsp::time::to_proto(Timestamp::now() + Duration::from_secs(12));
    let command = SendCommand { not_after: Some(soon), ..text(0, "alone", "4915112345", "Hello") };
    outbound.publish(Priority::Interactive, &command).await;
    let result = outbound.result("alone").await;
    assert_eq!(outcome(&result), SendOutcome::Expired);
    assert!(result.attempts >= 1, "{result:?}");
    assert_eq!(outbound.account.received_count(), 0);
}

#[tokio::test]
async fn a_wrong_key_halts_the_channel_and_loses_no_message() {
    let outbound = Outbound::start(&[100]).await;
    let key = outbound.installation.folder().join("api.key");
    std::fs::write(&key, "another-key").unwrap();
    let sender = outbound.sender().await;
    for number in 0..200 {
        let id = format!("c-{number}");
        outbound.publish(Priority::Bulk, &text(0, &id, &format!("49151{number:04}"), "Hello")).await;
    }
    // Until the third probe at least.
    within(Duration::from_secs(60), "the lane is halted and tried again", || async {
        let metrics = sender.metrics();
        let is_halted = metrics.contains("sender_lane_halted{channel=\"channel-0\"} 1");
        let calls = crate::harness::outbound::counted(&metrics, "sender_calls_total", "refused_account");
        (is_halted && calls >= 4).then_some(())
    })
    .await;
    eventually("it says why", || async {
        outbound.halted(0).await?.contains("the account fails (401 UNAUTHORIZED)").then_some(())
    })
    .await;
    assert!(outbound.results().await.is_empty(), "nothing is decided by the account");
    // After the fix everything is sent, without a restart. The next try is seconds away, and uses the new key: no call
    // is made with the old one, however long its command has been in line.
    let refused =
        || crate::harness::outbound::counted(&sender.metrics(), "sender_calls_total", "refused_account");
    let refused_before = refused();
    std::fs::write(&key, "0123456789abcdef0123456789abcdef-key").unwrap();
    within(Duration::from_secs(90), "every command is answered", || async {
        (outbound.results().await.len() >= 200).then_some(())
    })
    .await;
    let results = outbound.results().await;
    assert!(results.iter().all(|result| outcome(result) == SendOutcome::Accepted));
    let ids: HashSet<_> = results.into_iter().map(|result| result.command_id).collect();
    assert_eq!(ids.len(), 200);
    assert_eq!(outbound.account.received_count(), 200);
    assert_eq!(refused(), refused_before, "no try after the change was made with the old key");
    sender.stop().await;
}

#[tokio::test]
async fn commands_of_a_channel_that_is_not_there_become_dead_letters() {
    let outbound = Outbound::start(&[100]).await;
    let _sender = outbound.sender().await;
    outbound.publish(Priority::Interactive, &text(7, "stray", "4915112345", "Hello")).await;
    let letter = within(Duration::from_secs(150), "it is a dead letter", || async {
        outbound.installation.dead_letters().await.pop()
    })
    .await;
    assert_eq!(letter.headers.get(headers::REASON_KIND), Some("no_channel"));
    assert_eq!(letter.subject, "imchannel.deadletter.command.channel-7");
}

#[tokio::test]
async fn a_paused_channel_keeps_its_commands_and_answers_those_that_grow_too_old() {
    let outbound = Outbound::start(&[100]).await;
    outbound.set_paused(0, true).await;
    let _sender = outbound.sender().await;
    let soon = bsp::time::to_proto(Timestamp::now() + Duration::from_secs(3));
    // Deep in the stream, beyond what a lane fetches.
    for number in 0..300 {
        let id = format!("keeps-{number}");
        outbound.publish(Priority::Bulk, &text(0, &id, &format!("49151{number:04}"), "Hello")).await;
    }
    let old = SendCommand { not_after: Some(soon), ..text(0, "old", "4915112345", "Hello") };
    outbound.publish(Priority::Bulk, &old).await;
    let result = within(Duration::from_secs(40), "the old one is answered", || async {
        outbound.results().await.into_iter().find(|result| result.command_id == "old")
    })
    .await;
    assert_eq!(outcome(&result), SendOutcome::Expired);
    assert_eq!(outbound.account.calls().sends, 0);
    outbound.set_paused(0, false).await;
    within(Duration::from_secs(60), "the others are sent", || async {
        (outbound.results().await.len() == 301).then_some(())
    })
    .await;
    assert_eq!(outbound.account.received_count(), 300);
    assert_eq!(outbound.received("imc-old"), 0);
}

#[tokio::test]
async fn one_recipient_gets_messages_one_after_the_other_in_order() {
    let outbound = Outbound::start(&[1000]).await;
    outbound.account.set_faults(Faults { latency: Duration::from_millis(20), ..Faults::default() });
    for number in 0..120 {
        let id = format!("c-{number}");
        let recipient = format!("49151000{}", number % 4);
        outbound.publish(Priority::Bulk, &text(0, &id, &recipient, &number.to_string())).await;
    }
    outbound.publish(Priority::Interactive, &text(0, "agent", "4915999", "I go first")).await;
    let _sender = outbound.sender().await;
    within(Duration::from_secs(60), "all are sent", || async {
        (outbound.account.received_count() == 121).then_some(())
    })
    .await;
    let received = outbound.account.received();
    for recipient in 0..4 {
        let recipient = format!("49151000{recipient}");
        let of = received.iter().filter(|message| message.recipient == recipient);
        let numbers: Vec<u32> =
            of.map(|message| message.content["text"].as_str().unwrap().parse().unwrap()).collect();
        assert!(numbers.is_sorted() && numbers.len() == 30, "{numbers:?}");
        let times: Vec<_> = received
            .iter()
            .filter(|message| message.recipient == recipient)
            .map(|message| message.at)
            .collect();
        let apart = times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(20));
        assert!(apart, "two messages to {recipient} were in flight at the same time");
    }
    let place = received.iter().position(|message| message.message_id == "imc-agent").unwrap();
    assert!(place < 20, "the agent's message was number {place}");
}

#[tokio::test]
async fn a_limited_channel_with_a_long_queue_slows_no_other() {
    let _alone = crate::harness::exclusive().await;
    let outbound = Outbound::start(&[1, 500]).await;
    outbound.account.set_faults(Faults { latency: Duration::from_millis(20), ..Faults::default() });
    let _sender = outbound.sender().await;
    let run = async |name: &str| {
        let began = std::time::Instant::now();
        for number in 0..200 {
            let id = format!("{name}-{number}");
            outbound
                .publish(Priority::Interactive, &text(1, &id, &format!("49151{number:04}"), "Hello"))
                .await;
        }
        let prefix = format!("imc-{name}-");
        within(Duration::from_secs(60), "all of them are sent", || async {
            let received = outbound.account.received();
            let count = received.iter().filter(|message| message.message_id.starts_with(&prefix)).count();
            (count == 200).then_some(())
        })
        .await;
        began.elapsed()
    };
    // The fastest of some: other tests use the same CPUs, for a while in one half of them only.
    let fastest = async |name: &str| {
        let mut took = Vec::new();
        for number in 0..5 {
            took.push(run(&format!("{name}{number}")).await);
        }
        took.into_iter().min().unwrap()
    };
    let usual = fastest("usual").await;
    for number in 0..10_000 {
        let id = format!("slow-{number}");
        outbound.publish(Priority::Bulk, &text(0, &id, &format!("49152{number:05}"), "Hello")).await;
    }
    eventually("the slow channel is at work", || async {
        let received = outbound.account.received();
        received.iter().any(|message| message.message_id.starts_with("imc-slow-")).then_some(())
    })
    .await;
    let beside = fastest("beside").await;
    assert!(beside < 2 * usual, "{beside:?} beside 10,000 waiting commands, {usual:?} alone");
}
