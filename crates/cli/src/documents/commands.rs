//! The reference of docs/cli.md: every command with its options, defaults, variables and examples.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use super::{Part, cell, code, command_line, table};

const PAGE: &str = "docs/cli.md";

/// The options of every command, and the commands.
pub(super) fn parts() -> Vec<Part> {
    let command = command_line();
    let global: Vec<_> = command.get_arguments().filter(|arg| arg.is_global_set() && is_shown(arg)).collect();
    let mut commands = String::new();
    for name in in_order() {
        let sub = command.find_subcommand(&name).expect("it is one of them");
        if is_command(sub) {
            describe(sub, "imchannel", 2, &mut commands);
        }
    }
    vec![
        Part { page: PAGE, name: "options of every command", text: options(&global) },
        Part { page: PAGE, name: "commands", text: commands },
    ]
}

/// Names in the order in which they are declared: a command that is changed afterwards moves to the end.
fn in_order() -> Vec<String> {
    crate::Cli::command().get_subcommands().map(|sub| sub.get_name().to_owned()).collect()
}

fn is_command(command: &Command) -> bool {
    command.get_name() != "help" && !command.is_hide_set()
}

fn is_shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")
}

/// A command, and those below it.
fn describe(command: &Command, before: &str, depth: usize, text: &mut String) {
    let path = format!("{before} {}", command.get_name());
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    write!(text, "\n{} {path}\n\n{}\n", "#".repeat(depth), prose(&about)).expect("a String takes everything");
    let subs: Vec<_> = command.get_subcommands().filter(|sub| is_command(sub)).collect();
    if subs.is_empty() {
        leaf(command, text);
    }
    for sub in subs {
        describe(sub, &path, depth + 1, text);
    }
}

fn leaf(command: &Command, text: &mut String) {
    let usage = command.clone().render_usage().to_string();
    write!(text, "\n```text\n{}\n```\n", usage.trim_start_matches("Usage: "))
        .expect("a String takes everything");
    let args: Vec<_> = command.get_arguments().filter(|arg| !arg.is_global_set() && is_shown(arg)).collect();
    let is_setting =
        |arg: &&&Arg| crate::commands::dev::up::settings().iter().any(|setting| is_of_setting(arg, setting));
    let is_up = command.get_name() == "up";
    let own: Vec<_> = args.iter().filter(|arg| !(is_up && is_setting(arg))).copied().collect();
    text.push_str(&options(&own));
    if own.len() < args.len() {
        text.push_str("\nIt takes settings of the services too, as flags and variables: [configuration.md](configuration.md).\n");
    }
    // Examples and the NATS user. The page lists the options of every command itself.
    let after = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
    let after = after.unwrap_or_default();
    let lines: Vec<_> = after.lines().filter(|line| !line.starts_with("`imchannel --help`")).collect();
    let after = lines.join("\n");
    if !after.trim().is_empty() {
        write!(text, "\n```text\n{}\n```\n", after.trim()).expect("a String takes everything");
    }
}

/// Whether an option is that of a setting, or the one that names its file.
fn is_of_setting(arg: &Arg, setting: &service::Setting) -> bool {
    let name = arg.get_id().as_str();
    name == setting.flag || name.strip_suffix("-file") == Some(setting.flag) && setting.is_secret
}

/// A table of options and arguments, one for each heading of the help.
fn options(args: &[&Arg]) -> String {
    let mut headings: Vec<_> = args.iter().map(|arg| arg.get_help_heading()).collect();
    headings.dedup();
    let mut text = String::new();
    for (position, heading) in headings.iter().enumerate() {
        if headings[..position].contains(heading) {
            continue;
        }
        if let Some(heading) = heading {
            write!(text, "\n{heading}:\n").expect("a String takes everything");
        }
        let of_heading = args.iter().filter(|arg| arg.get_help_heading() == *heading);
        let rows: Vec<_> = of_heading.map(|arg| row(arg)).collect();
        text.push_str(&table(["option", "variable", "default", "meaning"], &rows));
    }
    text
}

fn row(arg: &Arg) -> [String; 4] {
    let takes_value = arg.get_action().takes_values();
    let values = arg.get_value_names().unwrap_or_default().iter().map(|name| format!("<{name}>"));
    let values = if takes_value { values.collect::<Vec<_>>().join(" ") } else { String::new() };
    let mut names: Vec<_> = arg.get_short().map(|short| format!("-{short}")).into_iter().collect();
    names.extend(arg.get_long().map(|long| format!("--{long}")));
    let option = format!("{} {values}", names.join(", "));
    let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let default = arg.get_default_values().iter().map(|value| value.to_string_lossy());
    let default = if takes_value { default.collect::<Vec<_>>().join(",") } else { String::new() };
    let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let possible: Vec<_> =
        arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if takes_value && !possible.is_empty() {
        meaning.push_str(&format!(" ({})", possible.join(", ")));
    }
    [code(option.trim()), code(&variable), code(&default), cell(&meaning)]
}

/// Help as paragraphs of Markdown.
fn prose(text: &str) -> String {
    text.trim().replace('*', "\\*").replace('<', "\\<")
}
