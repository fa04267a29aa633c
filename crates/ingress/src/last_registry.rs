//! A start without NATS: the registry that was read last admits webhooks until NATS answers.
//!
//! While NATS answers, the registry is stored in the folder of the spool ([`crate::registry_file`]). A process that starts and
//! cannot read the registry uses the stored one, and replaces it by the live one as soon as that is read. What is done
//! with a webhook that is admitted is left to [`crate::receive`].

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bus::Bus;
use bus::registry::Snapshots;
use channel::{Channels, snapshot};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::registry_file::{LastRegistry, RegistryFile};

/// Time for the first reading of the live registry. After it, the stored one is used: as long as without a connection until
/// webhooks are spooled.
const LIVE_TIMEOUT: Duration = Duration::from_millis(250);
/// Shortest interval of two writes of the file.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the file's time is set while nothing changes. The age of a stored registry is exact to this.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(60);
/// Interval of the metric.
const AGE_INTERVAL: Duration = Duration::from_secs(1);

/// What the last registry is made of.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The registry of NATS; `None` until it was read.
    pub(crate) live: Snapshots,
    /// The stored registry.
    pub(crate) file: RegistryFile,
    /// The connection, which tells whether the live registry is current.
    pub(crate) bus: Bus,
    /// Gauge of the age of the registry in use, in seconds.
    pub(crate) age: Gauge,
}

/// Follows the live registry, with the stored one before the first reading, and stores every change, until `stop`.
pub(crate) fn follow(sources: Sources, stop: CancellationToken) -> Snapshots {
    let (sender, receiver) = watch::channel(None);
    let Sources { live, file, bus, age } = sources;
    let keeping = keep(live.clone(), file.clone(), bus.clone());
    let follower = Follower { live, sender, bus, age, confirmed_at: None };
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = follower.run(file) => {}
            // Separate from the follower: a disk that hangs must not delay a change.
            () = keeping => {}
        }
    });
    receiver
}

struct Follower {
    live: Snapshots,
    sender: watch::Sender<Option<Arc<Channels>>>,
    bus: Bus,
    age: Gauge,
    /// When the registry in use was last known to be that of NATS.
    confirmed_at: Option<SystemTime>,
}

impl Follower {
    async fn run(mut self, file: RegistryFile) {
        if timeout(LIVE_TIMEOUT, self.is_live()).await.is_err() {
            let path = file.path();
            let reading = spawn_blocking(move || read(&file));
            if let Some(LastRegistry { snapshot, confirmed_at }) = self.unless_live(reading).await {
                tracing::warn!(
                    function = "ingress",
                    "NATS does not give the channels: until it does, the {} channels of {} are used, which were current {} s ago",
                    snapshot.channels.len(),
                    path.display(),
                    seconds_since(confirmed_at)
                );
                self.confirmed_at = Some(confirmed_at);
                self.sender.send_replace(Some(Arc::new(snapshot.channels)));
            }
        }
        let mut ticks = interval(AGE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let live = self.live.borrow_and_update().clone();
            if live.is_some() && !same(&live, &self.sender.borrow()) {
                self.sender.send_replace(live.clone());
            }
            if live.is_some() && self.bus.is_connected() {
                self.confirmed_at = Some(SystemTime::now());
            }
            self.age.set(self.confirmed_at.map_or(0, seconds_since));
            tokio::select! {
                changed = self.live.changed() => if changed.is_err() { return },
                _ = ticks.tick() => {}
            }
        }
    }

    /// Waits until the live registry is there.
    async fn is_live(&mut self) {
        // An error: the process stops.
        let _ = self.live.wait_for(Option::is_some).await;
    }

    /// What was read, unless the live registry comes first.
    async fn unless_live(&mut self, reading: JoinHandle<Option<LastRegistry>>) -> Option<LastRegistry> {
        tokio::select! {
            () = self.is_live() => None,
            read = reading => read.ok().flatten(),
        }
    }
}

fn same(a: &Option<Arc<Channels>>, b: &Option<Arc<Channels>>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if Arc::ptr_eq(a, b))
}

fn seconds_since(time: SystemTime) -> i64 {
    i64::try_from(time.elapsed().unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

/// Reads the file. One that cannot be read is no registry.
fn read(file: &RegistryFile) -> Option<LastRegistry> {
    match file.read() {
        Ok(Some(last)) => {
            for error in &last.snapshot.invalid {
                tracing::warn!(function = "ingress", "a channel of the last registry is ignored: {error}");
            }
            Some(last)
        }
        Ok(None) => {
            tracing::warn!(
                function = "ingress",
                "NATS does not give the channels, and there is no {}: webhooks are answered 503 until NATS answers",
                file.path().display()
            );
            None
        }
        Err(error) => {
            tracing::warn!(
                function = "ingress",
                "cannot read {}: {error}; webhooks are answered 503 until NATS gives the channels",
                file.path().display()
            );
            None
        }
    }
}

/// Stores every change of the live registry, until it ends.
async fn keep(mut live: Snapshots, file: RegistryFile, bus: Bus) {
    let mut is_failing = false;
    loop {
        let channels = live.borrow_and_update().clone();
        if let Some(channels) = channels {
            let writing = file.clone();
            let written = spawn_blocking(move || writing.write(&snapshot::to_json(&channels))).await;
            if let Ok(Err(error)) = &written
                && !is_failing
            {
                let path = file.path();
                tracing::error!(
                    function = "ingress",
                    "cannot write {}: {error}; a start without NATS would use an older registry, or none",
                    path.display()
                );
            }
            is_failing = !matches!(written, Ok(Ok(())));
        }
        sleep(WRITE_INTERVAL).await;
        if is_failing {
            continue;
        }
        // Without a connection, no one knows whether the registry is still the same.
        let confirming = async {
            sleep(CONFIRM_INTERVAL).await;
            bus.connected().await;
        };
        tokio::select! {
            changed = live.changed() => if changed.is_err() { return },
            () = confirming => {}
        }
    }
}
