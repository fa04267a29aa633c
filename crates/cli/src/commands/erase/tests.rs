//! What is printed of an erasure, and how often.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use timeline::erasure::{ErasureAnswer, ErasureCounts, ErasureStep, Remaining};

use super::watch::{Progress, What};
use super::{only_number, show};
use crate::output::Text;

fn at(time: &str) -> Timestamp {
    format!("2026-03-01T{time}Z").parse().unwrap()
}

fn answer(step: ErasureStep) -> ErasureAnswer {
    ErasureAnswer {
        id: "0190".to_owned(),
        recipient: "…78".to_owned(),
        requested_at: at("10:00:00"),
        requested_by: "ann".to_owned(),
        dry_run: false,
        force: false,
        step,
        waits_for: Vec::new(),
        found: ErasureCounts::default(),
        erased: ErasureCounts::default(),
        shared_webhooks: Vec::new(),
        shared_files: 0,
        unread_events: Vec::new(),
        remains: Vec::new(),
        error: None,
        ended_at: None,
    }
}

fn plain(lines: &[Text]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn an_erasure_is_its_counts_and_what_remains_with_its_time() {
    let remains = |what: &str, until: Option<Timestamp>| Remaining { what: what.to_owned(), until };
    let done = ErasureAnswer {
        erased: ErasureCounts { rows: 12, webhooks: 4, events: 5, files: 1, ..ErasureCounts::default() },
        shared_webhooks: vec!["WEBHOOKS/4".to_owned(), "WEBHOOKS/7".to_owned()],
        shared_files: 1,
        unread_events: vec!["EVENTS/9".to_owned()],
        remains: vec![remains("raft logs", Some(at("12:00:00.5"))), remains("mirrors", None)],
        ..answer(ErasureStep::Done)
    };
    let expected = "\
erased the customer …78 (erasure 0190)
      12  rows of the timeline
       4  webhooks
       5  events
       0  commands
       0  dead letters
       1  files
       0  entries of the ledger of sends, without result and context
  webhooks with items of other customers too, whose events stay: WEBHOOKS/4, WEBHOOKS/7
  1 file that other customers got too: not removed
  events that the back end had not acknowledged: EVENTS/9
not overwritten now, if the installation has it:
  until 2026-03-01 12:00:00 UTC  raft logs
  no fixed time                  mirrors
";
    assert_eq!(plain(&show::erased(&done)), expected);
}

#[test]
fn a_dry_run_is_what_would_be_erased() {
    let found = ErasureCounts { rows: 3, ..ErasureCounts::default() };
    let counted = ErasureAnswer { dry_run: true, force: true, found, ..answer(ErasureStep::Done) };
    let text = plain(&show::counted(&counted));
    assert!(
        text.starts_with("counted what the customer …78 has; nothing is erased\n       3  rows"),
        "{text}"
    );
    assert_eq!(
        show::question(&counted),
        "Erase the customer …78 permanently, with events that the back end has not acknowledged?"
    );
}

#[test]
fn a_step_is_said_once_and_a_wait_that_changes_at_intervals() {
    let mut progress = Progress::default();
    let began = Instant::now();
    let after = |seconds: u64| began + Duration::from_secs(seconds);
    let waiting =
        |what: &str| ErasureAnswer { waits_for: vec![what.to_owned()], ..answer(ErasureStep::Reading) };
    let first = plain(&progress.lines(&waiting("webhook 1"), began));
    assert_eq!(first, "  reading what came before\n  waits for webhook 1\n");
    assert_eq!(progress.lines(&waiting("webhook 2"), after(1)), []);
    assert_eq!(plain(&progress.lines(&waiting("webhook 3"), after(10))), "  waits for webhook 3\n");
    assert_eq!(progress.lines(&waiting("webhook 3"), after(60)), []);
    let failed = ErasureAnswer { error: Some("NATS is away".to_owned()), ..answer(ErasureStep::Erasing) };
    assert_eq!(
        plain(&progress.lines(&failed, after(61))),
        "  erasing\n  does not go on, trying again: NATS is away\n"
    );
}

#[test]
fn a_customer_of_whom_nothing_was_there_was_not_found() {
    let remains = vec![Remaining { what: "raft logs".to_owned(), until: None }];
    let done = ErasureAnswer { remains, ..answer(ErasureStep::Done) };
    let expected = "\
nothing was found of the customer …78 (erasure 0190)
not overwritten now, if the installation has it:
  no fixed time                  raft logs
";
    assert_eq!(plain(&show::erased(&done)), expected);
    let counted = ErasureAnswer { dry_run: true, ..answer(ErasureStep::Done) };
    assert_eq!(plain(&show::counted(&counted)), "nothing was found of the customer …78; nothing is erased\n");
}

#[test]
fn standard_input_has_one_number() {
    for input in ["+49 151 12345678", " +49 151 12345678\r\n", "+49 151 12345678\n \n\t\r\n"] {
        assert_eq!(only_number(input.as_bytes()).as_deref(), Ok("+49 151 12345678"), "{input:?}");
    }
    let long = [b'1'; 1025];
    for input in [&b"4915112345678\n4915187654321\n"[..], b"\n4915112345678", b"49151\xff", &long] {
        let why = only_number(input).unwrap_err();
        assert!(why.contains("nothing was erased") && !why.contains("49"), "{why}");
    }
    assert_eq!(only_number(b"").as_deref(), Ok(""));
}

#[test]
fn a_count_is_not_followed_after_a_restart_and_an_erasure_is() {
    let follows = "`imchannel erase --watch 0190` follows it";
    assert!(What::Erasure.goes_on("0190").contains(follows));
    assert!(!What::Count.goes_on("0190").contains("--watch"));
    let unknown = What::Erasure.unknown("0190");
    for part in ["erasure 0190", "may have ended", "another timeline has it"] {
        assert!(unknown.contains(part), "{unknown}");
    }
    assert!(What::Count.unknown("0190").contains("nothing was erased"));
}
