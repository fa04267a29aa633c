//! Explores the model of the send protocol within bounds of your choice, and prints the number of states or the trace to a
//! violation.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use model::{Bounds, Faults, MessageLog, Mutant, Property, Second, explore};

/// Explores every order of two senders' steps and of the faults that they must survive.
#[derive(Debug, Parser)]
#[command(name = "model")]
struct Cli {
    /// A second command with the same id.
    #[arg(long, value_enum)]
    second: Option<Second>,
    /// The channel has `resend_unknown_after`.
    #[arg(long)]
    resend: bool,
    /// How long the BSP's message log may lag.
    #[arg(long, value_enum, default_value = "prompt")]
    message_log: MessageLog,
    /// The BSP rejects an id that it has accepted before.
    #[arg(long)]
    rejects_used_ids: bool,
    /// A replica may sleep for longer than the ledger keeps entries.
    #[arg(long)]
    sleep: bool,
    /// The customer of the commands may be erased.
    #[arg(long)]
    erase: bool,
    /// Most acknowledgements of writes and commands that are lost or late.
    #[arg(long, default_value_t = 1)]
    lost_acks: u8,
    /// Most responses of the BSP that are lost.
    #[arg(long, default_value_t = 1)]
    lost_answers: u8,
    /// Most calls that are refused or rejected.
    #[arg(long, default_value_t = 1)]
    refusals: u8,
    /// Most queries of the message log that fail.
    #[arg(long, default_value_t = 0)]
    failed_queries: u8,
    /// Most deliveries of a command that another replica still has.
    #[arg(long, default_value_t = 1)]
    redeliveries: u8,
    /// Most processes that are killed.
    #[arg(long, default_value_t = 1)]
    crashes: u8,
    /// Most machines that are suspended.
    #[arg(long, default_value_t = 0)]
    suspensions: u8,
    /// Most leases that the server loses.
    #[arg(long, default_value_t = 0)]
    lost_leases: u8,
    /// Time until the deadline of the commands, in steps of 2 s.
    #[arg(long, default_value_t = Bounds::PLAIN.deadline)]
    deadline: u8,
    /// A mistake in the protocol.
    #[arg(long, value_enum)]
    mutant: Option<Mutant>,
    /// The only property that is checked.
    #[arg(long, value_enum)]
    only: Option<Property>,
    /// Most states that are visited.
    #[arg(long, default_value_t = 50_000_000)]
    states_max: usize,
}

impl Cli {
    fn bounds(&self) -> Bounds {
        let faults = Faults {
            lost_acks: self.lost_acks,
            lost_answers: self.lost_answers,
            refusals: self.refusals,
            failed_queries: self.failed_queries,
            redeliveries: self.redeliveries,
            crashes: self.crashes,
            suspensions: self.suspensions,
            lost_leases: self.lost_leases,
        };
        Bounds {
            second: self.second,
            may_resend: self.resend,
            message_log: self.message_log,
            rejects_used_ids: self.rejects_used_ids,
            may_sleep_a_day: self.sleep,
            may_erase: self.erase,
            deadline: self.deadline,
            faults,
            mutant: self.mutant,
            only: self.only,
        }
    }
}

#[expect(clippy::print_stdout, reason = "it prints its findings, which contain no foreign text")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    let began = Instant::now();
    let found = explore(cli.bounds(), cli.states_max);
    println!(
        "{} states, {} steps, depth {}, {:.1} s",
        found.states,
        found.steps,
        found.depth,
        began.elapsed().as_secs_f64()
    );
    if let Some(violation) = found.violation {
        println!("violated: {}\n{}", violation.property, violation.lines());
        return ExitCode::FAILURE;
    }
    if !found.is_complete {
        println!("not complete: more than {} states", cli.states_max);
        return ExitCode::FAILURE;
    }
    println!("every reachable state was visited, and every property holds");
    ExitCode::SUCCESS
}
