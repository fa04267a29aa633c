//! Metrics of group commit ([`crate::publish::group_commit`]).

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "a variant is the value of the label")]
pub(crate) enum BatchOutcome {
    /// All of its messages were stored.
    stored,
    /// The server refused it because of one message, and it was stored in two halves.
    halved,
    /// The server refused it.
    refused,
    /// It is not known what was stored, and each message was stored alone.
    unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    stream: &'static str,
    outcome: BatchOutcome,
}

/// Metrics of batches, by stream.
#[derive(Debug, Clone, Default)]
pub struct BatchMetrics {
    batches: Family<Labels, Counter>,
    messages: Family<Labels, Counter>,
}

impl BatchMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Batches of messages that this process stored together (group commit), by outcome";
        registry.register("batches", help, self.batches.clone());
        let help = "Messages in these batches";
        registry.register("batch_messages", help, self.messages.clone());
    }

    /// Shows a stream with zero, so that a stream without batches differs from a process without the metric.
    pub(crate) fn show(&self, stream: &'static str) {
        self.count_by(stream, BatchOutcome::stored, 0, 0);
    }

    pub(crate) fn count(&self, stream: &'static str, outcome: BatchOutcome, messages: usize) {
        self.count_by(stream, outcome, 1, messages as u64);
    }

    fn count_by(&self, stream: &'static str, outcome: BatchOutcome, batches: u64, messages: u64) {
        let labels = Labels { stream, outcome };
        self.batches.get_or_create(&labels).inc_by(batches);
        self.messages.get_or_create(&labels).inc_by(messages);
    }
}
