//! `imchannel trace` against a running timeline: what it prints, its exit codes, and how it says that no timeline is there.

use std::process::Output;

use bus::Priority;
use serde_json::Value;

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
    set_report_after(&gateway.outbound, 1).await;
    let _sender = gateway.outbound.sender().await;
    gateway.outbound.publish(Priority::Interactive, &text(0, "c-silent", CUSTOMER, "Hello")).await;
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
