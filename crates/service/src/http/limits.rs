//! The limits of callers of a port: each event is counted, and logged at a limited rate.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use bus::rate_limited_log::RateLimitedLog;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::http::addresses::LogAddresses;

static OF_ADDRESS: RateLimitedLog = RateLimitedLog::new();
static TABLE_FULL: RateLimitedLog = RateLimitedLog::new();
static REQUESTS: RateLimitedLog = RateLimitedLog::new();
/// Some internal callers always connect to a port directly, so this is logged once.
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
    /// Connections that were closed at accept because their address had reached its limit.
    connections_of_address: Counter,
    /// Connections that were closed because the table was full and a new one arrived.
    longest_idle: Counter,
    /// Requests that were answered 503 because their address had reached its limit of requests in flight.
    requests_of_address: Counter,
    /// Responses that were delayed because too many credentials failed.
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
        registry.register("connections", "Open connections", metrics.connections.clone());
        let help = "Connections and requests that reached a limit: 'connections_of_address' were closed at accept, 'longest_idle' were \
                    closed for a new connection because the port was full, 'requests_of_address' came through a proxy and were \
                    answered 503, 'failed_credentials' were answered 401 with a delay";
        registry.register("limited", help, limited);
        metrics
    }

    pub(crate) fn refused_connection(&self, address: IpAddr, most: usize, log: LogAddresses) {
        self.connections_of_address.inc();
        let Some(turn) = OF_ADDRESS.next() else { return };
        tracing::warn!(
            function = "http",
            "closed a connection of {}: the address has {most} open connections (IMCHANNEL_CONNECTIONS_PER_ADDRESS_MAX); if it \
             is a proxy, add it to IMCHANNEL_TRUSTED_PROXIES{turn}",
            log.show(address)
        );
    }

    pub(crate) fn closed_longest_idle(&self, limit: usize) {
        self.longest_idle.inc();
        let Some(turn) = TABLE_FULL.next() else { return };
        tracing::warn!(
            function = "http",
            "closed the connection that was idle for longest, for a new one: {limit} connections are open, the maximum \
             (IMCHANNEL_CONNECTIONS_MAX){turn}"
        );
    }

    pub(crate) fn refused_request(&self, address: IpAddr, most: usize, log: LogAddresses) {
        self.requests_of_address.inc();
        let Some(turn) = REQUESTS.next() else { return };
        tracing::warn!(
            function = "http",
            "answered 503 to a request of {}: {most} of its requests are in flight (IMCHANNEL_CONNECTIONS_PER_ADDRESS_MAX){turn}",
            log.show(address)
        );
    }

    /// Without the header the caller is unknown, and the limit of an address cannot apply.
    pub(crate) fn not_forwarded(address: IpAddr, log: LogAddresses) {
        if NOT_FORWARDED.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!(
            function = "http",
            "the proxy {} (IMCHANNEL_TRUSTED_PROXIES) sent a request without a readable X-Forwarded-For: such requests are not \
             limited per address (logged once)",
            log.show(address)
        );
    }
}
