//! The screen, drawn from a board: streams and durables above, channels below.

use bus::lag::{DurableState, StreamState};
use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row as TableRow, Sparkline, Table};

use service::terminal::{self, escape};

use super::board::{Board, Name, Row};
use super::lanes::Lane;

/// Share of a stream's bytes above which its bar is red: the keeper purges from 70 % on and should have done so.
const FULL: f64 = 0.8;
/// Width of a bar, in characters.
const BAR_CELLS: usize = 20;
/// Most lanes that are shown. The others are counted.
const LANES_SHOWN: usize = 5;

pub(super) fn draw(frame: &mut Frame<'_>, board: &Board, paused: bool) {
    let tables = 3 + board.snapshot.streams.len().max(board.snapshot.durables.len()) as u16;
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(tables),
        Constraint::Length(5),
        Constraint::Length(lanes_height(board)),
        Constraint::Min(4),
        Constraint::Length(1),
    ]);
    let [head, above, history, waiting, below, foot] = areas.areas(frame.area());
    frame.render_widget(headline(board, paused), head);
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(above);
    streams(frame, left, board);
    durables(frame, right, board);
    let newest = board.history.last().copied().unwrap_or_default();
    let block = Block::bordered().title(format!(" webhooks a second: {newest} ")).dim();
    frame.render_widget(Sparkline::default().block(block).data(&board.history).style(Color::Cyan), history);
    lanes(frame, waiting, board);
    channels(frame, below, board);
    frame.render_widget(Line::from(" q leave   p pause").dim(), foot);
    hold_back(frame);
}

/// Whatever was drawn without being escaped and a terminal would obey is replaced: nothing reaches it around this.
fn hold_back(frame: &mut Frame<'_>) {
    for cell in &mut frame.buffer_mut().content {
        if cell.symbol().contains(terminal::is_unsafe) {
            cell.set_symbol("\u{fffd}");
        }
    }
}

fn headline<'b>(board: &'b Board, paused: bool) -> Paragraph<'b> {
    let state = if board.connected { "connected".green() } else { "not connected".red() };
    let mut spans =
        vec![Span::from(" imchannel top  ").bold(), Span::from(escape(&board.place)), "  ".into(), state];
    let (answering, asked) = board.admins;
    if asked == 0 {
        spans.push("  refusals are not known without --admin".dim());
    } else if answering < asked {
        spans.push(format!("  {} of {asked} admin ports do not answer", asked - answering).yellow());
    }
    if paused {
        spans.push("  paused".yellow().bold());
    }
    Paragraph::new(Line::from(spans))
}

fn head<const N: usize>(names: [&'static str; N]) -> TableRow<'static> {
    TableRow::new(names).style(Style::new().add_modifier(Modifier::BOLD))
}

fn streams(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let row = |stream: &StreamState| {
        let share = stream.bytes as f64 / stream.max_bytes.max(1) as f64;
        let cells = (share.clamp(0.0, 1.0) * BAR_CELLS as f64).round() as usize;
        let bar = format!("{}{} {:.0} %", "█".repeat(cells), "░".repeat(BAR_CELLS - cells), share * 100.0);
        let style = if share > FULL { Style::new().red() } else { Style::new() };
        TableRow::new([
            Cell::from(stream.name),
            Cell::from(grouped(stream.messages)),
            Cell::from(bar).style(style),
        ])
    };
    let widths = [Constraint::Length(12), Constraint::Length(14), Constraint::Min(BAR_CELLS as u16 + 6)];
    let table = Table::new(board.snapshot.streams.iter().map(row), widths)
        .header(head(["Stream", "Messages", "Bytes of its limit"]))
        .block(Block::bordered().title(" streams ").dim());
    frame.render_widget(table, area);
}

fn durables(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let row = |durable: &DurableState| {
        let age = durable.oldest_age_s.map_or_else(|| "?".to_owned(), |age| format!("{age} s"));
        let style = if durable.pending > 0 { Style::new().yellow() } else { Style::new() };
        TableRow::new([
            Cell::from(format!("{}/{}", durable.stream, durable.name)),
            Cell::from(grouped(durable.pending)).style(style),
            Cell::from(grouped(durable.unacknowledged)),
            Cell::from(age),
        ])
    };
    let widths = [Constraint::Min(20), Constraint::Length(12), Constraint::Length(12), Constraint::Length(8)];
    let table = Table::new(board.snapshot.durables.iter().map(row), widths)
        .header(head(["Reader", "Waiting", "In work", "Oldest"]))
        .block(Block::bordered().title(" readers ").dim());
    frame.render_widget(table, area);
}

/// Two lines of border around the lanes, or nothing where no command waits.
fn lanes_height(board: &Board) -> u16 {
    let (shown, is_cut) = (board.lanes.len().min(LANES_SHOWN), board.lanes.len() > LANES_SHOWN);
    if shown == 0 { 0 } else { shown as u16 + u16::from(is_cut) + 2 }
}

/// Lanes in which commands wait. A paused or halted one is a warning.
fn lanes(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let now = Timestamp::now();
    let line = |lane: &Lane| {
        let line = Line::from(lane.line(now));
        if lane.is_halted() { line.yellow() } else { line }
    };
    let mut lines: Vec<Line<'_>> = board.lanes.iter().take(LANES_SHOWN).map(line).collect();
    let (all, halted) = (board.lanes.len(), board.lanes.iter().filter(|lane| lane.is_halted()).count());
    if all > LANES_SHOWN {
        let more =
            format!("and {} more, {halted} of all {all} halted: imchannel lanes list", all - LANES_SHOWN);
        lines.push(Line::from(more));
    }
    let block = Block::bordered().title(" commands wait ").dim();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn channels(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let mut rows: Vec<TableRow<'_>> = board.rows.iter().map(|(name, row)| channel(name, row)).collect();
    for ((bsp, cause), count) in &board.strangers {
        let refused =
            Cell::from(format!("{} {}", grouped(*count), escape(cause))).style(Style::new().yellow());
        let name = [Cell::from(escape(bsp)), Cell::from("(no channel)")];
        rows.push(TableRow::new(
            name.into_iter().chain(std::iter::repeat_n(Cell::from(""), 5)).chain([refused]),
        ));
    }
    let widths = [
        Constraint::Length(12),
        Constraint::Min(20),
        Constraint::Length(11),
        Constraint::Length(11),
        Constraint::Length(11),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Min(18),
    ];
    let names = ["BSP", "Channel", "Webhooks/s", "Events/s", "Webhooks", "Waiting", "Dead", "Refused"];
    let table = Table::new(rows, widths)
        .header(head(names))
        .block(Block::bordered().title(" channels, since the start of this screen ").dim());
    frame.render_widget(table, area);
}

fn channel<'b>(name: &'b Name, row: &'b Row) -> TableRow<'b> {
    let warn = |count: u64| if count > 0 { Style::new().yellow() } else { Style::new() };
    let words = row.refused.iter().filter(|(_, count)| **count > 0);
    let words: Vec<_> =
        words.map(|(cause, count)| format!("{} {}", grouped(*count), escape(cause))).collect();
    TableRow::new([
        Cell::from(escape(&name.bsp)),
        Cell::from(escape(&name.channel)),
        Cell::from(format!("{:.1}", row.webhooks_per_s)),
        Cell::from(format!("{:.1}", row.events_per_s)),
        Cell::from(grouped(row.webhooks)),
        Cell::from(grouped(row.waiting)).style(warn(row.waiting)),
        Cell::from(grouped(row.dead_letters)).style(warn(row.dead_letters)),
        Cell::from(words.join(", ")).style(warn(row.refusals())),
    ])
}

/// `1 234 567`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn screen(board: &Board) -> String {
        let mut terminal = Terminal::new(TestBackend::new(120, 24)).unwrap();
        terminal.draw(|frame| draw(frame, board, false)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn every_number_has_its_place() {
        let mut board = Board { connected: true, admins: (1, 1), history: vec![1, 5, 3], ..Board::default() };
        let stream = StreamState { name: "WEBHOOKS", messages: 1_234_567, bytes: 50, max_bytes: 100 };
        board.snapshot.streams.push(stream);
        board.snapshot.durables.push(DurableState {
            stream: "WEBHOOKS",
            name: "normalizer",
            pending: 42,
            unacknowledged: 7,
            oldest_age_s: Some(3),
        });
        let row = Row {
            webhooks: 900,
            webhooks_per_s: 12.5,
            events_per_s: 13.5,
            waiting: 4,
            dead_letters: 2,
            refused: [("wrong_credential".to_owned(), 8)].into(),
            ..Row::default()
        };
        board.rows.insert(Name { bsp: "twilio".to_owned(), channel: "c-1".to_owned() }, row);
        board.strangers.insert(("infobip".to_owned(), "unknown_channel".to_owned()), 3);
        let text = screen(&board);
        for part in [
            "1\u{202f}234\u{202f}567",
            "50 %",
            "WEBHOOKS/normalizer",
            "42",
            "3 s",
            "twilio",
            "12.5",
            "13.5",
            "8 wrong_credential",
            "(no channel)",
            "3 unknown_channel",
            "webhooks a second: 3",
        ] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
    }

    #[test]
    fn a_halted_lane_with_commands_waiting_is_a_warning() {
        let lane = |channel: &str, halted: &str| Lane {
            channel: channel.to_owned(),
            waiting: 30,
            oldest: Some(Timestamp::now() - jiff::SignedDuration::from_hours(3)),
            in_progress: 0,
            halted: halted.to_owned(),
        };
        let mut board = Board { lanes: vec![lane("c-1", "paused by an operator")], ..Board::default() };
        let text = screen(&board);
        assert!(
            text.contains("c-1: 30 commands wait, the oldest for 3.0 h: paused by an operator"),
            "{text}"
        );
        board.lanes.extend((0..6).map(|number| lane(&format!("more-{number}"), "")));
        let text = screen(&board);
        assert!(text.contains("and 2 more, 1 of all 7 halted") && text.contains("more-3"), "{text}");
        assert!(!screen(&Board::default()).contains("commands wait"));
    }

    #[test]
    fn names_from_outside_are_escaped() {
        let mut board = Board { place: "nats \u{9b}2J".to_owned(), connected: true, ..Board::default() };
        let refused = [("a\u{202e}b".to_owned(), 1)].into();
        let name = Name { bsp: "b\u{85}".to_owned(), channel: "c\u{2066}\u{1b}[2J".to_owned() };
        board.rows.insert(name, Row { refused, ..Row::default() });
        board.strangers.insert(("s\u{200b}".to_owned(), "o\u{7f}".to_owned()), 1);
        let (channel, halted) = ("l\u{9b}".to_owned(), "h\u{85}".to_owned());
        board.lanes.push(Lane { channel, waiting: 1, oldest: None, in_progress: 0, halted });
        let text = screen(&board);
        for part in [
            r"nats \u009b2J",
            r"a\u202eb",
            r"b\u0085",
            r"c\u2066\u001b[2J",
            r"s\u200b",
            r"o\u007f",
            r"l\u009b: 1 command waits: h\u0085",
        ] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
        assert!(!text.replace('\n', "").contains(terminal::is_unsafe), "{text:?}");
    }

    #[test]
    fn a_small_window_is_no_fault() {
        let mut terminal = Terminal::new(TestBackend::new(20, 5)).unwrap();
        terminal.draw(|frame| draw(frame, &Board::default(), true)).unwrap();
    }
}
