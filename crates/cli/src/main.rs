//! The program `imchannel`: the command line for operators and developers.

mod text;
mod out;
mod target;
mod redis;
mod users;
mod streams;
mod repair;
mod setup;
mod secrets;
mod channel;
mod tail;
mod mask;
mod notice;
mod when;
mod confirm;
mod refusals;
mod words;
mod simulate;
mod replay;
mod deadletter;
mod send;
mod sends;
mod media;
mod simulate_infobip;
mod health;
mod top;
mod doctor;
mod up;

use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::out::Out;
use crate::target::Target;
use crate::words::causes;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed (NATS refuses the user, too), 2 wrong usage, settings or channels file, 3 a check found differences.";

/// Operates imchannel, the WhatsApp channel gateway.
#[derive(Debug, Parser)]
#[command(name = "imchannel", version, after_help = EXIT_CODES, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    target: Target,
    /// Print JSON, one object a line, for programs.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole gateway in one process, with NATS and Redis servers of its own.
    Up(up::Up),
    /// Make or check the streams, durables and buckets on the bus.
    #[command(subcommand)]
    Streams(streams::Streams),
    /// Make everything that services need on the bus: streams, durables, buckets, channels. Safe to repeat.
    Setup(setup::Setup),
    /// Make the secrets of an installation.
    #[command(subcommand)]
    Secrets(secrets::Secrets),
    /// Describe channels to the gateway and look at them.
    #[command(subcommand)]
    Channel(channel::Channel),
    /// Show what passes: stored webhooks, events, dead letters.
    Tail(tail::Tail),
    /// Send one message and watch what becomes of it.
    Send(send::Send),
    /// Look at what waits to be sent.
    #[command(subcommand)]
    Lanes(sends::Lanes),
    /// Upload files of messages, fetch them, look at them.
    #[command(subcommand)]
    Media(media::MediaCommand),
    /// Watch what passes and what waits, by BSP and channel.
    Top(top::Top),
    /// Check a running installation: what is wrong, why it matters, and what to do; exit code 3 when something is.
    Doctor(doctor::Doctor),
    /// Put stored webhooks through the parsers of this version once more.
    #[command(subcommand)]
    Replay(replay::Replay),
    /// Look at what could not be understood, try it again, throw it away.
    #[command(subcommand, name = "deadletter")]
    DeadLetter(deadletter::DeadLetters),
    /// Post webhooks as the BSPs do, repeats and all, and check that exactly the right events come out.
    Simulate(simulate::Simulate),
    /// Be Infobip's sending side: take messages, fetch their files, report back; as unwell as wanted.
    SimulateInfobip(simulate_infobip::SimulateInfobip),
    /// Ask a running simulator whether it is well; exit code 0 when it is, 1 when not.
    Health(health::Health),
}

/// Result of a command that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// Success.
    Well,
    /// A file or a setting is invalid; its errors were printed.
    Faulty,
    /// A check found differences; they were printed.
    Different,
}

fn main() -> ExitCode {
    let command = Cli::command().mut_subcommand("up", |up| service::settings::add_to(up, &up::settings()));
    let command = users::add_to_help(command);
    let matches = match command.try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return service::terminal::usage(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return service::terminal::usage(&error),
    };
    let out = Out::new(cli.json);
    match run(cli, &matches, &out) {
        Ok(Done::Well) => ExitCode::SUCCESS,
        Ok(Done::Faulty) => ExitCode::from(2),
        Ok(Done::Different) => ExitCode::from(3),
        Err(error) => {
            out.error(&causes(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli, matches: &clap::ArgMatches, out: &Out) -> anyhow::Result<Done> {
    service::process::install_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let Cli { mut target, command, .. } = cli;
    target.needed = users::needed(matches);
    let target = &target;
    let work = async move {
        match command {
            Command::Up(command) => {
                let settings =
                    matches.subcommand_matches("up").context("the settings of `up` are missing")?;
                Box::pin(up::run(command, target, settings, out)).await
            }
            Command::Streams(command) => streams::run(command, target, out).await,
            Command::Setup(command) => setup::run(command, target, out).await,
            Command::Secrets(command) => secrets::run(&command, out),
            Command::Channel(command) => channel::run(command, target, out).await,
            Command::Tail(command) => tail::run(command, target, out).await,
            Command::Send(command) => send::run(command, target, out).await,
            Command::Lanes(command) => sends::run(command, target, out).await,
            Command::Media(command) => media::run(command, target, out).await,
            Command::SimulateInfobip(command) => simulate_infobip::run(command, target, out).await,
            Command::Health(command) => health::run(&command, out),
            Command::Top(command) => top::run(command, target, out).await,
            Command::Doctor(command) => doctor::run(command, target, out).await,
            Command::Replay(command) => replay::run(command, target, out).await,
            Command::DeadLetter(command) => deadletter::run(command, target, out).await,
            Command::Simulate(command) => simulate::run(command, target, out).await,
        }
    };
    runtime.block_on(target.unless_refused(work))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command()
            .mut_subcommand("up", |up| service::settings::add_to(up, &up::settings()))
            .debug_assert();
    }

    #[test]
    fn the_readme_names_every_setting_with_its_default() {
        let readme = include_str!("../../../README.md");
        let settings = ingress::settings::all().into_iter().chain(normalizer::settings::all());
        let settings = settings.chain(sender::settings::all()).chain(::media::settings::all());
        for setting in settings {
            let default =
                if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
            let row = format!("| `{}` | {default}", setting.variable());
            assert!(readme.contains(&row), "no row begins with {row}");
        }
        let cli = Cli::command();
        for arg in cli.get_arguments() {
            let variable = arg.get_env().map(|variable| variable.to_string_lossy().into_owned());
            // The documents describe for all secrets together that they may be read from a file.
            let Some(variable) = variable.filter(|name| name != "IMCHANNEL_CREDENTIAL_KEY_FILE") else {
                continue;
            };
            let row = format!("| `{variable}` | ");
            assert!(readme.contains(&row), "no row begins with {row}");
        }
        let apply = cli.find_subcommand("streams").and_then(|streams| streams.find_subcommand("apply"));
        for arg in apply.expect("the command exists").get_arguments() {
            let Some(variable) = arg.get_env() else { continue };
            let row = format!("| `{}` | ", variable.to_string_lossy());
            assert!(readme.contains(&row), "no row begins with {row}");
        }
        let first = bus::streams::StreamSettings::default();
        for (variable, default) in [
            ("REPLICAS", first.replicas as u64),
            ("DUPLICATE_WINDOW_MS", first.duplicate_window.as_millis() as u64),
            ("WEBHOOKS_MAX_BYTES", first.webhooks_max_bytes),
            ("EVENTS_MAX_BYTES", first.events_max_bytes),
            ("COMMANDS_MAX_BYTES", first.commands_max_bytes),
            ("DEADLETTERS_MAX_BYTES", first.deadletters_max_bytes),
            ("SENDS_MAX_BYTES", first.sends_max_bytes),
        ] {
            let row = format!("| `IMCHANNEL_{variable}` | `{default}` |");
            assert!(readme.contains(&row), "no row begins with {row}");
        }
    }
}
