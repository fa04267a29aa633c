//! Metrics and log lines of the spool.

use std::io;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bsp::registry::REGISTRY;
use bsp::{BspId, registry};
use bus::rate_limited_log::RateLimitedLog;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use service::Histogram;
use spool::{AsideReason, Backlog, FaultKind, Observer, StoreError};

/// Label of a webhook for which the disk took too long.
pub(super) const TIMEOUT: &str = "timeout";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BspLabels {
    bsp: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// The metrics. Those of a process without a spool stay 0.
#[derive(Debug)]
pub(crate) struct SpoolMetrics {
    entries: Gauge,
    bytes: Gauge,
    oldest_age: Gauge<f64, AtomicU64>,
    size_bytes: Gauge,
    limit_bytes: Gauge,
    usable: Gauge,
    folders: Gauge,
    spooled: Vec<Counter>,
    drained: Counter,
    refused: Family<ReasonLabels, Counter>,
    faults: Family<KindLabels, Counter>,
    aside: Family<ReasonLabels, Counter>,
    sync_time: Histogram,
}

/// Values of the gauges.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) folders: usize,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) oldest_age_s: f64,
    pub(super) size_bytes: u64,
    pub(super) is_usable: bool,
}

impl SpoolMetrics {
    /// Registers the metrics in the registry of ingress.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("spool");
        let spooled = Family::<BspLabels, Counter>::default();
        let metrics = Self {
            entries: Gauge::default(),
            bytes: Gauge::default(),
            oldest_age: Gauge::default(),
            size_bytes: Gauge::default(),
            limit_bytes: Gauge::default(),
            usable: Gauge::default(),
            folders: Gauge::default(),
            spooled: REGISTRY
                .iter()
                .map(|bsp| spooled.get_or_create(&BspLabels { bsp: bsp.profile().id.as_str() }).clone())
                .collect(),
            drained: Counter::default(),
            refused: Family::default(),
            faults: Family::default(),
            aside: Family::default(),
            sync_time: Histogram::default(),
        };
        metrics.create_labels();
        metrics.register_gauges(registry);
        let help = "Webhooks that were answered 200 from the spool, by BSP";
        registry.register("spooled", help, spooled);
        let help = "Spooled webhooks that JetStream has acknowledged";
        registry.register("drained", help, metrics.drained.clone());
        let help = "Webhooks that the spool did not take, by reason; they were answered 503";
        registry.register("refused", help, metrics.refused.clone());
        let help = "Errors of the spool's disk or folder, by kind";
        registry.register("faults", help, metrics.faults.clone());
        let help = "Records of the spool that are kept aside, by reason";
        registry.register("aside", help, metrics.aside.clone());
        let help = "Time of one write and fsync of the spool, in seconds";
        registry.register("sync_seconds", help, metrics.sync_time.clone());
        metrics
    }

    /// Every series exists from the start, so that its first increase is seen.
    fn create_labels(&self) {
        for reason in StoreError::ALL.map(StoreError::kind).into_iter().chain([TIMEOUT]) {
            drop(self.refused.get_or_create(&ReasonLabels { reason }));
        }
        for kind in FaultKind::ALL {
            drop(self.faults.get_or_create(&KindLabels { kind: kind.as_str() }));
        }
        for reason in AsideReason::ALL {
            drop(self.aside.get_or_create(&ReasonLabels { reason: reason.as_str() }));
        }
    }

    fn register_gauges(&self, registry: &mut Registry) {
        let help = "Webhooks in the spool that JetStream has not acknowledged yet, of this process and of ended ones that it drains";
        registry.register("entries", help, self.entries.clone());
        registry.register("bytes", "Bytes of these webhooks", self.bytes.clone());
        let help = "Age of the oldest of these webhooks, in seconds; 0 without any";
        registry.register("oldest_age_seconds", help, self.oldest_age.clone());
        let help = "Bytes of this process's sub-folder of the spool on the disk";
        registry.register("size_bytes", help, self.size_bytes.clone());
        let help = "Limit of these bytes (IMCHANNEL_SPOOL_MAX_SIZE); 0 without a spool";
        registry.register("limit_bytes", help, self.limit_bytes.clone());
        let help = "1 if the spool takes webhooks of any size; 0 if it is full, its disk fails, or there is no spool";
        registry.register("usable", help, self.usable.clone());
        let help = "Sub-folders of the spool that this process has: its own, and those of ended processes that it drains";
        registry.register("folders", help, self.folders.clone());
    }

    pub(super) fn limit(&self, bytes: u64) {
        self.limit_bytes.set(to_gauge(bytes));
    }

    pub(super) fn show(&self, shown: &Shown) {
        self.folders.set(shown.folders as i64);
        self.entries.set(to_gauge(shown.entries));
        self.bytes.set(to_gauge(shown.bytes));
        self.oldest_age.set(shown.oldest_age_s);
        self.size_bytes.set(to_gauge(shown.size_bytes));
        self.usable.set(i64::from(shown.is_usable));
    }

    pub(super) fn spooled(&self, bsp: BspId) {
        self.spooled[registry::position(bsp)].inc();
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(super) fn drained(&self) {
        self.drained.inc();
    }

    pub(super) fn read_failed(&self, error: &io::Error) {
        self.fault(FaultKind::Read, error);
    }
}

impl Observer for SpoolMetrics {
    fn synced(&self, _entries: usize, took: Duration) {
        self.sync_time.observe(took);
    }

    fn fault(&self, kind: FaultKind, error: &io::Error) {
        static LINE: RateLimitedLog = RateLimitedLog::new();
        self.faults.get_or_create(&KindLabels { kind: kind.as_str() }).inc();
        if let Some(repeats) = LINE.next() {
            let kind = kind.as_str();
            tracing::error!(
                function = "spool",
                "the spool's disk failed ({kind}): {error}; check the volume of IMCHANNEL_SPOOL_DIR, it is tried again by itself{repeats}"
            );
        }
    }

    fn set_aside(&self, reason: AsideReason, folder: u32, bytes: u64) {
        static LINE: RateLimitedLog = RateLimitedLog::new();
        let reason = reason.as_str();
        self.aside.get_or_create(&ReasonLabels { reason }).inc();
        if let Some(repeats) = LINE.next() {
            tracing::error!(
                function = "spool",
                "{bytes} bytes of the spool are {reason} and were kept in sub-folder {folder}/aside{repeats}"
            );
        }
    }
}

fn to_gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Logs that the sub-folder of an ended process is drained.
pub(super) fn log_adopted(backlog: &Backlog) {
    let (folder, entries) = (backlog.folder(), backlog.entries());
    tracing::info!(function = "spool", "drains sub-folder {folder} of an ended process: {entries} webhooks");
}

/// Logs that everything spooled is published.
pub(super) fn log_drained(folder: u32, published: u64, took: Duration) {
    let seconds = took.as_secs_f64();
    tracing::info!(
        function = "spool",
        "published {published} spooled webhooks of sub-folder {folder} in {seconds:.1} s"
    );
}

/// Logs that a webhook can never be published.
pub(super) fn log_unpublishable(folder: u32, sequence: u64, reason: &str) {
    tracing::error!(
        function = "spool",
        "webhook {sequence} of sub-folder {folder} cannot be published, because {reason}"
    );
}
