//! Foundation of the tests: an installation (servers, streams, channels), services in this process or as separate
//! programs, a client, and waiting for conditions.

pub(crate) mod balancer;
pub(crate) mod cluster;
mod installation;
pub(crate) mod outbound;
mod program;
pub(crate) mod secured;
pub(crate) mod slow_bus;
mod webhook;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use installation::{CHANNELS, Installation, KEY, RunningIngress};
pub(crate) use program::{Program, binary, run_cli, run_cli_with};
pub(crate) use webhook::{Answer, Webhook, connect_from, raw_request};

/// Timeout of every wait: longer than any working operation takes, also on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// Interval of the checks whether a condition holds.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Held by tests that measure time or load the machine, so that they do not disturb each other. The lock is a file,
/// because a test runner may run every test in a separate process (cargo-nextest does). The system releases it when the
/// process ends.
pub(crate) async fn exclusive() -> File {
    lock(Path::new(env!("CARGO_TARGET_TMPDIR")).join("alone.lock")).await
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

/// Waits until `look` returns a value; panics with `what` after the timeout.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl FnMut() -> F) -> T {
    within(TIMEOUT, what, look).await
}

/// The same with another timeout.
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
