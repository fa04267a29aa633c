//! Metrics of a worker.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Metrics of a worker.
#[derive(Debug, Clone, Default)]
pub struct WorkerMetrics {
    pub(super) processed: Counter,
    pub(super) retried: Counter,
    pub(super) panicked: Counter,
    pub(super) in_flight: Gauge,
    pub(super) paused: Gauge,
}

impl WorkerMetrics {
    /// Creates the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let all = registry.sub_registry_with_prefix("worker");
        all.register("processed", "Messages finished and acknowledged", metrics.processed.clone());
        all.register("retries", "Messages that were nakked for a later attempt", metrics.retried.clone());
        all.register(
            "panics",
            "Handlers that panicked; their messages are retried, and given up as dead letters after ten attempts",
            metrics.panicked.clone(),
        );
        all.register(
            "in_flight_messages",
            "Messages in flight: delivered and being processed",
            metrics.in_flight.clone(),
        );
        all.register(
            "paused",
            "More than 0 while the worker is paused because an output stream is full",
            metrics.paused.clone(),
        );
        metrics
    }
}
