//! The table of channels: in full on a wide terminal, the numbers that matter on one of 80 columns.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Modifier, Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Cell, Row as TableRow, Table};
use service::terminal::escape;

use super::format::{WIDE, grouped};
use super::model::{Board, Name, Row};

/// Lines of the header: what is counted, and how.
const HEADER_HEIGHT: u16 = 2;

/// A column: its header in two lines, its width, and whether it holds numbers, which are aligned to the right.
struct Column {
    head: &'static str,
    width: Constraint,
    is_number: bool,
}

const fn text(head: &'static str, width: u16) -> Column {
    Column { head, width: Constraint::Min(width), is_number: false }
}

const fn number(head: &'static str, width: u16) -> Column {
    Column { head, width: Constraint::Length(width), is_number: true }
}

const NARROW_COLUMNS: [Column; 8] = [
    text("\nChannel", 26),
    number("Webhooks\n/s", 8),
    number("\nwaiting", 7),
    number("Sends\n/s", 5),
    number("\nwaiting", 7),
    number("\nfailed", 6),
    number("\nDead", 5),
    number("\nRefused", 7),
];

const WIDE_COLUMNS: [Column; 13] = [
    Column { head: "\nBSP", width: Constraint::Length(11), is_number: false },
    text("\nChannel", 20),
    number("Webhooks\n/s", 8),
    number("\ntotal", 9),
    number("\nwaiting", 7),
    number("Events\n/s", 7),
    number("Commands\n/s", 8),
    number("\nwaiting", 7),
    number("Sends\n/s", 7),
    number("\naccepted", 8),
    number("\nfailed", 6),
    number("Dead\nletters", 7),
    text("\nRefused", 20),
];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let is_wide = area.width >= WIDE;
    let columns: &[Column] = if is_wide { &WIDE_COLUMNS } else { &NARROW_COLUMNS };
    let of_channels = board.rows.iter().map(|(name, row)| cells(name, row, is_wide));
    let of_strangers = board.strangers.iter().map(|((bsp, cause), count)| {
        let name = Name { bsp: bsp.clone(), channel: "(no channel)".to_owned() };
        let row = Row { refused: [(cause.clone(), *count)].into(), ..Row::default() };
        cells(&name, &row, is_wide)
    });
    let mut rows: Vec<Vec<Content>> = of_channels.chain(of_strangers).collect();
    // Two lines of border.
    let visible = usize::from(area.height.saturating_sub(2 + HEADER_HEIGHT));
    if rows.len() > visible {
        let shown = visible.saturating_sub(1);
        let more = format!("and {} more", rows.len() - shown);
        rows.truncate(shown);
        rows.push(vec![Content::plain(more)]);
    }
    let rows = rows.into_iter().map(|contents| {
        let cells = contents.into_iter().zip(columns);
        TableRow::new(cells.map(|(content, column)| content.into_cell(column.is_number)))
    });
    let table = Table::new(rows, columns.iter().map(|column| column.width)).header(header(columns)).block(
        Block::bordered().title(" channels, since the start of this screen; /s: average of 10 s ").dim(),
    );
    frame.render_widget(table, area);
}

fn header(columns: &[Column]) -> TableRow<'static> {
    let cell = |column: &Column| {
        let head = Text::from(column.head);
        Cell::from(if column.is_number { head.right_aligned() } else { head })
    };
    TableRow::new(columns.iter().map(cell))
        .height(HEADER_HEIGHT)
        .style(Style::new().add_modifier(Modifier::BOLD))
}

/// Text of a cell, which may be a warning.
struct Content {
    text: String,
    is_warning: bool,
}

impl Content {
    fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_warning: false }
    }

    fn rate(per_s: f64) -> Self {
        // A dot is easier to pass over than a column of zeros.
        Self::plain(if per_s < 0.05 { "·".to_owned() } else { format!("{per_s:.1}") })
    }

    fn count(count: u64) -> Self {
        Self::plain(if count == 0 { "·".to_owned() } else { grouped(count) })
    }

    /// A count that should be zero.
    fn warning(count: u64) -> Self {
        Self { is_warning: count > 0, ..Self::count(count) }
    }

    fn into_cell(self, is_number: bool) -> Cell<'static> {
        let line = Line::from(self.text);
        let style = if self.is_warning { Style::new().yellow() } else { Style::new() };
        Cell::from(if is_number { line.right_aligned() } else { line }).style(style)
    }
}

fn cells(name: &Name, row: &Row, is_wide: bool) -> Vec<Content> {
    let (bsp, channel) = (escape(&name.bsp), escape(&name.channel));
    if !is_wide {
        return vec![
            Content::plain(format!("{bsp}/{channel}")),
            Content::rate(row.rates.webhooks),
            Content::warning(row.waiting),
            Content::rate(row.rates.results),
            Content::warning(row.pending_commands),
            Content::warning(row.results.failed()),
            Content::warning(row.dead_letters),
            Content::warning(row.refusals()),
        ];
    }
    let causes = row.refused.iter().filter(|(_, count)| **count > 0);
    let causes: Vec<_> =
        causes.map(|(cause, count)| format!("{} {}", grouped(*count), escape(cause))).collect();
    vec![
        Content::plain(bsp),
        Content::plain(channel),
        Content::rate(row.rates.webhooks),
        Content::count(row.webhooks),
        Content::warning(row.waiting),
        Content::rate(row.rates.events),
        Content::rate(row.rates.commands),
        Content::warning(row.pending_commands),
        Content::rate(row.rates.results),
        Content::count(row.results.accepted),
        Content::warning(row.results.failed()),
        Content::warning(row.dead_letters),
        Content { text: causes.join(", "), is_warning: !causes.is_empty() },
    ]
}
