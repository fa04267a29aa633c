//! The metrics of the timeline.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use service::Histogram;
use service::limits::PortMetrics;

use crate::progress::Progress;
use crate::row::{RowKind, StreamNumber};
use crate::rules::{Rule, RuleName};
use crate::store::OverdueCount;
use crate::store::error::StoreFault;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabels {
    stream: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabels {
    fault: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProblemLabels {
    channel: String,
    rule: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChannelLabels {
    channel: String,
}

/// The metrics of the timeline.
#[derive(Debug)]
pub(crate) struct TimelineMetrics {
    /// Connections, limits and wrong tokens of the port.
    pub(crate) port: PortMetrics,
    rows: Family<KindLabels, Counter>,
    behind: Family<StreamLabels, Gauge>,
    read_until: Family<StreamLabels, Gauge>,
    missed: Family<StreamLabels, Counter>,
    problems: Family<ProblemLabels, Gauge>,
    /// The series of `problems`.
    shown_problems: Mutex<HashSet<ProblemLabels>>,
    delivery: Family<ChannelLabels, Histogram, fn() -> Histogram>,
    store_bytes: Gauge,
    unreadable: Gauge,
    store_failures: Family<FaultLabels, Counter>,
}

impl TimelineMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("timeline");
        let metrics = Self {
            port: PortMetrics::register(registry),
            rows: Family::default(),
            behind: Family::default(),
            read_until: Family::default(),
            missed: Family::default(),
            problems: Family::default(),
            shown_problems: Mutex::default(),
            delivery: Family::new_with_constructor(Histogram::for_queueing),
            store_bytes: Gauge::default(),
            unreadable: Gauge::default(),
            store_failures: Family::default(),
        };
        registry.register("rows", "Rows that were stored, by what happened", metrics.rows.clone());
        let help = "Messages of the stream that the timeline has not stored yet";
        registry.register("behind_messages", help, metrics.behind.clone());
        let help = "Unix time up to which the timeline has stored everything of the stream";
        registry.register_with_unit("read_until", help, Unit::Seconds, metrics.read_until.clone());
        let help = "Messages that the stream no longer held when the timeline was to read them";
        registry.register("missed_messages", help, metrics.missed.clone());
        let help =
            "Messages in whose life something is missing, by channel and rule; at most 10,000 are counted";
        registry.register("problems", help, metrics.problems.clone());
        let help = "Time from a command to the report that it was delivered, by channel";
        registry.register_with_unit("delivery", help, Unit::Seconds, metrics.delivery.clone());
        registry.register("store_bytes", "Bytes of the timeline's store", metrics.store_bytes.clone());
        let help =
            "Days and other parts of the timeline's store that cannot be read, so that answers lack them";
        registry.register("unreadable_parts", help, metrics.unreadable.clone());
        let help = "Calls of the timeline's store that failed, by fault";
        registry.register("store_failures", help, metrics.store_failures.clone());
        for fault in StoreFault::ALL {
            drop(metrics.store_failures.get_or_create(&FaultLabels { fault: fault.name() }));
        }
        metrics
    }

    pub(crate) fn stored(&self, kind: RowKind) {
        self.rows.get_or_create(&KindLabels { kind: kind.name() }).inc();
    }

    pub(crate) fn missed(&self, stream: StreamNumber, messages: u64) {
        self.missed.get_or_create(&StreamLabels { stream: stream.name() }).inc_by(messages);
    }

    pub(crate) fn delivered(&self, channel: &str, after: Duration) {
        let labels = ChannelLabels { channel: channel.to_owned() };
        self.delivery.get_or_create(&labels).observe(after);
    }

    pub(crate) fn store_failed(&self, fault: StoreFault) {
        let fault = fault.name();
        self.store_failures.get_or_create(&FaultLabels { fault }).inc();
    }

    pub(crate) fn show_progress(&self, progress: &Progress) {
        for of in progress.0 {
            let labels = StreamLabels { stream: of.stream.name() };
            self.behind.get_or_create(&labels).set(i64::try_from(of.behind).unwrap_or(i64::MAX));
            if let Some(until) = of.read_until {
                self.read_until.get_or_create(&labels).set(until.as_second());
            }
        }
    }

    /// Shows how much is overdue: also 0, for each channel and rule. A channel that was removed and has no problem is no longer
    /// shown.
    pub(crate) fn show_problems<'c>(&self, channels: impl Iterator<Item = &'c str>, counts: &[OverdueCount]) {
        let mut current: HashMap<ProblemLabels, i64> = HashMap::new();
        for channel in channels {
            for rule in RuleName::ALL.into_iter().filter(|rule| Rule::of(*rule).is_listed) {
                current.insert(ProblemLabels { channel: channel.to_owned(), rule: rule.name() }, 0);
            }
        }
        for count in counts {
            let labels = ProblemLabels { channel: count.channel.clone(), rule: count.rule.name() };
            current.insert(labels, i64::try_from(count.count).unwrap_or(i64::MAX));
        }
        let mut shown = self.shown_problems.lock().unwrap_or_else(PoisonError::into_inner);
        for labels in shown.iter().filter(|labels| !current.contains_key(labels)) {
            self.problems.remove(labels);
        }
        for (labels, count) in &current {
            self.problems.get_or_create(labels).set(*count);
        }
        *shown = current.into_keys().collect();
    }

    pub(crate) fn show_unreadable(&self, parts: usize) {
        self.unreadable.set(i64::try_from(parts).unwrap_or(i64::MAX));
    }

    pub(crate) fn show_size(&self, bytes: u64) {
        self.store_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
