//! Output: tables and colours for people, one JSON object a line for programs.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// Where output goes and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    json: bool,
}

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const ODD: Style = AnsiColor::Yellow.on_default();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const STRONG: Style = Style::new().bold();

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// A line for people; nothing for programs.
    pub(crate) fn say(self, line: &str) {
        if !self.json {
            print_line(line);
        }
    }

    /// An object for programs; nothing for people.
    pub(crate) fn object(self, object: &Value) {
        if self.json {
            print_line(&object.to_string());
        }
    }

    /// Rows: a table for people, an object each for programs.
    pub(crate) fn rows(self, columns: &[&str], rows: &[Vec<String>]) {
        if self.json {
            for row in rows {
                let fields = columns.iter().zip(row).map(|(name, value)| {
                    (name.to_lowercase().replace(' ', "_"), Value::String(value.clone()))
                });
                print_line(&Value::Object(fields.collect()).to_string());
            }
            return;
        }
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(columns);
        table.add_rows(rows);
        print_line(&table.to_string());
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

/// A reader that has gone away (`| head`) is no fault of the command.
fn print_line(line: &str) {
    if writeln!(anstream::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// A text in a style.
pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}
