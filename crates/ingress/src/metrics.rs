//! The metrics of ingress.

use std::sync::Arc;

use bsp::registry::REGISTRY;
use bsp::{BspId, ChannelId, registry};
use bus::purger::PurgeMetrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use service::Histogram;
use service::limits::PortMetrics;

use crate::response::Rejection;
use crate::spooling::SpoolMetrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    bsp: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BspLabels {
    bsp: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CredentialLabels {
    channel: String,
    credential: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChannelLabels {
    bsp: &'static str,
    channel: String,
    outcome: &'static str,
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChannelLabel {
    channel: String,
}

/// The counters of one BSP, created in advance: a lookup in a family takes a lock.
#[derive(Debug)]
struct PerBsp {
    stored: Counter,
    duplicate: Counter,
    spooled: Counter,
    refused: [Counter; Rejection::ALL.len()],
    store_time: Histogram,
}

/// The metrics.
#[derive(Debug)]
pub(crate) struct IngressMetrics {
    per_bsp: Vec<PerBsp>,
    no_bsp: [Counter; Rejection::ALL.len()],
    credentials: Family<CredentialLabels, Counter>,
    channel_refused: Family<ChannelLabels, Counter>,
    channel_body_bytes: Family<ChannelLabel, Gauge>,
    pub(crate) channels: Gauge,
    pub(crate) registry_age: Gauge,
    pub(crate) requests_in_progress: Gauge,
    pub(crate) body_bytes_held: Gauge,
    pub(crate) purger: PurgeMetrics,
    pub(crate) port: PortMetrics,
    pub(crate) spool: Arc<SpoolMetrics>,
}

impl IngressMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("ingress");
        let purger = PurgeMetrics::register(registry);
        let port = PortMetrics::register(registry);
        let spool = Arc::new(SpoolMetrics::register(registry));
        let requests = Family::<RequestLabels, Counter>::default();
        let store_times = Family::<BspLabels, Histogram>::default();
        let credentials = Family::<CredentialLabels, Counter>::default();
        let channel_refused = Family::<ChannelLabels, Counter>::default();
        let (channels, requests_in_progress, body_bytes_held) =
            (Gauge::default(), Gauge::default(), Gauge::default());
        let registry_age = Gauge::default();
        let help = "Webhooks by BSP and outcome; 'challenged' is the normal first call of a BSP that waits for a 401, \
                    'duplicate' is a webhook that was stored before, 'spooled' was answered 200 from the spool";
        registry.register("requests", help, requests.clone());
        let help = "Time from a webhook's last byte to JetStream's acknowledgment, in seconds";
        registry.register("store_seconds", help, store_times.clone());
        let help = "Webhooks by the credential that they presented, numbered from 1 in the order of the channels file; \
                    a credential whose counter no longer rises can be removed";
        registry.register("credential_used", help, credentials.clone());
        let help = "Rejected webhooks by the BSP that posted them, the known channel of the URL and the cause of the status; \
                    webhooks for unknown channels are counted by BSP alone";
        registry.register("channel_refused", help, channel_refused.clone());
        registry.register("channels", "Known channels", channels.clone());
        let help = "Time since the channels in use were last read from NATS or confirmed by it, in seconds; 0 while ingress is \
                    connected, and without IMCHANNEL_SPOOL_DIR";
        registry.register("registry_age_seconds", help, registry_age.clone());
        let help = "Webhooks in progress";
        registry.register("requests_in_flight", help, requests_in_progress.clone());
        let help = "Memory of the bodies in progress, in bytes";
        registry.register("body_memory_bytes", help, body_bytes_held.clone());
        let channel_body_bytes = Family::<ChannelLabel, Gauge>::default();
        let help = "Memory of a channel's bodies in progress, in bytes; when it reaches the channel's share, further webhooks \
                    are answered 503";
        registry.register("channel_body_memory_bytes", help, channel_body_bytes.clone());
        let counter = |bsp, outcome| requests.get_or_create(&RequestLabels { bsp, outcome }).clone();
        let refused = |bsp| Rejection::ALL.map(|rejection| counter(bsp, rejection.outcome()));
        let per_bsp = REGISTRY.iter().map(|bsp| {
            let bsp = bsp.profile().id.as_str();
            PerBsp {
                stored: counter(bsp, "stored"),
                duplicate: counter(bsp, "duplicate"),
                spooled: counter(bsp, "spooled"),
                refused: refused(bsp),
                store_time: store_times.get_or_create(&BspLabels { bsp }).clone(),
            }
        });
        let per_bsp = per_bsp.collect();
        Self {
            per_bsp,
            no_bsp: refused("none"),
            credentials,
            channel_refused,
            channel_body_bytes,
            channels,
            registry_age,
            requests_in_progress,
            body_bytes_held,
            purger,
            port,
            spool,
        }
    }

    pub(crate) fn stored(&self, bsp: BspId, is_duplicate: bool, time: std::time::Duration) {
        let counters = &self.per_bsp[registry::position(bsp)];
        counters.store_time.observe(time);
        if is_duplicate { &counters.duplicate } else { &counters.stored }.inc();
    }

    pub(crate) fn spooled(&self, bsp: BspId) {
        self.per_bsp[registry::position(bsp)].spooled.inc();
    }

    pub(crate) fn rejected(&self, bsp: Option<BspId>, rejection: Rejection) {
        let counters = bsp.map_or(&self.no_bsp, |bsp| &self.per_bsp[registry::position(bsp)].refused);
        counters[rejection as usize].inc();
    }

    /// Counts a rejection for its channel too. This takes a lock; rejections are not on the hot path.
    pub(crate) fn channel_rejected(&self, bsp: BspId, channel: &ChannelId, rejection: Rejection) {
        let (bsp, outcome, cause) = (bsp.as_str(), rejection.outcome(), rejection.cause());
        let labels = ChannelLabels { bsp, channel: channel.to_string(), outcome, cause };
        self.channel_refused.get_or_create(&labels).inc();
    }

    /// The gauge of the memory of a channel's bodies. It is kept when the channel changes, because bodies may
    /// still be arriving.
    pub(crate) fn channel_body_bytes(&self, channel: &ChannelId) -> Gauge {
        self.channel_body_bytes.get_or_create(&ChannelLabel { channel: channel.to_string() }).clone()
    }

    /// The counters of a channel's credentials, in their order.
    pub(crate) fn credential_counters(&self, channel: &ChannelId, count: usize) -> Vec<Counter> {
        let counter = |position: usize| {
            let labels = CredentialLabels { channel: channel.to_string(), credential: position.to_string() };
            self.credentials.get_or_create(&labels).clone()
        };
        (1..=count).map(counter).collect()
    }
}
