//! The parts of docs/configuration.md and docs/cli.md that are written by machine: the tables of settings, out of the
//! `Setting`s of all programs, and the reference of all commands, out of clap. The text around them is written by hand.
//!
//! `UPDATE_DOCUMENTS=1 cargo test -p cli documents` writes them; without the variable the test compares.

mod commands;
mod settings;

use std::fmt::Write as _;
use std::path::Path;

/// The whole command line, with its help.
fn command_line() -> clap::Command {
    let mut command = crate::help::command();
    command.build();
    command
}

/// A generated part of a page: what stands between the lines `<!-- generated: NAME -->` and `<!-- end: NAME -->`.
struct Part {
    page: &'static str,
    name: &'static str,
    text: String,
}

/// A page with a new text in the place of one part's old one.
fn with_part(page: &str, part: &Part) -> String {
    let first = format!("<!-- generated: {} -->\n", part.name);
    let last = format!("<!-- end: {} -->\n", part.name);
    let (before, rest) =
        page.split_once(&first).unwrap_or_else(|| panic!("{} has no line {first}", part.page));
    let (_, after) = rest.split_once(&last).unwrap_or_else(|| panic!("{} has no line {last}", part.page));
    assert!(!after.contains(&first), "{} has two lines {first}", part.page);
    format!("{before}{first}{}\n{last}{after}", part.text)
}

/// Text that Markdown shows as it is, in one cell of a table. What is between backticks stays code.
fn cell(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts: Vec<_> =
        text.split('`').enumerate().map(|(position, part)| escape(part, position % 2 == 1)).collect();
    parts.join("`")
}

fn escape(text: &str, is_code: bool) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        let is_mark = matches!(character, '*' | '<' | '_' | '[' | ']' | '\\');
        if character == '|' || is_mark && !is_code {
            shown.push('\\');
        }
        shown.push(character);
    }
    shown
}

/// A value as code; empty if it is empty.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

/// A table in Markdown.
fn table<const COLUMNS: usize>(head: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let mut text = format!("\n| {} |\n|{}\n", head.join(" | "), "---|".repeat(COLUMNS));
    for row in rows {
        writeln!(text, "| {} |", row.join(" | ")).expect("a String takes everything");
    }
    // An empty cell has one space; the first pass leaves every other one of a row.
    text.replace("|  |", "| |").replace("|  |", "| |")
}

#[test]
fn the_generated_parts_are_what_the_programs_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let update = std::env::var_os("UPDATE_DOCUMENTS").is_some();
    for part in settings::parts().into_iter().chain(commands::parts()) {
        let path = root.join(part.page);
        let page = std::fs::read_to_string(&path).unwrap();
        let wanted = with_part(&page, &part);
        if update {
            std::fs::write(&path, wanted).unwrap();
        } else {
            assert!(
                page == wanted,
                "{} ({}) differs from the programs: UPDATE_DOCUMENTS=1 cargo test -p cli documents",
                part.page,
                part.name
            );
        }
    }
}

#[test]
fn a_part_is_replaced_and_nothing_else() {
    let part = Part { page: "x.md", name: "a", text: "new\n".to_owned() };
    let page = "1\n<!-- generated: a -->\nold\n<!-- end: a -->\n2\n";
    assert_eq!(with_part(page, &part), "1\n<!-- generated: a -->\nnew\n\n<!-- end: a -->\n2\n");
}

#[test]
fn help_is_shown_as_it_is() {
    assert_eq!(cell("a|b  *.x <c>\nd_e `f_g|h`"), r"a\|b \*.x \<c> d\_e `f_g\|h`");
    let row = [String::new(), String::new(), String::new(), "x".to_owned()];
    assert_eq!(table(["a", "b", "c", "d"], &[row]), "\n| a | b | c | d |\n|---|---|---|---|\n| | | | x |\n");
}
