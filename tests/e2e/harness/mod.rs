//! What the tests stand on: an installation (servers, streams, channels), services in this process or as programs
//! of their own, a client, and waiting for conditions.

pub(crate) mod balancer;
pub(crate) mod cluster;
mod installation;
pub(crate) mod outbound;
mod program;
pub(crate) mod secured;
pub(crate) mod slow_bus;
mod webhook;

use std::time::Duration;

use tokio::time::Instant;

pub(crate) use installation::{CHANNELS, Installation, KEY, RunningIngress};
pub(crate) use program::{Program, binary, run_cli, run_cli_with};
pub(crate) use webhook::{Answer, Webhook, connect_from, raw_request};

/// Timeout of every wait: longer than anything that works takes, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Interval of the checks whether a condition holds.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Tests that measure time or load the machine hold this, so that none disturbs another.
pub(crate) async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ALONE.lock().await
}

/// Waits until `look` gives a value; panics with `what` when it never does.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl FnMut() -> F) -> T {
    within(PATIENCE, what, look).await
}

/// The same with a limit of its own.
pub(crate) async fn within<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
