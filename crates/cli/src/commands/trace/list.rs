//! Lists of messages and of problems as lines.

use timeline::http::answer::{
    CountAnswer, MessageAnswer, MessagesAnswer, ProblemAnswer, ProblemsAnswer, WaitingAnswer,
};

use crate::commands::trace::life;
use crate::output::{BAD, DIM, GOOD, ODD, Text, styled, text};

/// Columns of a status: `INDETERMINATE`.
const STATUS_WIDTH: usize = 13;

/// The messages of a number, the newest first.
pub(super) fn messages(answer: &MessagesAnswer) -> Vec<Text> {
    let mut lines: Vec<Text> = answer.messages.iter().flat_map(message).collect();
    if lines.is_empty() {
        lines.push(text!("no message of this number is stored"));
    } else {
        lines.push(text!(
            "{}",
            styled(DIM, "`imchannel trace PLACE`, such as the last column, shows one of them.")
        ));
    }
    if answer.next.is_some() {
        lines.push(text!("{}", styled(ODD, "There are older ones; the timeline's page shows all.")));
    }
    lines.extend(life::unreadable(&answer.unreadable));
    lines.push(life::read_until(&answer.read_until));
    lines
}

fn message(message: &MessageAnswer) -> Vec<Text> {
    let head = &message.headline;
    let way = if head.direction == "in" { "in " } else { "out" };
    let status = format!("{:STATUS_WIDTH$}", life::words_of(&head.status));
    let line = text!(
        "{}  {way}  {}  {}  channel {}  {}",
        life::time(head.began),
        styled(life::status_style(&head.status), &status),
        head.summary,
        head.channel,
        styled(DIM, &message.pointer)
    );
    let cut = message
        .cut
        .then(|| text!("  {}", styled(ODD, "It has more rows than a list reads: ask for it by its place.")));
    std::iter::once(line).chain(message.missing.iter().flat_map(life::missing)).chain(cut).collect()
}

/// What is missing.
pub(super) fn problems(answer: &ProblemsAnswer) -> Vec<Text> {
    let mut lines: Vec<Text> = answer.waiting.iter().map(waiting).collect();
    lines.extend(answer.problems.iter().flat_map(problem));
    if lines.is_empty() {
        lines.push(text!("{}", styled(GOOD, "Nothing is missing.")));
    }
    lines.extend(answer.counts.iter().map(count));
    lines.extend(life::unreadable(&answer.unreadable));
    lines.push(life::read_until(&answer.read_until));
    lines
}

fn problem(problem: &ProblemAnswer) -> Vec<Text> {
    let mut words = vec![format!("channel {}", problem.channel)];
    if let Some(head) = &problem.message {
        words.extend(head.recipient.as_ref().map(|recipient| format!("to {recipient}")));
        words.extend(head.command_id.as_ref().map(|id| format!("command {id}")));
        words.extend(head.message_id.as_ref().map(|id| format!("message {id}")));
    }
    let place = problem.pointer.clone().unwrap_or_default();
    let line = text!(
        "{}  {}  {}  {}",
        life::time(problem.missing.due),
        styled(BAD, &problem.missing.text),
        words.join("  "),
        styled(DIM, &place)
    );
    vec![line]
}

fn waiting(waiting: &WaitingAnswer) -> Text {
    let reader = if waiting.rule == "webhook_waiting" { "the normalizer" } else { "the back end" };
    let words =
        format!("{reader} has not acknowledged {}, and at most {} in all", waiting.pointer, waiting.count);
    text!("{}  {}", life::time(waiting.since), styled(BAD, &words))
}

fn count(count: &CountAnswer) -> Text {
    text!("{:>8}  {}  channel {}", count.count, life::words_of(&count.rule), count.channel)
}
