//! Output: tables and colors for people, one JSON object per line for programs. Only this module of the command line
//! writes to standard output and standard error. It escapes external text (see [`crate::text`]).

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};
use serde_json::Value;
use service::terminal;

use crate::exit::Exit;
pub(crate) use crate::text::{Text, styled, text};

/// Destination and format of output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    json: bool,
    is_silent: bool,
}

/// Placeholder for an unknown name.
pub(crate) const UNKNOWN: &str = "?";

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const ODD: Style = AnsiColor::Yellow.on_default();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const STRONG: Style = Style::new().bold();

/// Columns of a terminal that does not say how many it has.
const WIDTH_DEFAULT: usize = 80;
/// Fewest columns to which lines are cut.
const WIDTH_MIN: usize = 60;

/// Tables with one line under the header and no other lines, so that long lists stay short.
const ONE_LINE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Set by a command that has to stop servers, and must not end when its output is closed.
static KEEP_GOING: AtomicBool = AtomicBool::new(false);

impl Out {
    /// From now on, output that cannot be written is dropped.
    pub(crate) fn non_fatal(self) {
        KEEP_GOING.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    pub(crate) fn new(json: bool) -> Self {
        Self { json, is_silent: false }
    }

    /// Returns an output that prints nothing.
    pub(crate) fn silent(self) -> Self {
        Self { is_silent: true, ..self }
    }

    /// Prints a line for people, nothing for programs. A line break in it is escaped.
    pub(crate) fn print(self, line: &(impl Display + ?Sized)) {
        if !self.json && !self.is_silent {
            print_line(&Text::of(line).to_ansi());
        }
    }

    /// Prints several lines for people, nothing for programs.
    pub(crate) fn lines(self, lines: &str) {
        lines.lines().for_each(|line| self.print(line));
    }

    /// Prints an object for programs, nothing for people.
    pub(crate) fn object(self, object: &Value) {
        if self.json && !self.is_silent {
            print_line(&terminal::escape(&object.to_string()));
        }
    }

    /// Prints a table for people, nothing for programs.
    pub(crate) fn table<const N: usize>(self, columns: &[&str; N], rows: &[[impl Display; N]]) {
        if self.json || self.is_silent {
            return;
        }
        let mut table = Table::new();
        table.load_style(ONE_LINE).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(columns);
        table.add_rows(rows.iter().map(|row| row.each_ref().map(|cell| Text::of(cell).to_ansi())));
        print_line(&table.to_string());
    }

    /// Prints what is invalid in a setting or a file.
    pub(crate) fn faulty(self, message: &str) -> Exit {
        self.error(message);
        Exit::InvalidInput
    }

    /// Prints why a command failed. Further lines of the message are indented, so that they cannot be taken for
    /// separate messages.
    pub(crate) fn error(self, message: &str) {
        if self.json {
            print_line(&terminal::escape(&serde_json::json!({ "error": message }).to_string()));
            return;
        }
        let mut lines = message.lines();
        let first = lines.next().unwrap_or_default();
        complain(&text!("{} {first}", styled(BAD, "error:")));
        lines.for_each(|line| complain(&text!("  {line}")));
    }
}

/// Whether standard output is a terminal.
#[expect(clippy::disallowed_methods, reason = "nothing is written")]
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Columns of the terminal; 80 if that is not known.
pub(crate) fn width() -> usize {
    crossterm::terminal::size().map_or(WIDTH_DEFAULT, |(columns, _)| usize::from(columns).max(WIDTH_MIN))
}

/// Prints a question on standard error. The answer follows on the same line.
///
/// # Errors
/// The terminal cannot be written to.
#[expect(clippy::disallowed_methods, reason = "the question is escaped")]
pub(crate) fn prompt(question: &str) -> std::io::Result<()> {
    write!(anstream::stderr(), "{}", Text::of(question).to_ansi())
}

/// Returns standard output for the exact bytes of a file or a body, which cannot be escaped.
///
/// # Errors
/// When it is a terminal.
#[expect(clippy::disallowed_methods, reason = "no terminal sees the bytes")]
pub(crate) fn bytes() -> anyhow::Result<tokio::io::Stdout> {
    anyhow::ensure!(
        !is_terminal(),
        "exact bytes may contain control characters and are not written to a terminal; redirect them to a file (> FILE)"
    );
    Ok(tokio::io::stdout())
}

#[expect(clippy::disallowed_methods, reason = "the text is escaped")]
fn complain(line: &Text) {
    let _ = writeln!(anstream::stderr(), "{}", line.to_ansi());
}

#[expect(clippy::disallowed_methods, reason = "all callers escape the line")]
fn print_line(line: &str) {
    let Err(error) = writeln!(anstream::stdout(), "{line}") else { return };
    if KEEP_GOING.load(Ordering::Relaxed) {
        return;
    }
    // A closed reader (`| head`) is not an error of the command; a full disk is.
    let is_gone = error.kind() == std::io::ErrorKind::BrokenPipe;
    std::process::exit(i32::from(!is_gone));
}
