//! `imchannel trace` against a running timeline: what it prints, its exit codes, and how it says that no timeline is there.

use std::process::Output;

use bus::Priority;
use serde_json::Value;

use super::access::{SUPERVISOR, TEXT, office};
use super::lives::{CUSTOMER, Gateway, gateway, set_report_after, silent_gateway};
use crate::harness::outbound::text;
use crate::harness::{eventually, run_cli_with};

async fn trace(gateway: &Gateway, args: &[&str]) -> Output {
    let args: Vec<&str> =
        ["trace", "--console-url", &gateway.timeline.url].iter().chain(args).copied().collect();
    run_cli_with(&gateway.outbound.installation.nats.url(), "imchannel", &args, &[]).await
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + &String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn trace_prints_a_whole_life_and_exits_with_0() {
    let gateway = gateway(&[]).await;
    let _normalizer = gateway.outbound.installation.normalizer().await;
    let _sender = gateway.outbound.sender().await;
    gateway.outbound.publish(Priority::Interactive, &text(0, "c-whole", CUSTOMER, "my secret text")).await;
    gateway.timeline.life("c-whole", &["command", "attempt", "result", "report"]).await;
    let output = trace(&gateway, &["c-whole"]).await;
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in ["c-whole", "channel-0", "command", "result", "ACCEPTED", "…78"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    for personal in [CUSTOMER, "secret text"] {
        assert!(!text.contains(personal), "{text}");
    }
    let json = trace(&gateway, &["c-whole", "--json"]).await;
    let said: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(said["lives"][0]["command_id"], "c-whole", "{said:#}");
    let to = trace(&gateway, &["--to", &format!("+{CUSTOMER}")]).await;
    assert!(printed(&to).contains("COMMANDS/1") && !printed(&to).contains(CUSTOMER), "{}", printed(&to));
}

#[tokio::test]
async fn trace_exits_with_3_where_something_is_missing_and_with_1_where_nothing_is_found() {
    let gateway = silent_gateway().await;
    let _sender = gateway.outbound.sender().await;
    gateway.outbound.publish(Priority::Interactive, &text(0, "c-silent", CUSTOMER, "Hello")).await;
    gateway.timeline.life("c-silent", &["command", "attempt", "result"]).await;
    // The list of problems follows a setting that changed after the message was accepted, as the life of the message does.
    set_report_after(&gateway.outbound, 1).await;
    let output = eventually("trace says what is missing", || async {
        let output = trace(&gateway, &["c-silent"]).await;
        (output.status.code() == Some(3)).then_some(output)
    })
    .await;
    assert!(printed(&output).contains("no report for"), "{}", printed(&output));
    let problems = trace(&gateway, &["--problems"]).await;
    assert_eq!(problems.status.code(), Some(3), "{}", printed(&problems));
    assert!(printed(&problems).contains("c-silent"), "{}", printed(&problems));
    let nothing = trace(&gateway, &["c-nothing"]).await;
    assert_eq!(nothing.status.code(), Some(1), "{}", printed(&nothing));
}

#[tokio::test]
async fn trace_says_how_to_reach_a_timeline_that_is_not_there() {
    let args = ["trace", "--console-url", "http://127.0.0.1:1", "c-1"];
    let output = run_cli_with("", "imchannel", &args, &[]).await;
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("http://127.0.0.1:1") && text.contains("--console-url"), "{text}");
}

#[tokio::test]
async fn trace_shows_numbers_and_texts_to_those_who_may_see_them_and_the_audit_log_says_so() {
    let office = office().await;
    let unmask = async |token: &str, more: &[&str]| {
        let args: Vec<&str> =
            ["trace", "--unmask", "--reason", "ticket 4711"].iter().chain(more).copied().collect();
        let variables = [("IMCHANNEL_CONSOLE_URL", office.url.as_str()), ("IMCHANNEL_CONSOLE_TOKEN", token)];
        run_cli_with("", "imchannel", &args, &variables).await
    };
    let shown = eventually("the command is read", || async {
        let output = unmask(SUPERVISOR, &["order-17"]).await;
        output.status.success().then_some(output)
    })
    .await;
    let text = printed(&shown);
    for part in ["This is entry 1 of the audit log", "COMMANDS/1", CUSTOMER, TEXT] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let json = unmask(SUPERVISOR, &["order-17", "--json"]).await;
    let body: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(body["messages"][0]["content"]["recipient"], CUSTOMER, "{body:#}");

    let refused = unmask(&office.viewer, &["order-17"]).await;
    let text = printed(&refused);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("needs the role unmask, and you have viewer"), "{text}");
    assert!(!text.contains(CUSTOMER) && !text.contains(TEXT), "{text}");
    let nothing = unmask(SUPERVISOR, &["order-18"]).await;
    assert_eq!(nothing.status.code(), Some(1), "{}", printed(&nothing));
    assert!(printed(&nothing).contains("nothing with this id is stored"), "{}", printed(&nothing));

    // An entry for each time that something was shown, and for no other.
    let audit = office.get_as(SUPERVISOR, "/v1/audit").await.bytes().await.unwrap();
    let audit: Value = serde_json::from_slice(&audit).unwrap();
    let entries = audit["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{audit:#}");
    for entry in entries {
        assert_eq!(
            (&entry["action"], &entry["user"], &entry["reason"], &entry["details"]),
            (&"unmask".into(), &"supervisor".into(), &"ticket 4711".into(), &"COMMANDS/1".into())
        );
    }
    let args = ["trace", "order-17", "--unmask"];
    let without_reason = run_cli_with("", "imchannel", &args, &[]).await;
    assert_eq!(without_reason.status.code(), Some(2), "{}", printed(&without_reason));
    assert!(printed(&without_reason).contains("--reason"), "{}", printed(&without_reason));
}
