//! The program `imchannel`: what operators and newcomers type.

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
#[cfg(test)]
mod documents;

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

/// What a command ends with when nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// All is well.
    Well,
    /// A file or a setting cannot be used; its faults were printed.
    Faulty,
    /// A check found differences; they were printed.
    Different,
}

/// The whole command line: with the settings that `up` takes, and the NATS user of each command in its help.
fn command() -> clap::Command {
    let command = Cli::command().mut_subcommand("up", |up| service::settings::add_to(up, &up::settings()));
    users::add_to_help(command)
}

fn main() -> ExitCode {
    let matches = match command().try_get_matches() {
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
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let Cli { mut target, command, .. } = cli;
    target.needed = users::needed(matches);
    let target = &target;
    let work = async move {
        match command {
            Command::Up(command) => {
                let settings = matches.subcommand_matches("up").context("no settings")?;
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
        command().debug_assert();
    }
}
