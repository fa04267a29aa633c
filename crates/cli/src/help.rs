//! The help texts: commands in groups, an example for each command, and the global options in one place.
//!
//! What a command and its options do is said where they are declared. This module adds what concerns all of them.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};

use crate::users;

/// The commands of `imchannel --help`, in groups.
const GROUPS: &[(&str, &[&str])] = &[
    ("Run", &["up", "setup", "secrets", "streams"]),
    ("Look", &["trace", "top", "tail", "doctor", "lanes"]),
    ("Channels", &["channel"]),
    ("Send", &["send", "media"]),
    ("Repair", &["replay", "deadletter"]),
    ("Personal data", &["erase"]),
    ("Try", &["simulate", "health"]),
    ("Shell", &["completions", "help"]),
];

/// Examples by command. Each is a command line that can be parsed, which a test checks.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "imchannel up --channels examples/channels.toml --simulate",
            "imchannel send --channel 202105102694809992 --to 8618257518838 --text Hello",
            "imchannel tail reports --since 15m",
        ],
    ),
    (
        "up",
        &[
            "imchannel up --channels examples/channels.toml --simulate",
            "imchannel up --channels channels.toml --data-dir /var/lib/imchannel --log",
        ],
    ),
    ("streams", &["imchannel streams check"]),
    ("streams apply", &["imchannel streams apply --replicas 3"]),
    ("streams check", &["imchannel streams check"]),
    ("streams repair", &["imchannel streams repair --stream WEBHOOKS"]),
    ("setup", &["imchannel setup --channels channels.toml --nats-nkeys-dir secrets/nats"]),
    ("secrets", &["imchannel secrets generate secrets"]),
    ("secrets generate", &["imchannel secrets generate secrets --tenant acme"]),
    ("channel", &["imchannel channel list"]),
    ("channel apply", &["imchannel channel apply --file channels.toml --dry-run"]),
    ("channel list", &["imchannel channel list"]),
    ("channel show", &["imchannel channel show 202105102694809992"]),
    ("channel remove", &["imchannel channel remove 202105102694809992"]),
    ("channel pause", &["imchannel channel pause 202105102694809992"]),
    ("channel resume", &["imchannel channel resume 202105102694809992"]),
    (
        "tail",
        &[
            "imchannel tail messages",
            "imchannel tail reports --channel 202105102694809992 --since 15m --no-follow",
        ],
    ),
    (
        "trace",
        &[
            "imchannel trace order-4711",
            "imchannel trace --to 8618257518838 --since 2h",
            "imchannel --json trace --problems",
            "imchannel trace order-4711 --unmask --reason ticket-4711",
        ],
    ),
    (
        "erase",
        &[
            "imchannel erase --to - --dry-run",
            "imchannel erase --to 8618257518838 --reason request-4711",
            "imchannel erase --watch 0190a1b2c3d4e5f607",
        ],
    ),
    (
        "send",
        &[
            "imchannel send --channel 202105102694809992 --to 8618257518838 --text Hello",
            "imchannel send --channel 202105102694809992 --to 8618257518838 --image photo.jpg --caption Photo",
        ],
    ),
    ("lanes", &["imchannel lanes list"]),
    ("lanes list", &["imchannel lanes list --channel 202105102694809992"]),
    ("media", &["imchannel media put invoice.pdf --channel 202105102694809992"]),
    ("media put", &["imchannel media put invoice.pdf --channel 202105102694809992"]),
    ("media get", &["imchannel media get http://127.0.0.1:8081/media/ID --output invoice.pdf"]),
    ("media stat", &["imchannel media stat http://127.0.0.1:8081/media/ID"]),
    ("top", &["imchannel top", "imchannel --json top --count 1"]),
    ("doctor", &["imchannel doctor", "imchannel --json doctor --watch-for 10s"]),
    ("replay", &["imchannel replay webhooks --since 2h"]),
    (
        "replay webhooks",
        &["imchannel replay webhooks --since 2h", "imchannel replay webhooks --since 2h --publish"],
    ),
    ("deadletter", &["imchannel deadletter list --since 1h"]),
    ("deadletter list", &["imchannel deadletter list --since 1h"]),
    ("deadletter show", &["imchannel deadletter show 12"]),
    ("deadletter replay", &["imchannel deadletter replay --all --publish"]),
    ("deadletter drop", &["imchannel deadletter drop 12 13"]),
    ("simulate", &["imchannel simulate webhooks --channels examples/channels.toml --rate 50 --for 10m"]),
    (
        "simulate webhooks",
        &["imchannel simulate webhooks --channels examples/channels.toml --rate 50 --for 10m"],
    ),
    (
        "simulate infobip",
        &["imchannel simulate infobip --channels examples/channels.toml --api-key 0123456789abcdef"],
    ),
    ("health", &["imchannel health --admin-listen 127.0.0.1:9090"]),
    (
        "completions",
        &[
            "source <(imchannel completions bash)",
            "imchannel completions zsh > ~/.zfunc/_imchannel",
            "imchannel completions fish > ~/.config/fish/completions/imchannel.fish",
        ],
    ),
];

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed (also if NATS refuses the user); 2 wrong usage, settings or channels file; 3 a check found differences, or a traced message misses something.";

/// The command line as it is declared: what programs that read its definition start from.
pub(crate) fn declared() -> Command {
    crate::Cli::command().mut_subcommand("up", |up| {
        service::settings::add_to(
            up.next_help_heading("Settings of the services"),
            &crate::commands::dev::up::settings(),
        )
    })
}

/// The command line with its whole help.
pub(crate) fn command() -> Command {
    let declared = declared();
    let globals: Vec<_> = declared
        .get_arguments()
        .filter(|arg| arg.is_global_set())
        .map(|arg| arg.clone().hide(true))
        .collect();
    let names: Vec<_> = declared.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let template = template(&declared);
    let command = names.into_iter().fold(declared, |command, name| {
        command.mut_subcommand(&name, |command| with_notes(command, &name, &globals))
    });
    command.help_template(template).after_help(format!("{}\n\n{EXIT_CODES}", examples("")))
}

/// The help of `imchannel` itself: commands by group, then the options of every command.
fn template(command: &Command) -> String {
    let header = command.get_styles().get_header();
    let literal = command.get_styles().get_literal();
    let mut text = String::from("{about-with-newline}\n{usage-heading} {usage}\n");
    let width = command.get_subcommands().map(|command| command.get_name().len()).max().unwrap_or_default();
    for (group, names) in GROUPS {
        // Writing to a string does not fail.
        let _ = write!(text, "\n{header}{group}:{header:#}\n");
        for name in *names {
            let about = match command.find_subcommand(name) {
                Some(command) => command.get_about().map(ToString::to_string).unwrap_or_default(),
                None => "Print this help, or that of a command".to_owned(),
            };
            let _ = writeln!(text, "  {literal}{name:width$}{literal:#}  {about}");
        }
    }
    let _ = write!(text, "\n{header}Global options, for every command:{header:#}\n{{options}}{{after-help}}");
    text
}

/// Adds to a command and to those under it: examples, the NATS user that it needs, and where the global options are listed.
fn with_notes(command: Command, path: &str, globals: &[clap::Arg]) -> Command {
    let names: Vec<_> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let command = names.into_iter().fold(command, |command, name| {
        let path = format!("{path} {name}");
        command.mut_subcommand(&name, |command| with_notes(command, &path, globals))
    });
    let mut notes = examples(path);
    if let Some(user) = users::of(path) {
        let _ = write!(notes, "\n\nNATS user: {user}");
    }
    notes.push_str("\n\n`imchannel --help` lists the global options, such as --nats-url and --json.");
    command.args(globals).after_help(notes)
}

fn examples(path: &str) -> String {
    let lines = EXAMPLES.iter().find(|(name, _)| *name == path).map_or(&[][..], |(_, lines)| lines);
    let heading = if lines.len() == 1 { "Example:" } else { "Examples:" };
    lines.iter().fold(heading.to_owned(), |text, line| format!("{text}\n  {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command with its path, groups too.
    fn all(of: &Command, before: &str, found: &mut Vec<String>) {
        for command in of.get_subcommands() {
            let path = format!("{before}{}", command.get_name());
            all(command, &format!("{path} "), found);
            found.push(path);
        }
    }

    fn help_of(path: &str) -> String {
        let words = std::iter::once("imchannel").chain(path.split_whitespace()).chain(["--help"]);
        command().try_get_matches_from(words).unwrap_err().to_string()
    }

    #[test]
    fn every_command_is_in_one_group() {
        let mut grouped: Vec<_> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let declared = declared();
        let mut known: Vec<_> = declared.get_subcommands().map(Command::get_name).chain(["help"]).collect();
        grouped.sort_unstable();
        known.sort_unstable();
        assert_eq!(grouped, known);
    }

    #[test]
    fn every_command_has_examples_that_can_be_parsed() {
        let mut found = vec![String::new()];
        all(&declared(), "", &mut found);
        for path in &found {
            let examples = EXAMPLES.iter().find(|(name, _)| name == path);
            let (_, lines) = examples.unwrap_or_else(|| panic!("`{path}` has no example"));
            for line in *lines {
                // What belongs to the shell is left out.
                let start = line.find("imchannel").unwrap();
                let words = line[start..].split(" > ").next().unwrap().trim_end_matches(')');
                let parsed = command().try_get_matches_from(words.split_whitespace());
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                assert!(
                    words["imchannel".len()..].contains(path.split(' ').next().unwrap()),
                    "{path}: {line}"
                );
                assert!(help_of(path).contains(line), "{path}: {line}");
            }
        }
        assert_eq!(EXAMPLES.len(), found.len(), "an example belongs to no command");
    }

    #[test]
    fn the_global_options_are_listed_once() {
        let mut found = Vec::new();
        all(&declared(), "", &mut found);
        let of_all = help_of("");
        for option in ["--nats-url", "--nats-nkeys-dir", "--infobip-hosts", "--json"] {
            let is_entry = |line: &str| line.trim_start().split([' ', '=']).any(|word| word == option);
            assert!(of_all.lines().any(|line| line.trim_start().starts_with(option)), "{option}: {of_all}");
            for path in &found {
                let help = help_of(path);
                let listed = help.lines().filter(|line| line.trim_start().starts_with("--")).any(is_entry);
                assert!(!listed, "{option} in the help of {path}:\n{help}");
                assert!(help.contains("`imchannel --help` lists the global options"), "{path}:\n{help}");
            }
        }
        // They can be given after the command all the same.
        let matches = command().try_get_matches_from(["imchannel", "channel", "list", "--json"]).unwrap();
        assert!(matches.get_flag("json"));
    }

    #[test]
    fn the_overview_fits_a_terminal_of_80_columns() {
        let help = help_of("");
        let overview = help.split("Global options").next().unwrap();
        for line in overview.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let groups: Vec<_> =
            GROUPS.iter().filter_map(|(group, _)| overview.find(&format!("\n{group}:\n"))).collect();
        assert!(groups.len() == GROUPS.len() && groups.is_sorted(), "{overview}");
    }
}
