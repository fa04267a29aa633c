//! Benchmarks: imchannel against baseline programs that do only the necessary work, and against alternatives that
//! people would write. `run` measures everything and writes BENCHMARKS.md. The load generators and the baseline
//! programs can be used alone.
//!
//! The programs of a pair are measured in turns, round after round, because the speed of a machine drifts. The report
//! has the median of the ratios. Every body is unique.

mod body;
mod bench_channel;
mod client;
mod baseline;
mod load;
mod environment;
mod output;
mod pair;
mod report;
mod run;
mod suite;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::body::Bodies;
use crate::client::Target;

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
    /// Measure everything and write the report.
    Run {
        /// Seconds of one measurement.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Rounds of every pair.
        #[arg(long, default_value_t = 4)]
        rounds: usize,
        /// Webhooks of the normalizer's measurements.
        #[arg(long, default_value_t = 100_000)]
        webhooks: u64,
        /// Rows of the timeline's measurement, spread over 30 days.
        #[arg(long, default_value_t = 2_000_000)]
        rows: u64,
        /// File of the report.
        #[arg(long, default_value = "BENCHMARKS.md")]
        report: PathBuf,
        /// Measure only these, and print the report instead of writing it.
        #[arg(long, value_enum, value_delimiter = ',')]
        only: Vec<suite::Part>,
        /// Folder of the prepared FastAPI receiver (with its `venv`); it is skipped if not given.
        #[arg(long)]
        fastapi: Option<PathBuf>,
        /// Folder of the prepared Fastify receiver (with its `node_modules`); it is skipped if not given.
        #[arg(long)]
        fastify: Option<PathBuf>,
    },
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

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    service::process::install_crypto_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Run { seconds, rounds, webhooks, rows, report, only, fastapi, fastify } => {
                let effort = suite::Effort { time: Duration::from_secs(seconds), rounds, webhooks, rows };
                let others =
                    suite::comparison::Folders { fastapi: fastapi.as_deref(), fastify: fastify.as_deref() };
                Box::pin(run::run(effort, &only, &report, others)).await
            }
            Command::BaselineServe { listen, nats_url } => baseline::serve(listen, &nats_url).await,
            Command::BaselineNormalize { nats_url } => baseline::normalize(&nats_url).await,
            Command::BaselineMedia { listen, redis_url, nats_url: _ } => {
                baseline::media(listen, &redis_url).await
            }
            Command::Load { gateway, path, password, connections, seconds, rate } => {
                let target = Target { address: gateway, path, password };
                let (time, bodies) = (Duration::from_secs(seconds), Arc::new(Bodies::new()));
                let outcome = match rate {
                    Some(rate) => load::open(&target, connections, rate, time, &bodies, None).await?,
                    None => load::closed(&target, connections, time, &bodies).await?,
                };
                output::say(&format!("{outcome}"));
                Ok(())
            }
        }
    })
}
