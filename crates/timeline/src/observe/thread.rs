//! The thread on which the streams are read, so that the path of messages seldom waits for a CPU.
//!
//! nats-server sends each message as soon as it is stored. A thread that waits for the socket wakes up for each, and takes a CPU from the
//! path each time. This one sleeps before it waits, and then reads what has come together.
//!
//! What is asked over a connection of this thread takes longer by that sleep, so answers over HTTP and erasures use another one. They
//! run on another runtime too. So do writes to the store, which take many steps: SQLite has threads for them, PostgreSQL the runtime that
//! opened it.

use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use bus::{Bus, BusOptions};
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// How long the thread sleeps before it waits. A message is read later by up to this time, and then its batch gathers for longer
/// ([`crate::observe::reader`]).
const SLEEP: Duration = Duration::from_millis(10);

/// The thread, and the runtime on it.
#[derive(Debug)]
pub(crate) struct ReadingThread {
    runtime: Handle,
    thread: thread::JoinHandle<()>,
}

impl ReadingThread {
    /// Starts it. It runs until the stop, and after it at most for `grace`, while a batch is being written.
    ///
    /// # Errors
    /// The system gives the process no thread.
    pub(crate) fn start(stop: CancellationToken, grace: Duration) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .thread_name("timeline-write")
            .on_thread_park(sleep)
            .build()
            .context("cannot start the runtime that reads streams")?;
        let handle = runtime.handle().clone();
        let run = move || {
            runtime.block_on(stop.cancelled());
            runtime.shutdown_timeout(grace);
        };
        let thread = thread::Builder::new().name("timeline-read".to_owned()).spawn(run);
        Ok(Self { runtime: handle, thread: thread.context("cannot start the thread that reads streams")? })
    }

    /// A connection that is served on this thread; `None` if the stop came first.
    ///
    /// # Errors
    /// The URL is invalid. A server that does not respond is retried.
    pub(crate) async fn connect(&self, options: BusOptions) -> anyhow::Result<Option<Bus>> {
        match self.runtime.spawn(async move { Bus::connect(&options).await }).await {
            Ok(connected) => Ok(Some(connected?)),
            Err(error) if error.is_cancelled() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs a task on this thread, until it ends or the stop comes.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Waits until it has ended after the stop.
    pub(crate) async fn ended(self) {
        // The runtime catches panics of its tasks.
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the thread is to wait, with all of its tasks")]
fn sleep() {
    thread::sleep(SLEEP);
}
