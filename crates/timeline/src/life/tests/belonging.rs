//! Which rows belong together.

use super::*;
use crate::row::IdKind;

fn in_channel(mut row: Row, channel: &str) -> Row {
    row.channel = channel.to_owned();
    row
}

#[test]
fn commands_of_two_channels_with_one_id_are_two_lives() {
    let rows = vec![
        command("a", 1, 0.0),
        result("a", SendOutcome::Accepted, 1, 1.0),
        in_channel(command("a", 2, 2.0), "support"),
    ];
    let lives = assemble(rows, &view(2000.0));
    let found: Vec<(&str, usize)> = lives.iter().map(|life| (life.channel(), life.rows.len())).collect();
    assert_eq!(found, [("sales", 2), ("support", 1)]);
    assert_eq!(missing_texts(&lives[0]), ["no report for 33 min"]);
    assert_eq!(missing_texts(&lives[1]), ["no result for 33 min"]);
}

#[test]
fn a_webhook_with_reports_on_several_messages_is_in_the_life_of_each() {
    let rows = vec![
        webhook(5, 10.0),
        report("a", ReportStatus::Delivered, 2, 11.0, 5),
        report("b", ReportStatus::Read, 3, 11.0, 5),
        dead_letter("WEBHOOKS/5", 1, 11.0),
    ];
    let lives = assemble(rows, &view(4000.0));
    let statuses: Vec<&str> = lives.iter().map(Life::status).collect();
    assert_eq!(statuses, ["DELIVERED", "READ", DEAD_LETTER]);
    assert!(lives.iter().all(|life| life.rows.len() == 2 && life.rows[0].kind == RowKind::Webhook));
}

#[test]
fn a_report_with_only_the_second_id_is_of_the_same_message() {
    let wamid = "wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjBGQkY0AA==";
    let sent = linked(report("a", ReportStatus::Sent, 2, 11.0, 5), IdKind::ProviderMessage, wamid);
    let deleted = row(RowKind::Report, StreamNumber::Events, 9, 90.0);
    let deleted = linked(deleted, IdKind::Message, wamid);
    let life = life(vec![command("a", 1, 0.0), deleted, sent], &view(4000.0));
    assert_eq!(life.rows.len(), 3);
}

#[test]
fn a_file_and_an_event_id_join_no_messages() {
    let rows = vec![command_with_file("a", "m", 1, 0.0), command_with_file("b", "m", 2, 0.0)];
    assert_eq!(assemble(rows, &view(10.0)).len(), 2);
    let twice = |sequence: u64| linked(message(&sequence.to_string(), sequence, 0.0, 1), IdKind::Event, "e");
    assert_eq!(assemble(vec![twice(1), twice(2)], &view(10.0)).len(), 2);
}

#[test]
fn a_message_that_has_the_place_of_an_older_stream_is_another_one() {
    let days = 86_400.0;
    let rows = vec![
        webhook(5, 0.0),
        report("a", ReportStatus::Sent, 2, 1.0, 5),
        webhook(5, 10.0 * days),
        report("b", ReportStatus::Sent, 2, 10.0 * days + 1.0, 5),
    ];
    let lives = assemble(rows, &view(11.0 * days));
    assert_eq!(lives.iter().map(|life| life.rows.len()).collect::<Vec<_>>(), [2, 2]);

    let second = linked(dead_letter("COMMANDS/1", 9, 10.0 * days + 1.0), IdKind::Event, "x");
    let rows = vec![command("a", 1, 0.0), command("b", 1, 10.0 * days), second];
    let lives = assemble(rows, &view(11.0 * days));
    assert_eq!(lives.iter().map(|life| life.rows.len()).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_command_id_that_was_used_again_leaves_the_first_result_in_force() {
    let mut refused = row(RowKind::Result, StreamNumber::Events, 8, 20.0);
    refused.status = Some(crate::row::Status::Outcome(SendOutcome::Rejected));
    let refused = linked(refused, IdKind::Stored, "COMMANDS/2");
    let rows = vec![
        command("a", 1, 0.0),
        result("a", SendOutcome::Accepted, 1, 1.0),
        command("a", 2, 10.0),
        refused,
    ];
    let life = life(rows, &view(30.0));
    assert_eq!(life.outcome(), Some(SendOutcome::Accepted));
    assert_eq!(life.status(), "ACCEPTED");
}

#[test]
fn nothing_has_no_lives_and_a_row_that_is_there_twice_counts_once() {
    assert_eq!(assemble(Vec::new(), &view(0.0)), []);
    let rows = vec![command("a", 1, 0.0), command("a", 1, 0.0)];
    assert_eq!(life(rows, &view(1.0)).rows.len(), 1);
}
