//! The life of a message as lines: each step with its time, the time since the step before it, and what is missing in color.

use jiff::Timestamp;
use serde_json::Value;
use service::terminal;
use timeline::http::answer::{
    GapAnswer, LifeAnswer, MissingAnswer, Problem, ReadUntil, RowAnswer, TimelineAnswer, UnreadableAnswer,
};

use crate::output::{BAD, DIM, GOOD, ODD, STRONG, Text, styled, text};

/// Columns of a time: `2026-03-01 10:00:00.000`.
const TIME_WIDTH: usize = 23;
/// Columns of a gap: `+1234.567 s` is never longer, because longer ones have larger units.
const GAP_WIDTH: usize = 10;
/// Columns of a kind: `dead letter`.
const KIND_WIDTH: usize = 11;
/// Most columns of a status and summary that places are aligned behind.
const WHAT_WIDTH_MAX: usize = 44;
/// Lag of a stream that is worth a warning, in messages.
const BEHIND_MIN: u64 = 1;

/// Everything about an id.
pub(super) fn lines(answer: &TimelineAnswer) -> Vec<Text> {
    let mut lines = Vec::new();
    for (index, life) in answer.lives.iter().enumerate() {
        if index > 0 {
            lines.push(Text::default());
        }
        lines.extend(of_life(life));
        lines.extend(answer.missed.iter().filter(|gap| concerns(gap, life)).map(missed));
    }
    if answer.cut {
        lines.push(text!(
            "{}",
            styled(ODD, "There are more rows than are shown; give an id that fewer messages have.")
        ));
    }
    if answer.missed_left_out > 0 {
        let words = format!(
            "{} more ranges of messages were gone before the timeline read them.",
            answer.missed_left_out
        );
        lines.push(text!("{}", styled(ODD, &words)));
    }
    lines.extend(unreadable(&answer.unreadable));
    lines.push(read_until(&answer.read_until));
    lines
}

/// What the timeline has and cannot read: it is not in the answer.
pub(super) fn unreadable(parts: &[UnreadableAnswer]) -> impl Iterator<Item = Text> + '_ {
    parts.iter().map(|of| text!("{}", styled(ODD, &format!("Not readable: {}: {}", of.part, of.text))))
}

/// One message.
fn of_life(life: &LifeAnswer) -> Vec<Text> {
    let mut lines = vec![headline(life)];
    let places = life.rows.iter().map(|row| what(row).chars().count()).max().unwrap_or_default();
    let width = places.min(WHAT_WIDTH_MAX);
    lines.extend((0..life.rows.len()).flat_map(|index| row(life, index, width)));
    lines.extend(life.missing.iter().flat_map(missing));
    lines
}

/// A row with what is said about it.
pub(super) fn row(life: &LifeAnswer, index: usize, width: usize) -> Vec<Text> {
    let row = &life.rows[index];
    let error = error(row);
    let mut lines = vec![step(row, width)];
    lines.extend((!error.is_empty()).then(|| under(BAD, &error)));
    lines.extend(row.clock_difference_ms.map(|difference| under(ODD, &clock(difference))));
    let notes = life.notes.iter().filter(|note| note.row == index);
    lines.extend(notes.map(|note| under(DIM, &note.text)));
    lines
}

/// The first line of a message.
pub(super) fn headline(life: &LifeAnswer) -> Text {
    let head = &life.headline;
    let mut words = Vec::new();
    let preposition = if head.direction == "in" { "from" } else { "to" };
    words.extend(head.recipient.as_ref().map(|recipient| format!("{preposition} {recipient}")));
    let of = [&head.bsp, &head.tenant].into_iter().filter(|word| !word.is_empty());
    let of = of.cloned().collect::<Vec<_>>().join(", ");
    if !head.channel.is_empty() {
        let of = if of.is_empty() { of } else { format!(" ({of})") };
        words.push(format!("channel {}{of}", head.channel));
    }
    words.extend(head.command_id.as_ref().map(|id| format!("command {id}")));
    words.extend(head.message_id.as_ref().map(|id| format!("message {id}")));
    let status = styled(status_style(&head.status), &words_of(&head.status));
    let words = words.join("  ");
    if head.summary.is_empty() {
        return text!("{status}  {words}");
    }
    text!("{status}  {}  {words}", styled(STRONG, &head.summary))
}

/// The line of a step. What is followed by its place, aligned.
pub(super) fn step(row: &RowAnswer, width: usize) -> Text {
    let gap = row.after_ms.map(gap).unwrap_or_default();
    let status = row.status.as_deref().unwrap_or_default();
    let shown = what(row);
    let space = " ".repeat(width.saturating_sub(shown.chars().count()));
    // The status is the beginning of what is shown.
    let rest = shown.strip_prefix(&*terminal::escape(status)).unwrap_or_default().to_owned();
    text!(
        "  {}  {gap:>GAP_WIDTH$}  {:KIND_WIDTH$}  {}{rest}{space}  {}",
        time(row.at),
        words_of(&row.kind),
        styled(status_style(status), status),
        styled(DIM, &row.pointer)
    )
}

/// Status and summary, as they are shown.
fn what(row: &RowAnswer) -> String {
    let replayed = if row.replayed { "replayed" } else { "" };
    let status = row.status.as_deref().unwrap_or_default();
    let words = [status, &row.summary, replayed].into_iter().filter(|word| !word.is_empty());
    // Before widths are compared, escapes have their final length.
    let words: Vec<_> = words.map(terminal::escape).collect();
    words.join(" ")
}

fn error(row: &RowAnswer) -> String {
    let Some(error) = &row.error else { return String::new() };
    let words = [&error.code, &error.name].into_iter().filter(|word| !word.is_empty());
    let head = words.map(String::as_str).collect::<Vec<_>>().join(" ");
    match (head.is_empty(), error.text.is_empty()) {
        (_, true) => head,
        (true, false) => error.text.clone(),
        (false, false) => format!("{head}: {}", error.text),
    }
}

/// A line under a step.
fn under(style: anstyle::Style, words: &str) -> Text {
    let space = " ".repeat(TIME_WIDTH + GAP_WIDTH + KIND_WIDTH + 8);
    text!("{space}{}", styled(style, words))
}

fn clock(difference_ms: i64) -> String {
    let way = if difference_ms < 0 { "before" } else { "after" };
    let apart = duration(difference_ms.unsigned_abs());
    format!("happened {apart} {way} this by its own clock")
}

/// What is missing, and what to do.
pub(super) fn missing(missing: &MissingAnswer) -> Vec<Text> {
    let head = format!("{:KIND_WIDTH$}  {}", "missing", terminal::escape(&missing.text));
    let since = format!("(since {})", time(missing.since));
    let head =
        text!("  {}  {:>GAP_WIDTH$}  {} {}", time(missing.due), "", styled(BAD, &head), styled(DIM, &since));
    let advice = Some(&missing.advice).filter(|advice| !advice.is_empty());
    std::iter::once(head).chain(advice.map(|advice| under(ODD, advice))).collect()
}

/// Whether messages that were missed may be of this life: they were stored after its beginning.
fn concerns(gap: &GapAnswer, life: &LifeAnswer) -> bool {
    gap.before >= life.headline.began
}

fn missed(gap: &GapAnswer) -> Text {
    let GapAnswer { stream, first, last, .. } = gap;
    let words = format!(
        "{stream}/{first} to {stream}/{last} were gone before the timeline read them; steps may be missing here"
    );
    text!("  {}", styled(ODD, &words))
}

/// Up to when the streams are read: the earliest, and which ones are behind.
pub(super) fn read_until(streams: &[ReadUntil]) -> Text {
    let behind: Vec<_> = streams.iter().filter(|stream| stream.behind >= BEHIND_MIN).collect();
    if streams.iter().any(|stream| stream.until.is_none()) {
        let not_read = streams.iter().filter(|stream| stream.until.is_none());
        let names: Vec<_> = not_read.map(|stream| stream.stream.as_str()).collect();
        return text!("{}", styled(ODD, &format!("The timeline has not read {} yet.", names.join(", "))));
    }
    let until = streams.iter().filter_map(|stream| stream.until).min().map(time).unwrap_or_default();
    if behind.is_empty() {
        return text!("{}", styled(DIM, &format!("Everything up to {until} UTC is read.")));
    }
    let behind = behind.iter().map(|stream| format!("{} messages of {}", stream.behind, stream.stream));
    let behind = behind.collect::<Vec<_>>().join(", ");
    text!("{}", styled(ODD, &format!("Read up to {until} UTC; {behind} are not read yet.")))
}

/// Why nothing was found, and up to when the streams are read.
pub(super) fn not_found(problem: &Value) -> String {
    let problem = serde_json::from_value::<Problem>(problem.clone()).ok();
    let (id, streams, parts) =
        problem.map(|problem| (problem.id, problem.read_until, problem.unreadable)).unwrap_or_default();
    let id = id.map(|id| format!("{id}: ")).unwrap_or_default();
    let lines = unreadable(&parts).chain([read_until(&streams)]);
    let read_until = lines.map(|line| line.to_string()).collect::<Vec<_>>().join("\n");
    format!(
        "{id}nothing with this id is stored: it is older than the timeline keeps, not read yet, or misspelled; --to NUMBER lists \
         the messages of a number\n{read_until}"
    )
}

/// A name of an answer in words: `dead letter`.
pub(super) fn words_of(name: &str) -> String {
    name.replace('_', " ")
}

/// The color of a status.
pub(super) fn status_style(status: &str) -> anstyle::Style {
    match status {
        "DELIVERED" | "READ" | "ACCEPTED" | "RECEIVED" => GOOD,
        "FAILED" | "REJECTED" | "EXPIRED" | "DEAD_LETTER" => BAD,
        "SENT" | "PENDING" | "DUPLICATE" | "" => anstyle::Style::new(),
        _ => ODD,
    }
}

/// A time in UTC with milliseconds.
pub(super) fn time(time: Timestamp) -> String {
    let text = format!("{time:.3}");
    text.trim_end_matches('Z').replacen('T', " ", 1)
}

/// The time since the step before.
fn gap(milliseconds: i64) -> String {
    match u64::try_from(milliseconds) {
        Ok(milliseconds) => format!("+{}", duration(milliseconds)),
        Err(_) => format!("-{}", duration(milliseconds.unsigned_abs())),
    }
}

/// A duration with at least two digits, in its largest fitting unit.
fn duration(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..60_000 => format!("{}.{:02} s", milliseconds / 1_000, milliseconds % 1_000 / 10),
        60_000..3_600_000 => format!("{} m {:02} s", milliseconds / 60_000, milliseconds % 60_000 / 1_000),
        3_600_000..86_400_000 => {
            format!("{} h {:02} m", milliseconds / 3_600_000, milliseconds % 3_600_000 / 60_000)
        }
        _ => format!("{} d {:02} h", milliseconds / 86_400_000, milliseconds % 86_400_000 / 3_600_000),
    }
}
