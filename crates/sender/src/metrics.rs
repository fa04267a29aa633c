//! The metrics of the sender.

use bsp::{ChannelId, NO_BSP, UNKNOWN_CHANNEL};
use bus::purger::PurgeMetrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use service::Histogram;

use crate::account::Account;
use crate::ledger::store_limit::StoreMetrics;
use crate::result::publish::Owner;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    bsp: &'static str,
    channel: String,
    content: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    bsp: &'static str,
    channel: String,
    outcome: &'static str,
}

impl CallLabels {
    fn of(account: &Account, outcome: &'static str) -> Self {
        Self { bsp: account.bsp.as_str(), channel: account.channel.to_string(), outcome }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ChannelLabels {
    pub(crate) channel: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    channel: String,
    reason: &'static str,
}

/// The metrics.
#[derive(Debug, Default)]
pub(crate) struct SenderMetrics {
    results: Family<ResultLabels, Counter>,
    calls: Family<CallLabels, Counter>,
    lookups: Family<CallLabels, Counter>,
    reconciled: Family<ChannelLabels, Counter>,
    pub(crate) repeated: Counter,
    pub(crate) dead_letters: Counter,
    letters_refused: Family<RefusedLabels, Counter>,
    pub(crate) panicked: Counter,
    pub(crate) withheld: Counter,
    pub(crate) overtaken: Counter,
    pub(crate) recipient_queue_full: Counter,
    pub(crate) call_time: Histogram,
    pub(crate) accept_time: Histogram,
    pub(crate) lanes: Gauge,
    pub(crate) in_progress: Family<ChannelLabels, Gauge>,
    pub(crate) waiting: Family<ChannelLabels, Gauge>,
    pub(crate) behind: Family<ChannelLabels, Gauge>,
    pub(crate) oldest_waiting: Family<ChannelLabels, Gauge>,
    pub(crate) halted: Family<ChannelLabels, Gauge>,
    pub(crate) purger: PurgeMetrics,
    pub(crate) ledger: StoreMetrics,
}

impl SenderMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("sender");
        let purger = PurgeMetrics::register(registry);
        let metrics = Self { purger, accept_time: Histogram::for_queueing(), ..Self::default() };
        let help = "Results by BSP, channel (`unknown` for one that is not stored), content and outcome (accepted, rejected, expired, unknown)";
        registry.register("results", help, metrics.results.clone());
        let help = "Calls to the BSP that send a message, by BSP, channel and result";
        registry.register("calls", help, metrics.calls.clone());
        let help = "Requests to the BSP's message log, by BSP, channel and result";
        registry.register("lookups", help, metrics.lookups.clone());
        let help = "Reports that were read from the BSP's message log because none had come, by channel";
        registry.register("reconciled_reports", help, metrics.reconciled.clone());
        let help = "Commands that were published more than once and not sent again";
        registry.register("duplicate_commands", help, metrics.repeated.clone());
        registry.register("dead_letters", "Commands that became dead letters", metrics.dead_letters.clone());
        let help = "Failed attempts to store the dead letter of a command because there was no room, by channel and reason (channel_full: the \
                    channel has its quarter of DEADLETTERS; full: the stream is full)";
        registry.register("dead_letters_rejected", help, metrics.letters_refused.clone());
        // Registered at the start, so that queries return a value and alerts have a first value to compare with.
        for reason in ["channel_full", "full"] {
            let labels = RefusedLabels { channel: UNKNOWN_CHANNEL.to_owned(), reason };
            drop(metrics.letters_refused.get_or_create(&labels));
        }
        let help = "Panics while a command was decoded or processed: it becomes a dead letter immediately, or after ten attempts";
        registry.register("panics", help, metrics.panicked.clone());
        let help = "Calls that were aborted right before they were made because this process was suspended or had lost its lane";
        registry.register("aborted_calls", help, metrics.withheld.clone());
        let help =
            "Commands whose outcome was still unknown when the next one to the same recipient was started";
        registry.register("overtaken_commands", help, metrics.overtaken.clone());
        let help = "Commands that were rejected because their recipient had too many pending commands (RECIPIENT_QUEUE_FULL)";
        registry.register("recipient_queue_full", help, metrics.recipient_queue_full.clone());
        registry.register(
            "call_seconds",
            "Duration of calls to the BSP that send a message, in seconds",
            metrics.call_time.clone(),
        );
        let help = "Time from storing a command to the BSP's acceptance, in seconds";
        registry.register("time_to_accept_seconds", help, metrics.accept_time.clone());
        registry.register("lanes", "Lanes that this replica works", metrics.lanes.clone());
        let help =
            "Commands of this replica with a call in flight or whose outcome is being looked up, by channel";
        registry.register("in_flight_commands", help, metrics.in_progress.clone());
        let help = "Pending commands without a call in flight, in COMMANDS or held by the lane's owner, which counts every second, by channel";
        registry.register("pending_commands", help, metrics.waiting.clone());
        let help = "Commands that this replica holds behind earlier ones to the same recipients, by channel";
        registry.register("recipient_queue_commands", help, metrics.behind.clone());
        let help = "Age of the oldest pending command without a call in flight in seconds, by channel; 0 without one";
        registry.register("oldest_pending_age_seconds", help, metrics.oldest_waiting.clone());
        let help = "1 while a lane that this replica works is halted: paused, limited, without a key, or its account down";
        registry.register("lane_halted", help, metrics.halted.clone());
        metrics.register_ledger(registry);
        metrics
    }

    fn register_ledger(&self, registry: &mut Registry) {
        let ledger = &self.ledger;
        let help = "Writes and reads of the ledger that are in flight";
        registry.register("ledger_in_flight", help, ledger.in_flight.clone());
        let help =
            "Limit of concurrent writes and reads of the ledger; it is lower while the ledger answers slowly";
        registry.register("ledger_limit", help, ledger.limit.clone());
        let help = "Time until the ledger acknowledges a write, in seconds";
        registry.register("ledger_seconds", help, ledger.time.clone());
        let help = "Writes and reads of the ledger that timed out";
        registry.register("ledger_timeouts", help, ledger.timed_out.clone());
    }

    /// Only stored channels have a label: a back end may name any number of others.
    pub(crate) fn result(&self, owner: Owner<'_>, content: &'static str, outcome: &'static str) {
        let (bsp, channel) = match owner {
            Owner::Channel(bsp, channel) => (bsp.as_str(), channel.as_str()),
            Owner::NoChannel(_) => (NO_BSP, UNKNOWN_CHANNEL),
        };
        self.results
            .get_or_create(&ResultLabels { bsp, channel: channel.to_owned(), content, outcome })
            .inc();
    }

    /// Only stored channels have a label: a back end may name any number of others.
    pub(crate) fn letter_refused(&self, owner: Owner<'_>, reason: &'static str) {
        let channel = match owner {
            Owner::Channel(_, channel) => channel.as_str(),
            Owner::NoChannel(_) => UNKNOWN_CHANNEL,
        };
        let labels = RefusedLabels { channel: channel.to_owned(), reason };
        self.letters_refused.get_or_create(&labels).inc();
    }

    pub(crate) fn call(&self, account: &Account, outcome: &'static str) {
        self.calls.get_or_create(&CallLabels::of(account, outcome)).inc();
    }

    pub(crate) fn lookup(&self, account: &Account, outcome: &'static str) {
        self.lookups.get_or_create(&CallLabels::of(account, outcome)).inc();
    }

    pub(crate) fn reconciled(&self, channel: &ChannelId) {
        self.reconciled.get_or_create(&ChannelLabels { channel: channel.to_string() }).inc();
    }

    /// Removes the gauges of a lane that this replica has released.
    pub(crate) fn forget(&self, channel: &ChannelId) {
        let labels = ChannelLabels { channel: channel.to_string() };
        self.in_progress.remove(&labels);
        self.waiting.remove(&labels);
        self.behind.remove(&labels);
        self.oldest_waiting.remove(&labels);
        self.halted.remove(&labels);
    }
}

#[cfg(test)]
mod tests {
    use bsp::registry::REGISTRY;

    use super::*;

    #[test]
    fn only_stored_channels_have_series_of_their_own() {
        let mut registry = Registry::default();
        let metrics = SenderMetrics::register(&mut registry);
        let channels = ["a", "b", "c"].map(|id| ChannelId::parse(id).unwrap());
        let bsp = REGISTRY[0].profile().id;
        metrics.result(Owner::Channel(bsp, &channels[0]), "text", "accepted");
        for channel in [Some(&channels[1]), Some(&channels[2]), None] {
            metrics.result(Owner::NoChannel(channel), "none", "rejected");
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("sender_results_total{")).collect();
        assert_eq!(lines.len(), 2, "{text}");
        for line in [
            format!(r#"{{bsp="{bsp}",channel="a",content="text",outcome="accepted"}} 1"#),
            r#"{bsp="none",channel="unknown",content="none",outcome="rejected"} 3"#.to_owned(),
        ] {
            assert!(text.contains(&format!("sender_results_total{line}\n")), "no {line} in\n{text}");
        }
    }
}
