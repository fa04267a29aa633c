//! Spooling: a webhook that the bus does not store now goes to the local disk ([`spool`]), and is published when the bus is
//! back. Only channels that ask for it are spooled, because their BSPs may not post a webhook again.

mod drain;
mod metrics;
mod publish;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bsp::BspId;
use bus::{Bus, Headers, Subject};
use bytes::Bytes;
use jiff::Timestamp;
use spool::{Backlog, Entry, Spool, SpoolOptions, SpoolState, Synced};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::drain::{Drain, Kind};
pub(crate) use self::metrics::SpoolMetrics;
use crate::settings::SpoolSettings;

/// Longest wait for the disk. Together with the longest deadline of a BSP it is less than that BSP's timeout.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval of looking for sub-folders whose owner has ended.
const ADOPT_INTERVAL: Duration = Duration::from_secs(5);
/// Interval of refreshing the gauges.
const GAUGES_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for the disk at a stop. What is not removed by then is published again by the next process.
const TIDY_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval of checking whether everything is published, at a stop.
const DRAINED_INTERVAL: Duration = Duration::from_millis(50);

/// The spool of this process, and the sub-folders that it drains. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Spooling {
    spool: Spool,
    rate: u32,
    metrics: Arc<SpoolMetrics>,
    /// The own sub-folder, once it is taken, and adopted ones.
    backlogs: Arc<Mutex<Vec<Arc<Backlog>>>>,
}

/// A webhook to spool.
#[derive(Debug)]
pub(crate) struct SpooledWebhook<'w> {
    pub(crate) bsp: BspId,
    pub(crate) subject: &'w Subject,
    pub(crate) headers: Headers,
    pub(crate) body: &'w Bytes,
    pub(crate) received_at: Timestamp,
}

impl Spooling {
    /// Opens the spool. A disk that fails is not an error: the spool refuses webhooks until it works.
    ///
    /// # Errors
    /// If the writing thread cannot be started.
    pub(crate) fn start(settings: &SpoolSettings, metrics: Arc<SpoolMetrics>) -> std::io::Result<Self> {
        let options = SpoolOptions { folder: settings.folder.clone(), max_bytes: settings.max_bytes };
        metrics.limit(settings.max_bytes);
        let spool = Spool::start(options, metrics.clone())?;
        Ok(Self { spool, rate: settings.drain_rate, metrics, backlogs: Arc::default() })
    }

    /// Stores a webhook on the disk. `None` if the spool does not take it.
    pub(crate) async fn store(&self, webhook: &SpooledWebhook<'_>) -> Option<Synced> {
        let entry = Entry {
            subject: webhook.subject.to_text(),
            headers: webhook.headers.sorted(),
            arrived_ms: webhook.received_at.as_millisecond(),
            body: webhook.body.clone(),
        };
        match tokio::time::timeout(STORE_TIMEOUT, self.spool.store(entry)).await {
            Ok(Ok(synced)) => {
                self.metrics.spooled(webhook.bsp);
                Some(synced)
            }
            Ok(Err(error)) => {
                self.metrics.refused(error.kind());
                None
            }
            // It may be written later, and is then published like one that was answered 200.
            Err(_) => {
                self.metrics.refused(metrics::TIMEOUT);
                None
            }
        }
    }

    /// Whether a webhook of any size would be spooled now.
    pub(crate) fn has_room(&self) -> bool {
        self.spool.has_room()
    }

    /// The state of this process's sub-folder.
    pub(crate) fn state(&self) -> SpoolState {
        self.spool.state()
    }

    /// Publishes what is spooled, and what ended processes have left, until `stop`.
    pub(crate) async fn run(self, bus: Bus, stop: CancellationToken) {
        let publishing = async {
            let own = self.spool.backlog().await;
            self.drain(own, Kind::Own, &bus, &stop);
            // It is usable from now on, which probes must not learn a second later.
            self.show();
            loop {
                let spool = self.spool.clone();
                let adopted = tokio::task::spawn_blocking(move || spool.adopt()).await.unwrap_or_default();
                for backlog in adopted {
                    metrics::log_adopted(&backlog);
                    self.drain(backlog, Kind::Adopted, &bus, &stop);
                }
                tokio::time::sleep(ADOPT_INTERVAL).await;
            }
        };
        let showing = async {
            loop {
                self.show();
                tokio::time::sleep(GAUGES_INTERVAL).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = publishing => {}
            () = showing => {}
        }
    }

    /// Waits until everything is published, or until `deadline`.
    pub(crate) async fn drained(&self, deadline: Instant) {
        let waiting = async {
            while self.backlogs().iter().any(|backlog| !backlog.is_drained()) {
                tokio::time::sleep(DRAINED_INTERVAL).await;
            }
        };
        let _ = tokio::time::timeout_at(deadline, waiting).await;
        let backlogs = self.backlogs();
        let tidying = tokio::task::spawn_blocking(move || backlogs.iter().for_each(|backlog| backlog.tidy()));
        let _ = tokio::time::timeout(TIDY_TIMEOUT, tidying).await;
        let left: u64 = self.backlogs().iter().map(|backlog| backlog.entries()).sum();
        if left > 0 {
            tracing::warn!(
                function = "spool",
                "stopped with {left} webhooks in the spool; the next process with this folder publishes them"
            );
        }
    }

    fn drain(&self, backlog: Backlog, kind: Kind, bus: &Bus, stop: &CancellationToken) {
        let backlog = Arc::new(backlog);
        let mut backlogs = self.backlogs.lock().unwrap_or_else(PoisonError::into_inner);
        backlogs.push(Arc::clone(&backlog));
        drop(backlogs);
        let drain = Drain {
            bus: bus.clone(),
            backlog: Arc::clone(&backlog),
            metrics: Arc::clone(&self.metrics),
            rate: self.rate,
            kind,
        };
        let (stop, all) = (stop.clone(), Arc::clone(&self.backlogs));
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = drain.run() => {}
            }
            // What was acknowledged is removed before the sub-folder is given up.
            let tidied = Arc::clone(&backlog);
            let _ = tokio::task::spawn_blocking(move || tidied.tidy()).await;
            all.lock().unwrap_or_else(PoisonError::into_inner).retain(|one| !Arc::ptr_eq(one, &backlog));
        });
    }

    fn backlogs(&self) -> Vec<Arc<Backlog>> {
        self.backlogs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self) {
        let backlogs = self.backlogs();
        let oldest_ms = backlogs.iter().filter_map(|backlog| backlog.oldest_ms()).min();
        let age_ms = oldest_ms.map_or(0, |oldest| Timestamp::now().as_millisecond() - oldest);
        self.metrics.show(&metrics::Shown {
            folders: backlogs.len(),
            entries: backlogs.iter().map(|backlog| backlog.entries()).sum(),
            bytes: backlogs.iter().map(|backlog| backlog.bytes()).sum(),
            oldest_age_s: age_ms.max(0) as f64 / 1000.0,
            size_bytes: self.state().size_bytes,
            is_usable: self.has_room(),
        });
    }
}
