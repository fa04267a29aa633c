//! What the tests start, and how they wait.
//!
//! A test starts what it needs and nothing is shared: servers listen on free ports, keep their data in a temporary
//! folder, and end with the test, also when it fails. The nats-server is the first in `PATH`.
//!
//! | start | get |
//! |---|---|
//! | [`Installation::start`] | nats-server with streams and a channel of each BSP ([`CHANNELS`]); `start_bare` has no streams |
//! | `installation.ingress()`, `.normalizer()` | the service in this process; `_with` takes settings, `_on` another address of NATS |
//! | [`outbound::Outbound::start`] | the same for sending: Redis, a simulated Infobip account, channels `channel-0`, `channel-1`, … |
//! | `outbound.sender()`, `.media()` | the service in this process; `sender_program` is a process that can be killed |
//! | [`secured::Secured::start`] | NATS and Redis with the configuration of `deploy/`, and users with the secrets of `imchannel secrets generate`; [`secured_channel`] has its channel |
//! | [`cluster::Cluster::start`] | three nats-servers |
//! | [`slow_bus::SlowBus`], [`cut_bus::CutBus`], [`held_bus::HeldBus`] | a proxy that delays publishes; one that loses the connection after a publish; one that holds publishes |
//! | [`Posting::start`] | webhooks that are posted in the background until the test ends them |
//! | [`browser::Browser`] | chromium without a window, with one page |
//! | [`terminal::Terminal`] | `imchannel` on a pseudo-terminal, with what a person types and sees |
//! | [`balancer`] | a load balancer that closes connections |
//! | [`Program::start`], [`run_cli`] | a program of the workspace as a process; `imchannel` with arguments, to its end |
//!
//! `IMCHANNEL_GROUP_COMMIT=on` lets every service and program of a run store messages in batches, where the nats-server syncs a batch
//! once ([`bus_options`]).
//!
//! A test posts or publishes something, waits until its effect can be seen, and compares:
//!
//! ```text
//! #[tokio::test]
//! async fn a_report_becomes_an_event() {
//!     let installation = Installation::start().await;
//!     let ingress = installation.ingress().await;
//!     let _normalizer = installation.normalizer().await;
//!     let answer = Webhook::infobip(REPORT).post(ingress.address).await;
//!     assert_eq!(answer.status, 200);
//!     installation.until_processed().await;
//!     assert_eq!(installation.reports().await.len(), 1);
//! }
//! ```
//!
//! **Waiting.** No test sleeps for an effect: [`eventually`] checks a condition until it has a value, and fails with its
//! text after [`TIMEOUT`]; [`within`] does so with another timeout; [`Program::line_with`] waits for a line of a
//! program's log, `until_ready` and `until_processed` for what they say. A test that measures time, or loads the
//! machine, holds [`exclusive`].
//!
//! **Reading.** `installation.webhooks()`, `.reports()`, `.messages()` and `.dead_letters()` are what the streams have;
//! `outbound.results()` and `.fetches()` too; `outbound.account.received()` is what customers received; `.metrics()` of
//! a service is the text of its metrics.

pub(crate) mod balancer;
pub(crate) mod browser;
pub(crate) mod cluster;
pub(crate) mod files;
mod group_commit;
mod installation;
pub(crate) mod ledger;
pub(crate) mod outbound;
mod posting;
mod program;
pub(crate) mod secured;
pub(crate) mod secured_channel;
pub(crate) mod slow_bus;
pub(crate) mod terminal;
pub(crate) mod timeline;
pub(crate) mod cut_bus;
pub(crate) mod held_bus;
mod webhook;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use group_commit::bus_options;
pub(crate) use installation::{CHANNELS, Installation, KEY, RunningIngress, RunningNormalizer};
pub(crate) use posting::Posting;
pub(crate) use program::{Program, binary, run_cli, run_cli_reading, run_cli_with};
pub(crate) use webhook::{Answer, Webhook, connect_from, raw_request};

/// Timeout of every wait: longer than any working operation takes, also on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// How often a condition is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Held by tests that measure time or load the machine, so that they do not disturb each other. The lock is a file,
/// because a test runner may run every test in a separate process (cargo-nextest does). The system releases it when the
/// process ends.
pub(crate) async fn exclusive() -> File {
    lock(Path::new(env!("CARGO_TARGET_TMPDIR")).join("exclusive.lock")).await
}

async fn lock(path: PathBuf) -> File {
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::create(path).unwrap();
        file.lock().unwrap();
        file
    });
    locked.await.unwrap()
}

#[tokio::test]
async fn a_lock_excludes_other_processes_until_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.lock");
    let held = lock(path.clone()).await;
    // Like in another process: the file is opened again.
    let other = File::create(&path).unwrap();
    assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
    drop(held);
    other.try_lock().unwrap();
}

/// Waits until `check` returns a value; panics with `what` after the timeout.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, check: impl FnMut() -> F) -> T {
    within(TIMEOUT, what, check).await
}

/// The same with another timeout.
pub(crate) async fn within<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: &str,
    mut check: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}
