//! The cases that the timeline is made for.

use super::*;
use crate::row::IdKind;

#[test]
fn a_delivered_message_with_a_file_is_whole() {
    let rows = vec![
        command_with_file("a", "m", 1, 0.0),
        result("a", SendOutcome::Accepted, 1, 1.0),
        fetch("a", "m", 2, 3.0),
        webhook(5, 60.0),
        report("a", ReportStatus::Delivered, 3, 60.5, 5),
        webhook(6, 90.0),
        report("a", ReportStatus::Read, 4, 90.5, 6),
    ];
    let life = life(rows, &view(4000.0));
    let expected =
        ["command", "result ACCEPTED", "fetch", "webhook", "report DELIVERED", "webhook", "report READ"];
    assert_eq!(steps(&life), expected);
    assert!(life.is_whole(), "{:?}", life.missing);
    assert_eq!(life.notes, []);
    assert_eq!(life.status(), "READ");
    assert_eq!(life.outcome(), Some(SendOutcome::Accepted));
    assert_eq!((life.channel(), life.bsp(), life.tenant()), ("sales", "infobip", "acme"));
    assert_eq!((life.command_id(), life.message_id()), (Some("a"), Some("imc-a")));
    assert_eq!(life.direction(), Direction::Outbound);
    assert_eq!(life.recipient().map(|recipient| recipient.last_digits.as_str()), Some("78"));
    assert_eq!(life.began_at(), Some(at(0.0)));
    let gaps: Vec<u128> = life.gaps().iter().map(std::time::Duration::as_millis).collect();
    assert_eq!(gaps, [0, 1000, 2000, 57_000, 500, 29_500, 500]);
}

#[test]
fn a_message_that_was_read_without_a_delivery_report_and_whose_file_no_client_was_seen_to_fetch_is_whole() {
    let rows = vec![
        command_with_file("a", "m", 1, 0.0),
        result("a", SendOutcome::Accepted, 1, 1.0),
        report("a", ReportStatus::Read, 4, 90.5, 6),
    ];
    assert_eq!(missing_texts(&life(rows, &view(4000.0))), [""; 0]);
}

#[test]
fn a_rejected_message_says_so_and_misses_nothing() {
    let rows = vec![command_with_file("a", "m", 1, 0.0), result("a", SendOutcome::Rejected, 1, 1.0)];
    let life = life(rows, &view(90_000.0));
    assert_eq!(life.status(), "REJECTED");
    assert!(life.is_whole(), "{:?}", life.missing);
    assert_eq!(life.rows[1].error.as_ref().map(|error| error.code.as_str()), Some("7010"));
}

#[test]
fn an_accepted_message_without_a_report_says_for_how_long_from_its_acceptance() {
    let rows = vec![command("a", 1, 0.0), result("a", SendOutcome::Accepted, 1, 60.0)];
    assert!(life(rows.clone(), &view(60.0 + 899.0)).is_whole());
    let life_now = life(rows.clone(), &view(60.0 + 900.0));
    assert_eq!(missing_texts(&life_now), ["no report for 15 min"]);
    assert_eq!((life_now.missing[0].since, life_now.missing[0].due), (at(60.0), at(960.0)));
    assert!(life_now.missing[0].advice.contains("channel sales"), "{}", life_now.missing[0].advice);
    assert_eq!(life_now.status(), "ACCEPTED");

    let mut impatient = view(60.0 + 840.0);
    impatient.rules.report_after.insert("sales".to_owned(), std::time::Duration::from_secs(60));
    assert_eq!(missing_texts(&life(rows.clone(), &impatient)), ["no report for 14 min"]);

    let mut behind = view(5000.0);
    behind.progress.of_mut(StreamNumber::Events).read_until = Some(at(959.0));
    assert!(life(rows, &behind).is_whole(), "the report may be among the events that were not read yet");
}

#[test]
fn a_message_without_a_report_says_what_the_message_log_said_and_when_it_was_asked() {
    let by_log = |status, sequence, seconds, words: &str| {
        let mut row = report("a", status, sequence, seconds, 0);
        row.summary = format!("{}{words}", crate::row::FROM_LOG);
        row
    };
    let mut rows = vec![command("a", 1, 0.0), result("a", SendOutcome::Accepted, 1, 60.0)];
    rows.push(by_log(ReportStatus::Pending, 2, 60.0 + 900.0, "PENDING_ENROUTE"));
    let pending = life(rows.clone(), &view(60.0 + 1020.0));
    let time = at(60.0 + 900.0).strftime("%H:%M");
    let said = format!("infobip's log was asked at {time} UTC: PENDING_ENROUTE");
    assert_eq!(missing_texts(&pending), [format!("no report for 17 min; {said}")]);
    assert_eq!(pending.notes, [Note { row: 2, text: format!("no report for 15 min; {said}") }]);

    let time = at(60.0 + 1800.0).strftime("%H:%M");
    rows.push(by_log(ReportStatus::Failed, 3, 60.0 + 1800.0, "REJECTED_NOT_ENOUGH_CREDITS"));
    let decided = life(rows.clone(), &view(4000.0));
    assert_eq!(decided.status(), "FAILED");
    assert_eq!(missing_texts(&decided), [""; 0], "it is known what became of it");
    let said = format!("infobip's log was asked at {time} UTC: REJECTED_NOT_ENOUGH_CREDITS");
    assert_eq!(decided.notes[1], Note { row: 3, text: format!("no report for 30 min; {said}") });

    rows.insert(2, report("a", ReportStatus::Sent, 4, 70.0, 5));
    assert_eq!(life(rows, &view(4000.0)).notes, [], "a report had come");
}

#[test]
fn a_webhook_that_became_a_dead_letter_says_why() {
    let rows = vec![webhook(17, 0.0), dead_letter("WEBHOOKS/17", 3, 0.5), dead_letter("WEBHOOKS/17", 4, 0.5)];
    let life = life(rows, &view(4000.0));
    assert_eq!(steps(&life), ["webhook", "dead_letter", "dead_letter"]);
    assert_eq!((life.status(), life.direction()), (DEAD_LETTER, Direction::Neither));
    assert_eq!(life.rows[1].error.as_ref().map(|error| error.code.as_str()), Some("malformed"));
    assert!(life.is_whole() && life.notes.is_empty(), "{life:?}");
}

#[test]
fn a_file_that_no_client_fetched_is_missing_ten_minutes_after_the_message_was_accepted() {
    let waits = vec![command_with_file("a", "m", 1, 0.0)];
    let mut rows = waits.clone();
    rows.push(result("a", SendOutcome::Accepted, 1, 300.0));
    rows.push(report("a", ReportStatus::Sent, 2, 301.0, 5));
    let mut head = fetch("a", "m", 3, 302.0);
    head.summary = "HEAD 0 bytes".to_owned();
    rows.push(head);
    assert!(life(rows.clone(), &view(899.0)).is_whole());
    assert_eq!(missing_texts(&life(rows.clone(), &view(900.0))), ["the file was not fetched for 10 min"]);
    rows.push(fetch("a", "m", 4, 303.0));
    assert!(life(rows, &view(900.0)).is_whole());

    let rules: Vec<RuleName> = life(waits, &view(900.0)).missing.iter().map(|missing| missing.rule).collect();
    assert_eq!(rules, [RuleName::NoResult], "no BSP has a reason to fetch the file yet");
}

#[test]
fn a_customers_message_is_received_and_waits_for_the_back_end() {
    let rows = vec![webhook(17, 0.0), message("wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjBGQkY0AA==", 3, 1.0, 17)];
    let mut view = view(301.0);
    let read = life(rows.clone(), &view);
    assert_eq!((read.status(), read.direction()), (RECEIVED, Direction::Inbound));
    assert_eq!(read.message_id(), Some("wamid.…Y0AA=="));
    assert!(read.is_whole() && read.notes.is_empty(), "{read:?}");

    view.floors.aicc = Some(2);
    let waits = life(rows.clone(), &view);
    assert_eq!(missing_texts(&waits), ["the back end has not acknowledged the message yet, for 5 min"]);
    view.now = at(60.0);
    assert!(life(rows.clone(), &view).is_whole());
    view.now = at(301.0);
    view.floors.aicc = None;
    assert!(life(rows, &view).is_whole(), "without a floor it is not known");
}

#[test]
fn several_events_that_wait_for_the_back_end_are_one_line() {
    let rows = vec![
        command("a", 1, 0.0),
        result("a", SendOutcome::Accepted, 11, 1.0),
        report("a", ReportStatus::Sent, 12, 31.0, 5),
    ];
    let mut view = view(200.0);
    view.floors.aicc = Some(10);
    let missing = missing_texts(&life(rows.clone(), &view)).join("; ");
    assert_eq!(missing, "the back end has not acknowledged 2 events yet, the oldest for 3 min");
    view.floors.aicc = Some(11);
    assert_eq!(
        missing_texts(&life(rows.clone(), &view)),
        ["the back end has not acknowledged the report SENT yet, for 2 min"]
    );
    view.progress.of_mut(StreamNumber::Events).sequence = 5;
    view.floors.aicc = Some(4);
    assert!(life(rows, &view).is_whole(), "the stream was created again and has not that many messages");
}

#[test]
fn a_command_in_a_halted_lane_says_why_it_waits() {
    let rows = vec![command("a", 1, 0.0)];
    let mut view = view(59.0);
    assert!(life(rows.clone(), &view).notes.is_empty());
    view.halted_lanes.insert("sales".to_owned(), "paused by an operator".to_owned());
    let fresh = life(rows.clone(), &view);
    assert!(fresh.is_whole());
    assert_eq!(note_texts(&fresh), ["waits: the lane is halted: paused by an operator"]);

    view.now = at(240.0);
    for stream in StreamNumber::ALL {
        view.progress.of_mut(stream).read_until = Some(at(239.0));
    }
    let overdue = life(rows.clone(), &view);
    assert_eq!(missing_texts(&overdue), ["no result for 4 min: the lane is halted: paused by an operator"]);
    assert!(overdue.missing[0].advice.contains("imchannel lanes list --channel sales"));
    assert_eq!((overdue.status(), overdue.notes.len()), (WAITING, 0));

    let lane = crate::rules::Lane { channel: "sales".to_owned(), is_bulk: true };
    view.rules.result_after.insert(lane, std::time::Duration::from_secs(600));
    let mut campaign = rows[0].clone();
    campaign.is_bulk = true;
    assert_eq!(
        note_texts(&life(vec![campaign], &view)),
        ["waits: the lane is halted: paused by an operator"]
    );
    view.halted_lanes.clear();
    assert_eq!(missing_texts(&life(rows, &view)), ["no result for 4 min"]);
}

#[test]
fn a_webhook_without_events_is_nothing_for_the_back_end_or_waits() {
    let rows = vec![webhook(17, 0.0)];
    let mut view = view(100.0);
    assert_eq!(note_texts(&life(rows.clone(), &view)), ["nothing in it for the back end"]);
    view.floors.finished = Some(Finished { sequence: 16, until: None });
    assert_eq!(note_texts(&life(rows.clone(), &view)), [""; 0], "its event may be stored and not read");
    view.floors.finished = None;
    assert_eq!(note_texts(&life(rows.clone(), &view)), [""; 0]);

    view.floors.normalizer = Some(16);
    let waits = life(rows.clone(), &view);
    assert_eq!(missing_texts(&waits), ["the normalizer has not finished this webhook for 1 min"]);
    assert_eq!(note_texts(&waits), ["waits for the normalizer"]);
    view.now = at(30.0);
    assert!(life(rows, &view).is_whole());
    let made = vec![webhook(17, 0.0), report("a", ReportStatus::Sent, 3, 1.0, 17)];
    view.now = at(100.0);
    assert!(life(made, &view).is_whole(), "an earlier webhook holds the floor");
}

#[test]
fn a_dead_letter_of_a_command_ends_its_wait() {
    let mut unreadable = row(RowKind::Command, StreamNumber::Commands, 9, 0.0);
    unreadable.summary = "cannot be decoded".to_owned();
    let mut refused = row(RowKind::Result, StreamNumber::Events, 4, 1.0);
    refused.status = Some(crate::row::Status::Outcome(SendOutcome::Rejected));
    let refused = linked(refused, IdKind::Stored, "COMMANDS/9");
    let rows = vec![dead_letter("COMMANDS/9", 2, 0.9), refused, unreadable];
    let life = life(rows, &view(4000.0));
    assert_eq!(steps(&life), ["command", "result REJECTED", "dead_letter"]);
    assert_eq!((life.status(), life.direction()), ("REJECTED", Direction::Outbound));
    assert!(life.is_whole());
}

#[test]
fn no_report_is_not_said_while_it_may_be_in_a_webhook_that_the_normalizer_has_not_finished() {
    let rows = vec![command("a", 1, 0.0), result("a", SendOutcome::Accepted, 1, 1.0)];
    let mut view = view(2000.0);
    assert_eq!(missing_texts(&life(rows.clone(), &view)), ["no report for 33 min"]);
    view.floors.finished = Some(Finished { sequence: 7, until: Some(at(900.0)) });
    assert_eq!(missing_texts(&life(rows.clone(), &view)), [""; 0], "a webhook of second 900 waits");
    view.floors.finished = Some(Finished { sequence: 7, until: Some(at(901.0)) });
    assert_eq!(missing_texts(&life(rows.clone(), &view)), ["no report for 33 min"]);
    view.floors.finished = None;
    assert_eq!(missing_texts(&life(rows, &view)), [""; 0], "without a normalizer no one knows");
}

#[test]
fn a_file_that_was_fetched_for_another_message_is_not_missing() {
    let rows = vec![command_with_file("a", "m", 1, 0.0), result("a", SendOutcome::Accepted, 1, 1.0)];
    let mut view = view(700.0);
    assert_eq!(missing_texts(&life(rows.clone(), &view)), ["the file was not fetched for 11 min"]);
    let file = rows[0].key(IdKind::Media).expect("it names a file");
    view.fetched.insert((file, "support".to_owned()), at(3.0));
    assert_eq!(missing_texts(&life(rows.clone(), &view)).len(), 1, "in another channel it is another file");
    view.fetched.insert((file, "sales".to_owned()), at(3.0));
    let life = life(rows, &view);
    assert!(life.is_whole(), "{:?}", life.missing);
    let expected = "its file was fetched at 2026-11-27T10:00:03Z, for another message with the same file";
    assert_eq!(note_texts(&life), [expected]);
}

#[test]
fn a_row_that_does_not_know_the_customer_shows_the_id_as_the_command_does() {
    let mut sent = command("order-20261127101500", 1, 0.0);
    sent.links.last_mut().expect("its id").shown = "order-20261127101500".to_owned();
    let mut result = result("order-20261127101500", SendOutcome::Accepted, 1, 1.0);
    result.links.iter_mut().for_each(|link| link.shown = "order-***".to_owned());
    let alone = life(vec![result.clone()], &view(2.0));
    assert_eq!(alone.command_id(), Some("order-***"));
    let both = life(vec![sent, result], &view(2.0));
    assert_eq!(both.rows[1].shown(IdKind::Command), Some("order-20261127101500"));
}
