//! An erasure in words: counts, what was named, and what cannot be overwritten now.

use jiff::Timestamp;
use timeline::erasure::{ErasureAnswer, ErasureCounts, Remaining};

use crate::output::{BAD, DIM, GOOD, ODD, Out, Text, styled, text};
use crate::words::pluralize;

/// Columns of a time: `until 2026-03-01 10:00:00 UTC`.
const UNTIL_WIDTH: usize = 29;

/// What is said when it has begun.
pub(super) fn begun(answer: &ErasureAnswer, out: &Out) {
    let ErasureAnswer { id, recipient, .. } = answer;
    out.print(&text!("{} erasure {id} of the customer {recipient}", styled(BAD, "began")));
}

/// What a customer has, before the question.
pub(super) fn counts(answer: &ErasureAnswer, out: &Out) {
    counted(answer).iter().for_each(|line| out.print(line));
}

/// The question to a person.
pub(super) fn question(answer: &ErasureAnswer) -> String {
    let events = if answer.force { ", with events that the back end has not acknowledged" } else { "" };
    format!("Erase the customer {} permanently{events}?", answer.recipient)
}

/// What came of an erasure that is over.
pub(super) fn result(answer: &ErasureAnswer, out: &Out) {
    let lines = if answer.dry_run { counted(answer) } else { erased(answer) };
    lines.iter().for_each(|line| out.print(line));
}

/// The lines of a dry run.
pub(super) fn counted(answer: &ErasureAnswer) -> Vec<Text> {
    if has_nothing(answer) {
        return vec![text!("nothing was found of the customer {}; nothing is erased", answer.recipient)];
    }
    let mut lines = vec![text!(
        "{} what the customer {} has; nothing is erased",
        styled(GOOD, "counted"),
        answer.recipient
    )];
    lines.extend(numbers(&answer.found));
    lines.extend(named(answer));
    lines
}

/// The lines of an erasure that is done.
pub(super) fn erased(answer: &ErasureAnswer) -> Vec<Text> {
    let ErasureAnswer { id, recipient, .. } = answer;
    let mut lines = if has_nothing(answer) {
        vec![text!("nothing was found of the customer {recipient} (erasure {id})")]
    } else {
        let mut lines = vec![text!("{} the customer {recipient} (erasure {id})", styled(BAD, "erased"))];
        lines.extend(numbers(&answer.erased));
        lines
    };
    lines.extend(named(answer));
    if !answer.remains.is_empty() {
        lines.push(text!("not overwritten now, if the installation has it:"));
        lines.extend(answer.remains.iter().map(remaining));
    }
    lines
}

/// Whether nothing of the customer was there.
fn has_nothing(answer: &ErasureAnswer) -> bool {
    let none = ErasureCounts::default();
    answer.found == none && answer.erased == none && named(answer).is_empty()
}

fn numbers(counts: &ErasureCounts) -> Vec<Text> {
    let ErasureCounts { rows, webhooks, events, commands, dead_letters, files, ledger_entries } = *counts;
    let all = [
        (rows, "rows of the timeline"),
        (webhooks, "webhooks"),
        (events, "events"),
        (commands, "commands"),
        (dead_letters, "dead letters"),
        (files, "files"),
        (ledger_entries, "entries of the ledger of sends, without result and context"),
    ];
    all.iter().map(|(count, what)| text!("{count:>8}  {what}")).collect()
}

/// What an answer names: what other customers have too, and what the back end did not read.
fn named(answer: &ErasureAnswer) -> Vec<Text> {
    let mut lines = Vec::new();
    let mut add = |what: &str| lines.push(text!("  {}", styled(ODD, what)));
    if !answer.shared_webhooks.is_empty() {
        let places = answer.shared_webhooks.join(", ");
        add(&format!("webhooks with items of other customers too, whose events stay: {places}"));
    }
    if answer.shared_files > 0 {
        let files = pluralize(answer.shared_files, "file");
        add(&format!("{files} that other customers got too: not removed"));
    }
    if !answer.unread_events.is_empty() {
        let places = answer.unread_events.join(", ");
        add(&format!("events that the back end had not acknowledged: {places}"));
    }
    lines
}

fn remaining(remaining: &Remaining) -> Text {
    let until = match remaining.until {
        Some(until) => format!("until {}", time(until)),
        None => "no fixed time".to_owned(),
    };
    text!("  {}  {}", styled(DIM, &format!("{until:UNTIL_WIDTH$}")), remaining.what)
}

/// A time in UTC with seconds: `2026-03-01 10:00:00 UTC`.
fn time(time: Timestamp) -> String {
    let text = format!("{time:.0}");
    format!("{} UTC", text.trim_end_matches('Z').replacen('T', " ", 1))
}
