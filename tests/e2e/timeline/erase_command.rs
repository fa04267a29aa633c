//! `imchannel erase`: a customer is erased from the command line, as a program and as a person at a terminal ask for it. The number is in
//! no output.

use std::process::Output;

use serde_json::Value;

use super::access::office;
use super::erasure::{ERASED, OTHER, Stage, TEXT, WAMID, may_erase, seeded, stage};
use super::lives::gateway;
use crate::harness::terminal::Terminal;
use crate::harness::timeline::RunningTimeline;
use crate::harness::{Program, run_cli_reading, run_cli_with};

/// The other customer's message.
const OTHERS: &str = "wamid.HBgNNDkxNTE4NzY1NDMyMRUCABIYFDNBQUI=";

/// A stage with a message of each customer.
async fn written() -> Stage {
    let stage = Box::pin(stage()).await;
    stage.write(ERASED, WAMID, TEXT).await;
    stage.write(OTHER, OTHERS, TEXT).await;
    for id in [WAMID, OTHERS] {
        stage.timeline.life(id, &["message", "webhook"]).await;
    }
    assert!(!stage.traces(&seeded()).await.is_empty());
    stage
}

/// Runs `imchannel erase`, with a text on its standard input.
async fn erase(url: &str, input: &str, args: &[&str]) -> Output {
    let args: Vec<&str> = ["erase", "--console-url", url].iter().chain(args).copied().collect();
    run_cli_reading(input, &args).await
}

/// Everything that was printed. The number never is.
fn printed(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains(ERASED) && !text.contains("12345678"), "{text}");
    text.into_owned()
}

/// Starts the timeline again, on the address that it had.
async fn start_again(stage: &mut Stage) {
    let address = stage.timeline.url.trim_start_matches("http://").to_owned();
    let listen = ("IMCHANNEL_TIMELINE_LISTEN", address.as_str());
    let more: Vec<_> = may_erase(&stage.redis_url).into_iter().chain([listen]).collect();
    stage.timeline = RunningTimeline::start(&stage.outbound.installation, &stage.store, &more).await;
}

fn body(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", printed(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", printed(output)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_erased_by_a_command_that_says_how_far_it_is() {
    let mut stage = written().await;
    let url = stage.timeline.url.clone();
    let number = format!("+{ERASED}\n");

    // A program must say that it means it.
    let asked = erase(&url, &number, &["--to", "-", "--reason", "request 4711"]).await;
    assert_eq!(asked.status.code(), Some(2), "{}", printed(&asked));
    assert!(printed(&asked).contains("use --yes"), "{}", printed(&asked));
    let counted = body(&erase(&url, &number, &["--to", "-", "--dry-run", "--json"]).await);
    assert_eq!((&counted["dry_run"], &counted["step"]), (&true.into(), &"done".into()), "{counted:#}");
    assert!(counted["found"]["rows"].as_u64().unwrap() >= 2, "{counted:#}");
    assert!(!stage.traces(&seeded()).await.is_empty(), "a dry run erases nothing");

    // It waits for the back end, and goes on after a restart of the timeline.
    let args = ["erase", "--console-url", &url, "--to", ERASED, "--reason", "request 4711", "--yes"];
    let mut program = Program::start_with_args("imchannel", "", &args, &[]);
    let mut said = program.line_with("began erasure").await;
    let id = said.split_whitespace().nth(2).unwrap().to_owned();
    said += &program.line_with("the back end has acknowledged EVENTS up to").await;
    stage.timeline.program.kill().await;
    said += &program.line_with("the timeline does not answer; asking again").await;
    stage.acknowledge().await;
    start_again(&mut stage).await;
    said += &program.line_with("erased the customer …78").await;
    assert!(program.ended_well().await);
    said += &program.rest().await;
    for part in ["rows of the timeline", "raft logs of NATS servers", "until 20"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    assert!(!said.contains("12345678"), "{said}");
    assert_eq!(stage.traces(&seeded()).await, Vec::<String>::new(), "{said}");
    stage.timeline.life(OTHERS, &["message", "webhook"]).await;

    let (_, audit) = stage.timeline.get("/v1/audit").await;
    let entry = &audit["entries"][0];
    assert_eq!((&entry["action"], &entry["reason"]), (&"erasure".into(), &"request 4711".into()));
    let watched = body(&erase(&url, "", &["--watch", &id, "--json"]).await);
    assert_eq!(watched, stage.state(&id).await);
    assert!(watched["erased"]["events"].as_u64().unwrap() >= 1, "{watched:#}");
    // A second one finds nothing, and is no failure.
    let again = ["--to", "-", "--reason", "request 4711", "--yes", "--json"];
    assert_eq!(body(&erase(&url, &number, &again).await)["found"]["rows"], 0);
    let again = erase(&url, &number, &again[..again.len() - 1]).await;
    assert_eq!(again.status.code(), Some(0), "{}", printed(&again));
    assert!(printed(&again).contains("nothing was found of the customer …78"), "{}", printed(&again));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_erasure_is_interrupted_before_it_begins_has_failed() {
    let mut stage = Box::pin(stage()).await;
    stage.normalizer.take().unwrap().stop().await;
    // It waits until the normalizer has processed this one.
    stage.write(ERASED, WAMID, TEXT).await;
    let url = stage.timeline.url.clone();
    let args = ["erase", "--console-url", &url, "--to", ERASED, "--reason", "request 4711", "--yes"];
    let mut program = Program::start_with_args("imchannel", "", &args, &[]);
    let id = program.line_with("began erasure").await.split_whitespace().nth(2).unwrap().to_owned();
    program.line_with("waits for the normalizer").await;
    stage.timeline.program.kill().await;
    program.line_with("the timeline does not answer; asking again").await;
    start_again(&mut stage).await;
    assert!(!program.ended_well().await);
    let watched = erase(&url, "", &["--watch", &id]).await;
    assert_eq!(watched.status.code(), Some(1), "{}", printed(&watched));
    assert!(printed(&watched).contains("ask for it again"), "{}", printed(&watched));
    let json = erase(&url, "", &["--watch", &id, "--json"]).await;
    assert_eq!(json.status.code(), Some(1), "{}", printed(&json));
    assert_eq!(serde_json::from_slice::<Value>(&json.stdout).unwrap()["step"], "interrupted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_asked_after_it_has_counted_and_may_stop_waiting() {
    let stage = written().await;
    let (url, folder) = (stage.timeline.url.clone(), stage.store.path().to_owned());
    let args = format!("erase --console-url {url} --to {ERASED} --reason request-4711");
    let question = "Erase the customer …78 permanently? [y/N]";
    let mut refused = Terminal::start(&folder, 200, &args);
    refused.until(question).await;
    refused.type_line("n").await;
    assert_eq!(refused.exit_code().await, Some(2), "{}", refused.text);
    assert!(refused.text.contains("nothing was erased"), "{}", refused.text);
    assert!(!stage.traces(&seeded()).await.is_empty());

    // The back end has acknowledged nothing.
    let mut confirmed = Terminal::start(&folder, 200, &args);
    confirmed.until(question).await;
    confirmed.type_line("y").await;
    confirmed.until("the back end has acknowledged EVENTS up to").await;
    confirmed.press_ctrl_c().await;
    assert_eq!(confirmed.exit_code().await, Some(1), "{}", confirmed.text);
    assert!(confirmed.text.contains("rows of the timeline"), "{}", confirmed.text);
    for text in [&refused.text, &confirmed.text] {
        assert!(!text.contains("12345678"), "{text}");
    }
    let watch = confirmed.text.split('`').find(|part| part.starts_with("imchannel erase --watch "));
    let id = watch.unwrap_or_else(|| panic!("{}", confirmed.text)).rsplit(' ').next().unwrap();
    let busy = erase(&url, "", &["--to", ERASED, "--dry-run"]).await;
    assert_eq!(busy.status.code(), Some(1), "{}", printed(&busy));
    assert!(printed(&busy).contains(id) && printed(&busy).contains("erase --watch"), "{}", printed(&busy));

    stage.acknowledge().await;
    let watched = erase(&url, "", &["--watch", id]).await;
    assert_eq!(watched.status.code(), Some(0), "{}", printed(&watched));
    assert!(printed(&watched).contains("erased the customer …78"), "{}", printed(&watched));
    assert_eq!(stage.traces(&seeded()).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_refusal_says_what_to_do_and_not_the_number() {
    let gateway = gateway(&[]).await;
    let url = &gateway.timeline.url;
    let of_number = |more: &[&'static str]| [&["--to", ERASED], more].concat();
    let off = erase(url, "", &of_number(&["--dry-run"])).await;
    assert_eq!(off.status.code(), Some(1), "{}", printed(&off));
    assert!(printed(&off).contains("set IMCHANNEL_TIMELINE_ERASURE=on"), "{}", printed(&off));
    for (args, expected) in [
        (of_number(&["--yes"]), "--reason"),
        (vec!["--to", "-", "--dry-run"], "the number is empty"),
        // Without quotes the shell divides a number.
        (vec!["--to", "+49151", "12345678", "--dry-run"], "put quotes around a number"),
        (vec![ERASED, "--dry-run"], "--to"),
        (vec!["--watch", ERASED], "not an id of an erasure"),
        (vec!["--watch", "0190"], "not an id of an erasure"),
    ] {
        let output = erase(url, "\n", &args).await;
        assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
        assert!(printed(&output).contains(expected), "{}", printed(&output));
    }
    let two = format!("{ERASED}\n\n{OTHER}\n");
    let two = erase(url, &two, &["--to", "-", "--dry-run"]).await;
    assert_eq!(two.status.code(), Some(2), "{}", printed(&two));
    assert!(
        printed(&two).contains("more than one line") && !printed(&two).contains(OTHER),
        "{}",
        printed(&two)
    );
    let away = erase("http://127.0.0.1:1", "", &of_number(&["--dry-run"])).await;
    assert_eq!(away.status.code(), Some(1), "{}", printed(&away));
    assert!(printed(&away).contains("cannot reach the timeline"), "{}", printed(&away));
    let unknown = erase(url, "", &["--watch", "0123456789abcdef01"]).await;
    assert_eq!(unknown.status.code(), Some(1), "{}", printed(&unknown));
}

#[tokio::test]
async fn only_an_operator_may_erase() {
    let office = office().await;
    let args = ["erase", "--to", ERASED, "--reason", "request 4711", "--yes"];
    let url = ("IMCHANNEL_CONSOLE_URL", office.url.as_str());
    let anyone = run_cli_with("", "imchannel", &args, &[url]).await;
    assert_eq!(anyone.status.code(), Some(1));
    assert!(printed(&anyone).contains("--console-token-file"), "{}", printed(&anyone));
    let viewer = ("IMCHANNEL_CONSOLE_TOKEN", office.viewer.as_str());
    let refused = run_cli_with("", "imchannel", &args, &[url, viewer]).await;
    assert_eq!(refused.status.code(), Some(1));
    let text = printed(&refused);
    assert!(text.contains("needs the role operator, and you have viewer"), "{text}");
}
