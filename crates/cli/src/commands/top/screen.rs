//! The screen, drawn from a board: streams and backlogs above, rates, lanes that wait, and the channels below. It fits 80 columns and
//! 24 lines, and shows more where there is room.

use bus::inspect::StreamInfo;
use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row as TableRow, Sparkline, Table};

use service::terminal::{self, escape};

use super::channels;
use super::format::{WIDE, grouped};
use super::lanes::{self, Lane};
use super::model::{Board, Rates, SpoolTotals};
use crate::words::span;

/// Lines from which rates and lanes have more room.
const HIGH: u16 = 30;
/// Share of a stream's bytes above which its bar is red: processed messages are purged from 70 % on, so it should have shrunk.
const FULL: f64 = 0.8;
/// Most lanes that are shown on a low and on a high screen. The others are counted.
const LANES_SHOWN: [usize; 2] = [2, 6];
/// Steps of a rate of 1/s in the history, so that small rates have a height too.
const HISTORY_STEPS: f64 = 10.0;

pub(super) fn draw(frame: &mut Frame<'_>, board: &Board, paused: bool) {
    let is_high = frame.area().height >= HIGH;
    let lanes_shown = LANES_SHOWN[usize::from(is_high)];
    let lines_of_lanes = board.lanes.len().min(lanes_shown) as u16;
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(7),
        Constraint::Length(if is_high { 6 } else { 3 }),
        // Two lines of border, or nothing.
        Constraint::Length(if lines_of_lanes == 0 { 0 } else { lines_of_lanes + 2 }),
        Constraint::Min(6),
        Constraint::Length(1),
    ]);
    let [head, above, rates, waiting, below, foot] = areas.areas(frame.area());
    let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]);
    frame.render_widget(headline(board, paused), head);
    let [left, right] = halves.areas(above);
    streams(frame, left, board);
    backlogs(frame, right, board);
    let [left, right] = halves.areas(rates);
    let Rates { webhooks, events, commands, results } = board.rates;
    let title = format!(" webhooks {webhooks:.1}/s, events {events:.1}/s ");
    history(frame, left, &title, board.history.iter().map(|rates| rates.webhooks));
    let title = format!(" commands {commands:.1}/s, sends {results:.1}/s ");
    history(frame, right, &title, board.history.iter().map(|rates| rates.results));
    lanes(frame, waiting, board, lanes_shown);
    channels::draw(frame, below, board);
    frame.render_widget(Line::from(" q quit   p pause").dim(), foot);
    hold_back(frame);
}

/// Replaces every character that a terminal would obey and that was drawn without being escaped.
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
    if paused {
        spans.push("  paused".yellow().bold());
    }
    let (answering, asked) = board.admins;
    if asked == 0 {
        spans.push("  refusals need --admin".dim());
    } else if answering < asked {
        spans.push(format!("  {} of {asked} admin ports do not answer", asked - answering).yellow());
    }
    spans.extend(board.spool.and_then(spool_fault).map(|fault| format!("  {fault}").red()));
    Paragraph::new(Line::from(spans))
}

/// What is wrong with the spools of ingress.
fn spool_fault(spool: SpoolTotals) -> Option<String> {
    match spool {
        SpoolTotals { abandoned_folders: 1, .. } => Some("1 spool folder has no process".to_owned()),
        SpoolTotals { abandoned_folders: 0, unusable: 0, .. } => None,
        SpoolTotals { abandoned_folders: 0, unusable: 1, .. } => Some("1 spool is unusable".to_owned()),
        SpoolTotals { abandoned_folders: 0, unusable, .. } => Some(format!("{unusable} spools are unusable")),
        SpoolTotals { abandoned_folders, .. } => {
            Some(format!("{abandoned_folders} spool folders have no process"))
        }
    }
}

fn number(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

fn head<const N: usize>(first: &'static str, numbers: [&'static str; N]) -> TableRow<'static> {
    let numbers = numbers.into_iter().map(|name| number(name.to_owned()));
    TableRow::new(std::iter::once(Cell::from(first)).chain(numbers))
        .style(Style::new().add_modifier(Modifier::BOLD))
}

fn streams(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    // Names, numbers, the share and the spaces between them take 33 columns, borders included.
    let bar_cells = usize::from(area.width.saturating_sub(33)).clamp(4, 30);
    let row = |stream: &StreamInfo| {
        let share = stream.bytes as f64 / stream.max_bytes.unwrap_or(1) as f64;
        let cells = (share.clamp(0.0, 1.0) * bar_cells as f64).round() as usize;
        let bar = format!("{}{}", "█".repeat(cells), "░".repeat(bar_cells - cells));
        let style = if share > FULL { Style::new().red() } else { Style::new() };
        TableRow::new([
            Cell::from(stream.name()),
            number(grouped(stream.messages)),
            Cell::from(bar).style(style),
            number(format!("{:.0} %", share * 100.0)).style(style),
        ])
    };
    let widths = [
        Constraint::Length(11),
        Constraint::Length(11),
        Constraint::Length(bar_cells as u16),
        Constraint::Length(6),
    ];
    let table = Table::new(board.snapshot.streams.iter().map(row), widths)
        .header(head("Stream", ["Messages", "", "Full"]))
        .block(Block::bordered().title(" streams ").dim());
    frame.render_widget(table, area);
}

/// What waits: webhooks for the normalizer, events for their reader, commands for a sender, and spooled webhooks for NATS.
fn backlogs(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let row = |name: String, waiting: u64, in_flight: u64, age: String| {
        let style = if waiting > 0 { Style::new().yellow() } else { Style::new() };
        TableRow::new([
            Cell::from(name),
            number(grouped(waiting)).style(style),
            number(grouped(in_flight)),
            number(age),
        ])
    };
    let is_wide = frame.area().width >= WIDE;
    let seconds = |seconds: i64| span(std::time::Duration::from_secs(seconds.unsigned_abs()));
    let now = Timestamp::now();
    let consumers = board.snapshot.durables.iter().map(|durable| {
        let name = backlog(durable.stream.name(), &durable.name, is_wide);
        let age = durable.oldest_age_s(now).map_or_else(|| "?".to_owned(), seconds);
        row(name, durable.pending, durable.held, age)
    });
    let totals = board.lane_totals;
    let oldest = totals.oldest.map_or_else(|| "0 s".to_owned(), |at| span(lanes::age(at, now)));
    let commands =
        row(backlog("COMMANDS", "sender", is_wide), totals.waiting, totals.in_progress as u64, oldest);
    let spool = board.spool.map(|spool| {
        let age = span(std::time::Duration::from_secs(spool.oldest_age_s));
        row("spool".to_owned(), spool.entries + spool.abandoned_entries, 0, age)
    });
    let widths = [Constraint::Min(10), Constraint::Length(8), Constraint::Length(9), Constraint::Length(7)];
    let table = Table::new(consumers.chain([commands]).chain(spool), widths)
        .header(head("Backlog", ["Waiting", "In flight", "Oldest"]))
        .block(Block::bordered().title(" backlogs ").dim());
    frame.render_widget(table, area);
}

/// Who reads a stream, and on a wide screen which stream that is.
fn backlog(stream: &str, reader: &str, is_wide: bool) -> String {
    if is_wide { format!("{stream} for {reader}") } else { reader.to_owned() }
}

fn history(frame: &mut Frame<'_>, area: Rect, title: &str, rates: impl Iterator<Item = f64>) {
    let mut data: Vec<u64> = rates.map(|rate| (rate * HISTORY_STEPS).round() as u64).collect();
    // The newest are at the right edge, also where not all have room.
    let room = usize::from(area.width.saturating_sub(2));
    data.drain(..data.len().saturating_sub(room));
    let block = Block::bordered().title(title.to_owned()).dim();
    frame.render_widget(Sparkline::default().block(block).data(&data).style(Color::Cyan), area);
}

/// Lanes with pending commands, and halted lanes, which are warnings.
fn lanes(frame: &mut Frame<'_>, area: Rect, board: &Board, shown: usize) {
    let now = Timestamp::now();
    let is_wide = area.width >= WIDE;
    let row = |lane: &Lane| {
        let oldest = lane.age(now).map_or_else(String::new, |age| format!("for {}", span(age)));
        let mut cells = vec![
            Cell::from(escape(&lane.channel).into_owned()),
            number(format!("{} waiting", grouped(lane.waiting))),
            Cell::from(oldest),
        ];
        if is_wide {
            cells.push(number(format!("{} in flight", lane.in_progress)));
        }
        cells.push(Cell::from(if lane.is_halted() {
            escape(&lane.halted).into_owned()
        } else {
            "sends".into()
        }));
        let row = TableRow::new(cells);
        if lane.is_halted() { row.yellow() } else { row }
    };
    let mut widths = vec![Constraint::Length(20), Constraint::Length(15), Constraint::Length(12)];
    if is_wide {
        widths[0] = Constraint::Length(30);
        widths.push(Constraint::Length(14));
    }
    widths.push(Constraint::Min(20));
    let totals = board.lane_totals;
    let more = match board.lanes.len().saturating_sub(shown) {
        0 => String::new(),
        more => format!(", {more} more: imchannel lanes list"),
    };
    let title = format!(" lanes: {} of {} halted{more} ", totals.halted, totals.lanes);
    let table = Table::new(board.lanes.iter().take(shown).map(row), widths)
        .block(Block::bordered().title(title).dim());
    frame.render_widget(table, area);
}

#[cfg(test)]
mod tests;
