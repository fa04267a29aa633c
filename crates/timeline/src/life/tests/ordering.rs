//! The order of rows.

use jiff::SignedDuration;

use super::*;
use crate::life::order::TOLERANCE;
use crate::row::{AttemptOutcome, Status};

fn ordered(rows: Vec<Row>) -> Vec<String> {
    steps(&life(rows, &view(4000.0)))
}

#[test]
fn rows_of_one_time_are_in_the_order_of_steps() {
    let rows = vec![
        report("a", ReportStatus::Read, 4, 0.0, 1),
        report("a", ReportStatus::Delivered, 3, 0.0, 1),
        report("a", ReportStatus::Sent, 5, 0.0, 1),
        fetch("a", "m", 2, 0.0),
        result("a", SendOutcome::Accepted, 9, 0.0),
        command("a", 7, 0.0),
    ];
    let expected = ["command", "result ACCEPTED", "fetch", "report SENT", "report DELIVERED", "report READ"];
    assert_eq!(ordered(rows), expected);
}

#[test]
fn a_report_that_was_stored_before_its_result_is_after_it_unless_that_was_long_before() {
    let with_result_at = |seconds: f64| {
        let accepted = result("a", SendOutcome::Accepted, 9, seconds);
        ordered(vec![report("a", ReportStatus::Delivered, 3, 10.0, 1), accepted, command("a", 7, 0.0)])
    };
    assert_eq!(with_result_at(10.3), ["command", "result ACCEPTED", "report DELIVERED"]);
    assert_eq!(with_result_at(15.0), ["command", "result ACCEPTED", "report DELIVERED"]);
    assert_eq!(with_result_at(15.1), ["command", "report DELIVERED", "result ACCEPTED"]);
    assert_eq!(TOLERANCE.as_secs(), 5);
}

#[test]
fn nothing_is_before_the_command_and_the_webhook_that_caused_it() {
    let rows = vec![
        result("a", SendOutcome::Accepted, 9, 0.0),
        webhook(1, 40.0),
        report("a", ReportStatus::Delivered, 3, 1.0, 1),
        command("a", 7, 30.0),
    ];
    assert_eq!(ordered(rows), ["command", "result ACCEPTED", "webhook", "report DELIVERED"]);
}

#[test]
fn each_report_follows_its_own_webhook() {
    let rows = vec![
        command("a", 7, 0.0),
        result("a", SendOutcome::Accepted, 1, 0.5),
        webhook(1, 1.0),
        report("a", ReportStatus::Sent, 2, 1.1, 1),
        webhook(2, 2.0),
        report("a", ReportStatus::Delivered, 3, 2.1, 2),
    ];
    let expected = ["command", "result ACCEPTED", "webhook", "report SENT", "webhook", "report DELIVERED"];
    assert_eq!(ordered(rows), expected);
}

#[test]
fn reports_in_the_wrong_order_are_put_right_but_a_late_repetition_stays_late() {
    let with_delivered_at = |seconds: f64| {
        let read = report("a", ReportStatus::Read, 3, 10.0, 1);
        ordered(vec![read, report("a", ReportStatus::Delivered, 4, seconds, 2)])
    };
    assert_eq!(with_delivered_at(12.0), ["report DELIVERED", "report READ"]);
    assert_eq!(with_delivered_at(3600.0), ["report READ", "report DELIVERED"]);
}

#[test]
fn a_row_moves_with_the_row_that_it_follows() {
    let rows = vec![
        report("a", ReportStatus::Read, 5, 0.0, 3),
        report("a", ReportStatus::Delivered, 4, 4.0, 2),
        report("a", ReportStatus::Sent, 3, 8.0, 1),
    ];
    assert_eq!(ordered(rows), ["report SENT", "report DELIVERED", "report READ"]);
}

#[test]
fn attempts_have_the_time_of_their_calls() {
    let attempt = |part: u32, seconds: f64, outcome: AttemptOutcome| {
        let mut row = result("a", SendOutcome::Accepted, 9, 300.0);
        row.kind = RowKind::Attempt;
        row.pointer.part = part;
        row.status = Some(Status::Attempt(outcome));
        row.happened_at = Some(at(seconds));
        row
    };
    let rows = vec![
        attempt(2, 250.0, AttemptOutcome::Duplicate),
        attempt(1, 1.0, AttemptOutcome::Unclear),
        result("a", SendOutcome::Accepted, 9, 300.0),
        report("a", ReportStatus::Sent, 3, 20.0, 1),
        command("a", 7, 0.0),
    ];
    let life = life(rows, &view(4000.0));
    let expected = ["command", "attempt UNCLEAR", "report SENT", "attempt DUPLICATE", "result ACCEPTED"];
    assert_eq!(steps(&life), expected);
    assert_eq!(life.gaps()[1].as_millis(), 1000);
    assert_eq!(clock_difference(&life.rows[1]), None);
}

#[test]
fn a_replayed_row_is_where_its_time_is() {
    let mut replayed = report("a", ReportStatus::Sent, 5, 12.0, 1);
    replayed.is_replayed = true;
    let rows = vec![replayed, report("a", ReportStatus::Delivered, 4, 10.0, 2)];
    assert_eq!(ordered(rows), ["report DELIVERED", "report SENT"]);
}

#[test]
fn clocks_that_differ_are_shown_from_two_seconds() {
    let mut late = report("a", ReportStatus::Sent, 5, 12.0, 1);
    assert_eq!(clock_difference(&late), None);
    late.happened_at = Some(at(10.5));
    assert_eq!(clock_difference(&late), None);
    late.happened_at = Some(at(2.0));
    assert_eq!(clock_difference(&late), Some(SignedDuration::from_secs(-10)));
    late.happened_at = Some(at(3612.0));
    assert_eq!(clock_difference(&late), Some(SignedDuration::from_secs(3600)));
}
