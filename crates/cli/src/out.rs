//! Output: tables and colours for people, one JSON object a line for programs.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};
use serde_json::Value;

use crate::Done;

/// Where output goes and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    json: bool,
    is_silent: bool,
}

/// Stands where a name is not known.
pub(crate) const UNKNOWN: &str = "?";

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const ODD: Style = AnsiColor::Yellow.on_default();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const STRONG: Style = Style::new().bold();

/// A line under the head and nothing else: long lists stay short.
const ONE_LINE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Set by a command that has servers to stop and must not end because nobody reads its output.
static KEEP_GOING: AtomicBool = AtomicBool::new(false);

impl Out {
    /// From now on, output that cannot be written is dropped.
    pub(crate) fn keep_going(self) {
        KEEP_GOING.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    pub(crate) fn new(json: bool) -> Self {
        Self { json, is_silent: false }
    }

    /// The same without a word.
    pub(crate) fn silent(self) -> Self {
        Self { is_silent: true, ..self }
    }

    /// A line for people; nothing for programs.
    pub(crate) fn say(self, line: &str) {
        if !self.json && !self.is_silent {
            print_line(line);
        }
    }

    /// An object for programs; nothing for people.
    pub(crate) fn object(self, object: &Value) {
        if self.json && !self.is_silent {
            print_line(&object.to_string());
        }
    }

    /// A table for people; nothing for programs.
    pub(crate) fn table<const N: usize>(self, columns: &[&str; N], rows: &[[String; N]]) {
        let mut table = Table::new();
        table.load_style(ONE_LINE).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(columns);
        table.add_rows(rows);
        self.say(&table.to_string());
    }

    /// Says what cannot be used about a setting or a file.
    pub(crate) fn faulty(self, message: &str) -> Done {
        self.error(message);
        Done::Faulty
    }

    /// Why a command failed.
    pub(crate) fn error(self, message: &str) {
        if self.json {
            print_line(&serde_json::json!({ "error": message }).to_string());
            return;
        }
        let _ = writeln!(anstream::stderr(), "{BAD}error:{BAD:#} {message}");
    }
}

fn print_line(line: &str) {
    let Err(error) = writeln!(anstream::stdout(), "{line}") else { return };
    if KEEP_GOING.load(Ordering::Relaxed) {
        return;
    }
    // A reader that has gone away (`| head`) is no fault of the command; a full disk is.
    let is_gone = error.kind() == std::io::ErrorKind::BrokenPipe;
    std::process::exit(i32::from(!is_gone));
}

/// A text in a style.
pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}
