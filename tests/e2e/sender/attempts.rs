//! The calls that a result shows: each as the BSP saw it, masked, and none of them if that costs the result.

use std::time::Duration;

use bus::Priority;
use bus::provision;
use bus::streams::{EVENTS, StreamSettings};
use prost::Message;
use proto::v1::outbound_media::Source;
use proto::v1::send_command::Content;
use proto::v1::{Attempt, AttemptOutcome, OutboundMedia, SendCommand, SendOutcome, SendResult};
use simulator::infobip_api::{Faults, Intermediary, RetryAfter};

use crate::harness::files::{bytes, stored};
use crate::harness::ledger::{change_events, decided, entry};
use crate::harness::outbound::{Outbound, outcome, text};
use crate::harness::{Installation, Program, eventually, run_cli, within};

const RECIPIENT: &str = "4915123456789";
const TEXT: &str = "Your appointment is on Monday";
const CONTEXT: &str = "ticket 7 of Jo Doe";
/// What an account could say about a call, with a number, a file and an id of WhatsApp.
const SAID: &str = "+49 151 23456789 is not valid, see https://files.example/secret of wamid.HBgNNDkxNTEyMzQ1Njc4ORUCABEYEjQ1QUJDRA==";
/// Time for a takeover and a retry.
const TAKEOVER: Duration = Duration::from_secs(60);

fn command(id: &str) -> SendCommand {
    SendCommand { context: CONTEXT.to_owned(), ..text(0, id, RECIPIENT, TEXT) }
}

fn fronts(front: Intermediary) -> Faults {
    Faults { fronts: vec![front], ..Faults::default() }
}

/// A sender that logs bodies as they are.
fn sender(outbound: &Outbound) -> Program {
    outbound.sender_program(&[
        ("IMCHANNEL_LOG_PAYLOADS", "full"),
        ("IMCHANNEL_SEND_TIMEOUT", "1s"),
        ("IMCHANNEL_LOOKUP_DELAYS", "1s,2s,4s"),
    ])
}

/// Waits until the account has refused more calls than before.
async fn until_refused(outbound: &Outbound, before: u64) -> u64 {
    eventually("a call is refused", || async {
        Some(outbound.account.calls().faulty).filter(|faulty| *faulty > before)
    })
    .await
}

/// Waits until the ledger says of a command that its second call was refused. The next call comes after the time that the
/// account asks for; a sender that is killed before it has no call whose outcome is unknown.
async fn until_refused_twice(outbound: &Outbound, id: &str) {
    within(TAKEOVER, "two calls are refused", || async {
        let entry = entry(outbound, 0, id).await?.json;
        (entry["attempts"].as_u64()? >= 2 && entry["state"] == "not_sent").then_some(())
    })
    .await;
}

/// What the calls showed, each once in a row.
fn outcomes(result: &SendResult) -> Vec<AttemptOutcome> {
    let mut outcomes: Vec<_> = result.attempts_made.iter().map(Attempt::outcome).collect();
    outcomes.dedup();
    outcomes
}

/// Nothing of the command, the account or the files of this installation is in the calls.
fn assert_masked(outbound: &Outbound, result: &SendResult) {
    let calls = SendResult { attempts_made: result.attempts_made.clone(), ..SendResult::default() };
    let stored = String::from_utf8_lossy(&calls.encode_to_vec()).into_owned();
    let key = std::fs::read_to_string(outbound.installation.folder().join("api.key")).unwrap();
    let secrets = [
        RECIPIENT,
        "23456789",
        TEXT,
        CONTEXT,
        "Jo Doe",
        &key,
        "App ",
        &outbound.media_url,
        "files.example",
        "HBgNNDkxNTEy",
    ];
    for secret in secrets {
        assert!(!stored.contains(secret), "{secret} is in {stored}");
    }
}

fn assert_each_is_plausible(result: &SendResult) {
    assert_eq!(result.attempts, result.attempts_made.len() as u32 + result.attempts_left_out);
    let decided = result.decided_at.unwrap();
    let mut before = 0;
    for call in &result.attempts_made {
        let (at, duration) = (call.at.unwrap(), call.duration.unwrap());
        assert!(before <= at.seconds && at.seconds <= decided.seconds, "{call:?}");
        assert!((0..10).contains(&duration.seconds) && duration.nanos > 0, "{call:?}");
        assert!(call.request.contains(r#""phoneNumber":"***""#), "{call:?}");
        assert!(call.request.contains(&format!(r#""messageId":"{}""#, result.message_id)), "{call:?}");
        assert_eq!(call.provider_trace_id, "", "Infobip names no header");
        before = at.seconds;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_shows_each_call_as_the_bsp_saw_it_and_nothing_personal() {
    let outbound = Outbound::start(&[100]).await;
    let mut sender = sender(&outbound);
    outbound.account.set_faults(fronts(Intermediary::own(429, "TOO_MANY_REQUESTS")));
    outbound.publish(Priority::Interactive, &command("refused")).await;
    let refused = until_refused(&outbound, 0).await;
    outbound.account.set_faults(fronts(Intermediary::html(404)));
    until_refused(&outbound, refused).await;
    outbound.account.set_faults(Faults::default());
    let result = outbound.result("refused").await;
    assert_eq!(outcome(&result), SendOutcome::Accepted, "{result:#?}");
    assert_each_is_plausible(&result);
    assert_masked(&outbound, &result);
    assert_eq!(result.attempts_left_out, 0);
    let expected = [AttemptOutcome::Limited, AttemptOutcome::RefusedInFront, AttemptOutcome::Accepted];
    assert_eq!(outcomes(&result), expected);
    for call in &result.attempts_made {
        let (status, body) = match call.outcome() {
            AttemptOutcome::Limited => (429, r#""messageId":"TOO_MANY_REQUESTS","text":"It was refused""#),
            AttemptOutcome::RefusedInFront => (404, "bytes of invalid JSON)"),
            _ => (200, r#""groupName":"PENDING""#),
        };
        assert!(call.http_status == status && call.response.contains(body), "{call:?}");
    }
    // The log has what the result has not: the mask does not depend on the setting of the log.
    let line = sender.line_with("request to").await;
    assert!(line.contains(RECIPIENT) && line.contains(TEXT), "{line}");

    outbound.account.set_faults(fronts(Intermediary::invalid("destinations[0].to.phoneNumber", SAID)));
    outbound.publish(Priority::Interactive, &command("invalid")).await;
    let result = outbound.result("invalid").await;
    assert_eq!(outcomes(&result), [AttemptOutcome::Rejected]);
    assert_each_is_plausible(&result);
    assert_masked(&outbound, &result);
    let [call] = &result.attempts_made[..] else { panic!("{result:#?}") };
    assert!(call.response.contains("*** is not valid, see https://*** of wamid.…JDRA=="), "{call:?}");

    // The account has accepted it, and only its response is lost.
    let lost = Intermediary { is_after: true, ..Intermediary::html(500) };
    outbound.account.set_faults(fronts(lost));
    outbound.publish(Priority::Interactive, &command("lost")).await;
    let result = outbound.result("lost").await;
    assert_eq!((outcome(&result), outcomes(&result)), (SendOutcome::Accepted, vec![AttemptOutcome::Unclear]));
    assert_each_is_plausible(&result);
    assert_eq!(result.attempts_made[0].http_status, 500);

    outbound.account.set_faults(Faults { cut: 1.0, ..Faults::default() });
    outbound.publish(Priority::Interactive, &command("cut")).await;
    let result = outbound.result("cut").await;
    assert_eq!(outcomes(&result), [AttemptOutcome::ConnectionLost]);
    let call = &result.attempts_made[0];
    assert_eq!((call.http_status, call.response.as_str()), (0, ""));

    // People see the number of calls, and programs the calls.
    let tail = ["tail", "sends", "--from-beginning", "--no-follow"];
    let shown = run_cli(&outbound.installation, &tail).await.stdout;
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("after 1 call") && !shown.contains("scenarioKey"), "{shown}");
    let shown = run_cli(&outbound.installation, &[&["--json"], &tail[..]].concat()).await.stdout;
    let line = shown.split(|byte| *byte == b'\n').find(|line| line.windows(5).any(|part| part == b"\"cut\""));
    let event: serde_json::Value = serde_json::from_slice(line.unwrap()).unwrap();
    let call = &event["attemptsMade"][0];
    assert_eq!(call["outcome"], "ATTEMPT_OUTCOME_CONNECTION_LOST", "{event}");
    assert!(call["duration"].as_str().unwrap().ends_with('s'), "{event}");
    assert!(sender.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_url_of_a_file_is_in_the_log_and_in_no_result() {
    let outbound = Outbound::start(&[100]).await;
    let media = outbound.media().await;
    let mut sender = outbound.sender_program(&[]);
    let file = stored(&media.url, "image", "image/jpeg", bytes(b"\xff\xd8\xff\xe0", 1_000)).await;
    let source = Some(Source::MediaId(file["id"].as_str().unwrap().to_owned()));
    let image = OutboundMedia { source, caption: TEXT.to_owned(), ..OutboundMedia::default() };
    let image = SendCommand { content: Some(Content::Image(image)), ..command("image") };
    outbound.publish(Priority::Interactive, &image).await;
    let line = sender.line_with("request to").await;
    assert!(line.contains(&format!(r#""imageUrl":"{}"#, outbound.media_url)), "{line}");
    assert!(!line.contains(TEXT), "{line}");
    let result = outbound.result("image").await;
    assert_masked(&outbound, &result);
    assert!(result.attempts_made[0].request.contains(r#""imageUrl":"***""#), "{result:#?}");
    assert!(sender.stop().await);
    media.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_a_dead_sender_are_left_out_and_counted() {
    let outbound = Outbound::start(&[100]).await;
    let mut first = sender(&outbound);
    let refusal = Intermediary {
        retry_after: Some(RetryAfter::Seconds(4)),
        ..Intermediary::own(429, "TOO_MANY_REQUESTS")
    };
    outbound.account.set_faults(fronts(refusal));
    outbound.publish(Priority::Interactive, &command("handed-over")).await;
    until_refused_twice(&outbound, "handed-over").await;
    first.kill().await;
    outbound.account.set_faults(Faults::default());
    let mut second = sender(&outbound);
    let result = within(TAKEOVER, "the other sender sends it", || async {
        outbound.results().await.into_iter().find(|result| result.command_id == "handed-over")
    })
    .await;
    assert_eq!(outcome(&result), SendOutcome::Accepted);
    assert_each_is_plausible(&result);
    assert!(result.attempts_left_out >= 2, "{result:#?}");
    assert_eq!(outcomes(&result), [AttemptOutcome::Accepted]);
    assert!(second.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_waits_for_the_bus_has_its_calls_and_the_ledger_has_none() {
    let outbound = Outbound::start(&[100]).await;
    let sender = outbound.sender().await;
    change_events(&outbound, &["imchannel.event.report.*.*"]).await;
    outbound.publish(Priority::Interactive, &command("waits")).await;
    let entry = decided(&outbound, 0, "waits").await;
    assert!(!entry.json.to_string().contains("attemptsMade"), "{}", entry.json);
    change_events(&outbound, EVENTS.subjects).await;
    let result = outbound.result("waits").await;
    assert_each_is_plausible(&result);
    assert_eq!((outcomes(&result), result.attempts_left_out), (vec![AttemptOutcome::Accepted], 0));
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_stored_without_bodies_if_the_server_takes_no_larger_one() {
    /// Enough for everything but a result with a response of 2 KiB.
    const PAYLOAD_MAX: usize = 2_400;
    let installation = Installation::start_bare_with_payload_max(PAYLOAD_MAX).await;
    provision::apply(&installation.bus, &StreamSettings::default()).await.unwrap();
    let outbound = Outbound::on(installation, &[100], None).await;
    let sender = outbound.sender().await;
    let what: &'static str = "wrong ".repeat(1_000).leak();
    outbound.account.set_faults(fronts(Intermediary::invalid("text", what)));
    outbound.publish(Priority::Interactive, &command("large")).await;
    let result = outbound.result("large").await;
    assert_eq!(outcome(&result), SendOutcome::Rejected);
    let [call] = &result.attempts_made[..] else { panic!("{result:#?}") };
    assert_eq!((call.http_status, call.outcome()), (400, AttemptOutcome::Rejected));
    assert_eq!((call.request.as_str(), call.response.as_str()), ("…", "…"));
    sender.stop().await;
}
