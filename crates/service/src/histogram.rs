//! A histogram without a lock: one atomic addition per observation. The hot path observes every webhook.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Upper bounds of the buckets for response times, in seconds: 0.5 ms to 15 s.
const REQUEST_BOUNDS_S: [f64; 15] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0];
/// Upper bounds of the buckets for time spent waiting in a stream, in seconds: 5 ms to one hour.
const QUEUE_BOUNDS_S: [f64; 16] =
    [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0];

/// A histogram of durations. Clones share the counts. The default buckets are for response times of up to 15 s.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    /// Upper bounds of the buckets, in seconds, rising.
    bounds_s: &'static [f64],
    /// One bucket for each bound, and one for values above all bounds.
    buckets: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::with_bounds(&REQUEST_BOUNDS_S)
    }
}

impl Histogram {
    /// A histogram with buckets for time spent waiting in a stream, up to one hour.
    pub fn for_queueing() -> Self {
        Self::with_bounds(&QUEUE_BOUNDS_S)
    }

    fn with_bounds(bounds_s: &'static [f64]) -> Self {
        let buckets = std::iter::repeat_with(AtomicU64::default).take(bounds_s.len() + 1).collect();
        Self(Arc::new(Counts { bounds_s, buckets, sum_us: AtomicU64::default() }))
    }

    /// Adds a duration to its bucket.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bounds = self.0.bounds_s;
        let bucket = bounds.iter().position(|bound| seconds <= *bound).unwrap_or(bounds.len());
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.0.sum_us.fetch_add(microseconds, Ordering::Relaxed);
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let bounds = self.0.bounds_s.iter().copied().chain([f64::INFINITY]);
        let counts = self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.0.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_under_their_bounds() {
        let histogram = Histogram::default();
        for ms in [0, 3, 3, 60_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register("t_seconds", "help", histogram);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "t_seconds_bucket{le=\"0.0005\"} 1",
            "t_seconds_bucket{le=\"0.005\"} 3",
            "t_seconds_bucket{le=\"15.0\"} 3",
            "t_seconds_bucket{le=\"+Inf\"} 4",
            "t_seconds_count 4",
            "t_seconds_sum 60.006",
        ] {
            assert!(text.contains(line), "missing {line} in\n{text}");
        }
    }

    #[test]
    fn waiting_times_have_buckets_up_to_an_hour() {
        let histogram = Histogram::for_queueing();
        for s in [20, 1700, 3599, 7200] {
            histogram.observe(Duration::from_secs(s));
        }
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register("t_seconds", "help", histogram);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in ["15.0\"} 0", "60.0\"} 1", "1800.0\"} 2", "3600.0\"} 3", "+Inf\"} 4"] {
            assert!(text.contains(&format!("t_seconds_bucket{{le=\"{line}")), "missing {line} in\n{text}");
        }
    }
}
