//! The tables of docs/configuration.md.

use std::collections::BTreeMap;

use bus::streams::StreamSettings;
use clap::CommandFactory as _;
use service::Setting;
use service::units::{format_duration, format_size};

use super::{Part, cell, code, table};

const PAGE: &str = "docs/configuration.md";

/// A table for what all services have, one for each service, and those of the command line.
pub(super) fn parts() -> Vec<Part> {
    let common = &service::process_settings::ALL;
    let own = |all: Vec<&'static Setting>| -> Vec<&'static Setting> {
        let is_own = |setting: &&Setting| !common.iter().any(|one| one.flag == setting.flag);
        all.into_iter().filter(is_own).collect()
    };
    let part = |name, text| Part { page: PAGE, name, text };
    vec![
        part("every service", of_settings(common)),
        part("ingress", of_settings(&own(ingress::settings::all()))),
        part("normalizer", of_settings(&own(normalizer::settings::all()))),
        part("sender", of_settings(&own(sender::settings::all()))),
        part("media", of_settings(&own(::media::settings::all()))),
        part("timeline", of_settings(&own(timeline::settings::all()))),
        part("command line", of_command_line()),
        part("streams", of_streams()),
    ]
}

fn of_settings(settings: &[&'static Setting]) -> String {
    let rows: Vec<_> = settings.iter().map(|setting| row(setting)).collect();
    table(["variable", "default", "meaning"], &rows)
}

fn row(setting: &Setting) -> [String; 3] {
    let mut meaning = cell(setting.help);
    let usual = format!("IMCHANNEL_{}", setting.flag.to_uppercase().replace('-', "_"));
    if setting.variable() != usual {
        meaning.push_str(&format!("; as a flag `--{}`", setting.flag));
    }
    if setting.is_secret {
        meaning.push_str(&format!("; or in the file that `{}` names", setting.file_variable()));
    }
    [code(&setting.variable()), code(setting.default), meaning]
}

/// Variables that commands of `imchannel` read. Those of streams have their own table, and the settings of services that
/// `up` takes are in the tables of the services.
fn of_command_line() -> String {
    let mut command = crate::Cli::command();
    command.build();
    let mut found = BTreeMap::new();
    let global: Vec<_> = command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    for arg in &global {
        note(arg, "every command", &mut found);
    }
    walk(&command, "", &mut found);
    let rows: Vec<_> = found
        .into_iter()
        .filter(|((variable, _), _)| !first_values().iter().any(|(name, ..)| name == variable))
        .map(|((variable, help), commands)| [code(&variable), commands.join(", "), cell(&help)])
        .collect();
    table(["variable", "commands", "meaning"], &rows)
}

type Found = BTreeMap<(String, String), Vec<String>>;

fn walk(command: &clap::Command, path: &str, found: &mut Found) {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let path = format!("{path} {}", sub.get_name());
        for arg in sub.get_arguments().filter(|arg| !arg.is_global_set()) {
            note(arg, &format!("`{}`", path.trim()), found);
        }
        walk(sub, &path, found);
    }
}

fn note(arg: &clap::Arg, command: &str, found: &mut Found) {
    let Some(variable) = arg.get_env() else { return };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let key = (variable.to_string_lossy().into_owned(), help);
    found.entry(key).or_default().push(command.to_owned());
}

/// What streams are made with where nothing is named: variable, value, meaning.
fn first_values() -> [(&'static str, String, &'static str); 7] {
    let first = StreamSettings::default();
    let size = |bytes| format_size(bytes);
    [
        ("IMCHANNEL_REPLICAS", first.replicas.to_string(), "copies of every stream and bucket"),
        (
            "IMCHANNEL_DUPLICATE_WINDOW",
            format_duration(first.duplicate_window),
            "how long a stream recognizes a repeated message id (WEBHOOKS: 5 s at most). The server holds every id in memory",
        ),
        ("IMCHANNEL_WEBHOOKS_MAX_SIZE", size(first.webhooks_max_bytes), "size of stream WEBHOOKS"),
        ("IMCHANNEL_EVENTS_MAX_SIZE", size(first.events_max_bytes), "size of stream EVENTS"),
        ("IMCHANNEL_COMMANDS_MAX_SIZE", size(first.commands_max_bytes), "size of stream COMMANDS"),
        ("IMCHANNEL_DEADLETTERS_MAX_SIZE", size(first.deadletters_max_bytes), "size of stream DEADLETTERS"),
        (
            "IMCHANNEL_SENDS_MAX_SIZE",
            size(first.sends_max_bytes),
            "size of the ledger of sends: 430 bytes and more a send, for 26 hours",
        ),
    ]
}

fn of_streams() -> String {
    let rows =
        first_values().map(|(variable, value, meaning)| [code(variable), code(&value), meaning.to_owned()]);
    table(["variable", "at first", "meaning"], &rows)
}

/// The help of `streams apply` says the same.
#[test]
fn the_help_of_the_streams_settings_has_their_first_values() {
    let command = super::command_line();
    let apply =
        command.find_subcommand("streams").and_then(|streams| streams.find_subcommand("apply")).unwrap();
    for (variable, value, _) in first_values() {
        let arg = apply.get_arguments().find(|arg| arg.get_env().is_some_and(|name| name == variable));
        let help = arg.unwrap_or_else(|| panic!("no option with {variable}")).get_help().unwrap().to_string();
        // The window may be named in milliseconds.
        let window = StreamSettings::default().duplicate_window.as_millis().to_string();
        let is_said =
            [value.as_str(), window.as_str()].iter().any(|value| help.replace(' ', "").contains(value));
        assert!(is_said, "{variable} is {value} at first, not: {help}");
    }
}
