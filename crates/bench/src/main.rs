//! Benchmarks: imchannel against the bare programs that do nothing but the work that cannot be left out, and against
//! what people would write instead. `run` measures everything and writes BENCHMARKS.md; the load generators and the
//! bare programs can be used alone.
//!
//! Pairs are measured in turns, round after round, because the speed of a machine drifts; what is told is the median of
//! the ratios. Every body is unique.

mod body;
mod client;
mod floor;
mod load;
mod place;
mod report;
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
        /// Turns of every pair.
        #[arg(long, default_value_t = 4)]
        rounds: usize,
        /// Webhooks for the normalizer's measurements.
        #[arg(long, default_value_t = 100_000)]
        webhooks: u64,
        /// Where the report goes.
        #[arg(long, default_value = "BENCHMARKS.md")]
        report: PathBuf,
        /// Measure only these, and print the report instead of writing it.
        #[arg(long, value_enum, value_delimiter = ',')]
        only: Vec<suite::Part>,
        /// Folder of the prepared FastAPI receiver (with its `venv`); left out without.
        #[arg(long)]
        fastapi: Option<PathBuf>,
        /// Folder of the prepared Fastify receiver (with its `node_modules`); left out without.
        #[arg(long)]
        fastify: Option<PathBuf>,
    },
    /// The bare receiver: credential compared, body published, acknowledgement awaited.
    FloorServe {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddr,
        /// Where NATS is.
        #[arg(long)]
        nats_url: String,
    },
    /// The bare loop: pull, parse, publish, acknowledge.
    FloorNormalize {
        /// Where NATS is.
        #[arg(long)]
        nats_url: String,
    },
    /// The bare server of files: the value out of Redis.
    FloorMedia {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddr,
        /// Where Redis is.
        #[arg(long)]
        redis_url: String,
        /// Not used; every bare program is started alike.
        #[arg(long, hide = true)]
        nats_url: Option<String>,
    },
    /// Posts reports to a gateway over and over, and says how fast they are answered.
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
        /// Connections at once.
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// Duration of the load, in seconds.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Requests a second, sent whether earlier ones are answered or not; as fast as answers come, without.
        #[arg(long)]
        rate: Option<f64>,
    },
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    service::process::install_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Run { seconds, rounds, webhooks, report, only, fastapi, fastify } => {
                let effort = suite::Effort { time: Duration::from_secs(seconds), rounds, webhooks };
                Box::pin(suite::run(effort, &only, &report, (fastapi.as_deref(), fastify.as_deref()))).await
            }
            Command::FloorServe { listen, nats_url } => floor::serve(listen, &nats_url).await,
            Command::FloorNormalize { nats_url } => floor::normalize(&nats_url).await,
            Command::FloorMedia { listen, redis_url, nats_url: _ } => floor::media(listen, &redis_url).await,
            Command::Load { gateway, path, password, connections, seconds, rate } => {
                let target = Target { address: gateway, path, password };
                let (time, bodies) = (Duration::from_secs(seconds), Arc::new(Bodies::new()));
                let outcome = match rate {
                    Some(rate) => load::open(&target, connections, rate, time, &bodies, None).await?,
                    None => load::closed(&target, connections, time, &bodies).await?,
                };
                report::say(&format!("{outcome}"));
                Ok(())
            }
        }
    })
}
