//! Benchmarks: imchannel against baseline programs that do only the necessary work, and against alternatives that
//! people would write. `run` measures everything and writes BENCHMARKS.json, BENCHMARKS.md and the plots. The load
//! generators and the baseline programs can be used alone.
//!
//! The programs of a pair are measured in turns, round after round, because the speed of a machine drifts. The report
//! has the median of the ratios. Every body is unique. Figures whose rounds differ too much, and those of a machine that
//! was not quiet, are refused: the page marks them, and the program ends with exit code 3.

mod body;
mod bench_channel;
mod client;
mod baseline;
mod load;
mod cpus;
mod cpu_time;
mod environment;
mod output;
mod pair;
mod part;
mod statistics;
mod conditions;
mod results;
mod machine;
mod report;
mod suite;
mod run;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::body::Bodies;
use crate::client::Target;
use crate::cpus::{Cpus, Layout};
use crate::part::Part;
use crate::results::Amount;
use crate::run::{Ended, Plan};
use crate::suite::Effort;
use crate::suite::backlog::FEW;
use crate::suite::comparison::Folders;

/// Exit code of a run with refused rows.
const REFUSED: u8 = 3;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures imchannel.
#[derive(Debug, Parser)]
#[command(name = "imchannel-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure everything and write the report. The exit code is 3 if rows are refused.
    Run(Run),
    /// The baseline receiver: compares the credential, publishes the body, waits for the ack.
    BaselineServe {
        /// Listen address.
        #[arg(long)]
        listen: SocketAddr,
        /// URL of NATS.
        #[arg(long)]
        nats_url: String,
    },
    /// The baseline loop: pulls, parses, publishes, acks.
    BaselineNormalize {
        /// URL of NATS.
        #[arg(long)]
        nats_url: String,
    },
    /// The baseline file server: returns the value of Redis.
    BaselineMedia {
        /// Listen address.
        #[arg(long)]
        listen: SocketAddr,
        /// URL of Redis.
        #[arg(long)]
        redis_url: String,
        /// Not used; all baseline programs have the same options.
        #[arg(long, hide = true)]
        nats_url: Option<String>,
    },
    /// Post reports to a gateway repeatedly, and print the latency.
    Load {
        /// Address of the gateway.
        #[arg(long)]
        gateway: SocketAddr,
        /// Path of the channel's URL.
        #[arg(long)]
        path: String,
        /// The channel's password (header `AccountKey`).
        #[arg(long)]
        password: String,
        /// Number of connections.
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// Duration of the load, in seconds.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Requests a second, sent whether or not earlier ones are answered; without it as fast as responses arrive.
        #[arg(long)]
        rate: Option<f64>,
    },
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Seconds of one measurement.
    #[arg(long, default_value_t = run::SECONDS)]
    seconds: u64,
    /// Rounds of every pair.
    #[arg(long, default_value_t = run::ROUNDS)]
    rounds: usize,
    /// Webhooks of the normalizer's measurements.
    #[arg(long, default_value_t = run::WEBHOOKS)]
    webhooks: u64,
    /// Webhooks that wait when the CPU time of one is measured, against 10,000. Each takes about 1.5 KB of disk.
    #[arg(long, default_value_t = run::BACKLOG, value_parser = clap::value_parser!(u64).range(FEW..))]
    backlog: u64,
    /// Rows of the timeline's measurement, spread over 30 days.
    #[arg(long, default_value_t = run::ROWS)]
    rows: u64,
    /// File of the page. The results are beside it, with the extension `json`.
    #[arg(long, default_value = "BENCHMARKS.md")]
    report: PathBuf,
    /// Measure only these. The report keeps its other sections.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Longest wait for a quiet machine before each part, in seconds.
    #[arg(long, default_value_t = 60)]
    quiet_wait: u64,
    /// Most attempts at a part with refused rows; the one with the fewest counts.
    #[arg(long, default_value_t = run::ATTEMPTS, value_parser = at_least_one)]
    attempts: usize,
    /// Pin nothing to CPUs.
    #[arg(long)]
    no_pin: bool,
    #[command(flatten)]
    folders: Folders,
}

impl Run {
    fn plan(self) -> Plan {
        let Self { seconds, rounds, webhooks, backlog, rows, .. } = self;
        let all = Cpus::available();
        let layout = if self.no_pin { Layout::shared(all) } else { Layout::of(all) };
        Plan {
            effort: Effort { time: Duration::from_secs(seconds), rounds, webhooks, backlog, rows, layout },
            only: self.only,
            page: self.report,
            folders: self.folders,
            quiet_wait: Duration::from_secs(self.quiet_wait),
            attempts: self.attempts,
            amount: Amount { seconds, rounds, webhooks, backlog, rows },
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("give a number of at least 1".to_owned()),
    }
}

/// Measures, and says which exit code the result has.
async fn run_plan(plan: Plan) -> anyhow::Result<ExitCode> {
    let Ended { refused } = run::run(&plan).await?;
    if refused == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    output::say(&format!(
        "{refused} rows are refused: make the machine quiet, and measure them again with their command"
    ));
    Ok(ExitCode::from(REFUSED))
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    service::process::install_crypto_provider();
    service::memory::use_small_pages();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Run(options) => return Box::pin(run_plan(options.plan())).await,
            Command::BaselineServe { listen, nats_url } => baseline::serve(listen, &nats_url).await?,
            Command::BaselineNormalize { nats_url } => baseline::normalize(&nats_url).await?,
            Command::BaselineMedia { listen, redis_url, nats_url: _ } => {
                baseline::media(listen, &redis_url).await?;
            }
            Command::Load { gateway, path, password, connections, seconds, rate } => {
                let target = Target { address: gateway, path, password };
                let (time, bodies) = (Duration::from_secs(seconds), Arc::new(Bodies::new()));
                let outcome = match rate {
                    Some(rate) => load::open(&target, connections, rate, time, &bodies, None).await?,
                    None => load::closed(&target, connections, time, &bodies).await?,
                };
                output::say(&format!("{outcome}"));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}
