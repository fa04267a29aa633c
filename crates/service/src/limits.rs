//! What a port does with callers that take too much of it: counted, and said in the log now and then.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use bus::seldom::Seldom;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::addresses::LogAddresses;

static OF_ADDRESS: Seldom = Seldom::new();
static TABLE_FULL: Seldom = Seldom::new();
static REQUESTS: Seldom = Seldom::new();
/// Some callers inside reach a port directly, and always will: it is said once.
static NOT_FORWARDED: AtomicBool = AtomicBool::new(false);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

/// Metrics of a port. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct PortMetrics {
    /// Connections that are open.
    pub(crate) connections: Gauge,
    /// Closed at accept: their address had as many as it may.
    connections_of_address: Counter,
    /// Closed since the table was full and another one came.
    longest_idle: Counter,
    /// Answered 503: the address had as many requests in flight as it may.
    requests_of_address: Counter,
    /// Answered later: too many of them failed.
    pub(crate) failed_credentials: Counter,
}

impl PortMetrics {
    /// Creates the metrics and registers them in the registry of the service.
    pub fn register(registry: &mut Registry) -> Self {
        let limited = Family::<LimitLabels, Counter>::default();
        let counter = |limit| limited.get_or_create(&LimitLabels { limit }).clone();
        let metrics = Self {
            connections: Gauge::default(),
            connections_of_address: counter("connections_of_address"),
            longest_idle: counter("longest_idle"),
            requests_of_address: counter("requests_of_address"),
            failed_credentials: counter("failed_credentials"),
        };
        registry.register("connections", "Connections that are open", metrics.connections.clone());
        let help = "What limits of callers did: 'connections_of_address' were closed at accept, 'longest_idle' were closed for \
                    another one, as as many were open as may be, 'requests_of_address' came through a proxy and were answered 503, \
                    'failed_credentials' were answered 401 with a delay";
        registry.register("limited", help, limited);
        metrics
    }

    pub(crate) fn refused_connection(&self, address: IpAddr, most: usize, log: LogAddresses) {
        self.connections_of_address.inc();
        let Some(turn) = OF_ADDRESS.turn() else { return };
        tracing::warn!(
            function = "http",
            "a connection of {} was closed at once: it has {most} (IMCHANNEL_CONNECTIONS_PER_ADDRESS_MAX), and is no listed \
             proxy (IMCHANNEL_TRUSTED_PROXIES){turn}",
            log.show(address)
        );
    }

    pub(crate) fn closed_longest_idle(&self, limit: usize) {
        self.longest_idle.inc();
        let Some(turn) = TABLE_FULL.turn() else { return };
        tracing::warn!(
            function = "http",
            "{limit} connections are open, as many as may be (IMCHANNEL_CONNECTIONS_MAX): the one idle for longest was closed \
             for another one{turn}"
        );
    }

    pub(crate) fn refused_request(&self, address: IpAddr, most: usize, log: LogAddresses) {
        self.requests_of_address.inc();
        let Some(turn) = REQUESTS.turn() else { return };
        tracing::warn!(
            function = "http",
            "a request of {} was answered 503: {most} of it are in flight (IMCHANNEL_CONNECTIONS_PER_ADDRESS_MAX){turn}",
            log.show(address)
        );
    }

    /// Without the header nobody knows whose request it is, and the limit of an address does not hold.
    pub(crate) fn not_forwarded(address: IpAddr, log: LogAddresses) {
        if NOT_FORWARDED.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!(
            function = "http",
            "the proxy {} (IMCHANNEL_TRUSTED_PROXIES) sent a request without a readable X-Forwarded-For: such requests are not \
             limited per address (this is said once)",
            log.show(address)
        );
    }
}
