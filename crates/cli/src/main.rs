//! The program `imchannel`: the command line for operators and developers.

mod exit;
mod text;
mod output;
mod words;
mod duration;
mod confirm;
mod users;
mod target;
mod redis_target;
mod timeline_client;
mod timeline_target;
mod mask;
mod show;
mod refusals;
mod spooled;
mod repair;
mod help;
mod commands;
mod doctor;
#[cfg(test)]
mod documents;

use std::process::ExitCode;

use anyhow::Context;
use clap::{FromArgMatches, Parser, Subcommand};

use crate::commands::dev::{simulate, simulate_infobip, up};
use crate::commands::{
    channel, completions, deadletter, erase, health, lanes, media, replay, secrets, send, setup, streams,
    tail, top, trace,
};
use crate::exit::Exit;
use crate::output::Out;
use crate::target::Target;
use crate::words::causes;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Run, operate and try out imchannel, the WhatsApp gateway of a contact center.
#[derive(Debug, Parser)]
#[command(name = "imchannel", version = version::FULL, max_term_width = 110)]
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
    /// Run the whole gateway here, with its own NATS and Redis.
    Up(up::Up),
    /// Create, check or repair the streams, consumers and buckets.
    #[command(subcommand)]
    Streams(streams::Streams),
    /// Prepare NATS and Redis for the services. Safe to repeat.
    Setup(setup::Setup),
    /// Generate the secrets of an installation.
    #[command(subcommand)]
    Secrets(secrets::Secrets),
    /// Add, list, pause, resume or remove channels.
    #[command(subcommand)]
    Channel(channel::Channel),
    /// Print webhooks, events, commands or dead letters.
    Tail(tail::Tail),
    /// Say what happened to a message, and what is missing.
    Trace(trace::Trace),
    /// Erase a customer: everything that is stored about a number.
    Erase(erase::Erase),
    /// Send one message and follow its result.
    Send(send::Send),
    /// List the commands that wait to be sent.
    #[command(subcommand)]
    Lanes(lanes::Lanes),
    /// Upload, download or look up files of messages.
    #[command(subcommand)]
    Media(media::MediaCommand),
    /// Watch traffic, backlogs and sends live.
    Top(top::Top),
    /// Check an installation. Exit code 3 if something is wrong.
    Doctor(doctor::Doctor),
    /// Parse stored webhooks again with this version.
    #[command(subcommand)]
    Replay(replay::Replay),
    /// List, show, replay or drop dead letters.
    #[command(subcommand, name = "deadletter")]
    DeadLetter(deadletter::DeadLetters),
    /// Simulate BSPs that post webhooks, or Infobip's send API.
    #[command(subcommand)]
    Simulate(Simulate),
    /// Ask a running simulator whether it is ready.
    Health(health::Health),
    /// Print a script that completes commands in a shell.
    Completions(completions::Completions),
}

/// What is simulated.
#[derive(Debug, Subcommand)]
enum Simulate {
    /// Post webhooks as BSPs do, and check the events that they become.
    Webhooks(simulate::Simulate),
    /// Run a fake Infobip send API with optional faults.
    Infobip(simulate_infobip::SimulateInfobip),
}

fn main() -> ExitCode {
    let matches = match help::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return service::terminal::usage(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return service::terminal::usage(&error),
    };
    let out = Out::new(cli.json);
    let unknown = service::known::errors_of_environment();
    if !unknown.is_empty() {
        for error in &unknown {
            out.faulty(error);
        }
        return Exit::InvalidInput.into();
    }
    match run(cli, &matches, &out) {
        Ok(exit) => exit.into(),
        Err(error) => {
            out.error(&causes(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli, matches: &clap::ArgMatches, out: &Out) -> anyhow::Result<Exit> {
    service::process::install_crypto_provider();
    service::memory::use_small_pages();
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
            Command::Trace(command) => trace::run(command, target, out).await,
            Command::Erase(command) => erase::run(command, target, out).await,
            Command::Send(command) => send::run(command, target, out).await,
            Command::Lanes(command) => lanes::run(command, target, out).await,
            Command::Media(command) => media::run(command, target, out).await,
            Command::Health(command) => health::run(&command, out),
            // Without the changes for the help: there, commands hide the options that they share.
            Command::Completions(command) => completions::run(&command, help::declared(), out),
            Command::Top(command) => top::run(command, target, out).await,
            Command::Doctor(command) => doctor::run(command, target, out).await,
            Command::Replay(command) => replay::run(command, target, out).await,
            Command::DeadLetter(command) => deadletter::run(command, target, out).await,
            Command::Simulate(Simulate::Webhooks(command)) => simulate::run(command, target, out).await,
            Command::Simulate(Simulate::Infobip(command)) => {
                simulate_infobip::run(command, target, out).await
            }
        }
    };
    runtime.block_on(target.unless_refused(work))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn variables(of: &clap::Command, found: &mut Vec<String>) {
        let named = of.get_arguments().filter_map(|arg| arg.get_env());
        found.extend(named.map(|name| name.to_string_lossy().into_owned()));
        for command in of.get_subcommands() {
            variables(command, found);
        }
    }

    #[test]
    fn every_setting_is_known_and_nothing_else() {
        let settings = ingress::settings::all().into_iter().chain(normalizer::settings::all());
        let settings = settings.chain(sender::settings::all()).chain(::media::settings::all());
        let settings = settings.chain(timeline::settings::all());
        let mut found = Vec::new();
        variables(&Cli::command(), &mut found);
        for setting in settings {
            found.push(setting.variable());
            found.extend(setting.is_secret.then(|| setting.file_variable()));
        }
        let names = found.iter().filter_map(|name| name.strip_prefix("IMCHANNEL_"));
        let names: std::collections::BTreeSet<_> = names.collect();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), service::known::SETTINGS);
    }

    #[test]
    fn the_command_line_is_consistent() {
        help::declared().debug_assert();
        help::command().debug_assert();
    }
}
