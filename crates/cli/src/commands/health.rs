//! `imchannel health`: checks a simulator like the services' own `health` does; and the admin port of simulators. For
//! probes in images that have no shell and no other program.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use service::Readiness;
use service::process::{self, AdminState};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::output::Out;

#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Admin port of the simulator: its `--admin-listen`.
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDR")]
    admin_listen: SocketAddr,
    /// Only check whether it runs.
    #[arg(long)]
    live: bool,
}

pub(crate) fn run(command: &Health, out: &Out) -> anyhow::Result<Exit> {
    let path = if command.live { "/live" } else { "/ready" };
    let asked = service::health::get(command.admin_listen, path);
    let (is_well, answer) = asked.with_context(|| format!("no response from {}", command.admin_listen))?;
    if !is_well {
        bail!("not ready: {answer}");
    }
    out.print(&answer);
    Ok(Exit::Ok)
}

/// Readiness condition of a simulator.
pub(crate) struct Condition {
    name: &'static str,
    ask: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl Condition {
    pub(crate) fn new(
        name: &'static str,
        ask: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { name, ask: Box::new(ask) }
    }
}

/// Answers `/live`, `/ready` and `/metrics` until `stop`.
pub(crate) async fn serve(
    address: SocketAddr,
    stop: &CancellationToken,
    condition: Condition,
    out: &Out,
) -> anyhow::Result<JoinHandle<()>> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address} (admin)"))?;
    out.object(&json!({ "admin": listener.local_addr()?.to_string() }));
    let readiness = Readiness::default();
    readiness.require(condition.name, condition.ask);
    readiness.mark_started();
    let registry = process::registry("imchannel", version::NUMBER);
    let state = AdminState { readiness, stopping: stop.clone(), registry };
    Ok(tokio::spawn(process::serve_admin(listener, state, stop.clone())))
}
