//! The metrics of media.

use axum::http::Method;
use bsp::media::MediaKind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use service::limits::PortMetrics;

use crate::tokens::TokenScope;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FetchLabels {
    kind: &'static str,
    method: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UploadLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    tenant: String,
    token: &'static str,
}

/// The metrics.
#[derive(Debug, Default)]
pub(crate) struct MediaMetrics {
    fetches: Family<FetchLabels, Counter>,
    uploads: Family<UploadLabels, Counter>,
    tokens_used: Family<TokenLabels, Counter>,
    pub(crate) bytes_served: Counter,
    pub(crate) bytes_taken: Counter,
    pub(crate) notes_dropped: Counter,
    pub(crate) expired_unfetched: Counter,
    pub(crate) redis_connected: Gauge,
    pub(crate) port: PortMetrics,
}

impl MediaMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("media");
        let metrics = Self { port: PortMetrics::register(registry), ..Self::default() };
        let help = "Requests for files by kind, method and outcome (served, not_modified, range_not_satisfiable, or the error)";
        registry.register("fetches", help, metrics.fetches.clone());
        let help = "Uploads by kind and outcome (stored, or the error)";
        registry.register("uploads", help, metrics.uploads.clone());
        let help = "Started uploads by tenant and token (general: the token of all tenants; first, second: the line in the tenant's file)";
        registry.register("upload_token_used", help, metrics.tokens_used.clone());
        let help = "Bytes of files that were sent";
        registry.register("served_bytes", help, metrics.bytes_served.clone());
        registry.register("uploaded_bytes", "Bytes of stored uploads", metrics.bytes_taken.clone());
        let help = "Events and expiries of fetches that were dropped because too many were pending or NATS was unavailable";
        registry.register("background_tasks_dropped", help, metrics.notes_dropped.clone());
        let help = "Files of sent messages that expired without a GET; one replica counts each file";
        registry.register("expired_without_fetch", help, metrics.expired_unfetched.clone());
        let help = "1 while Redis answers, 0 otherwise";
        registry.register("redis_connected", help, metrics.redis_connected.clone());
        metrics
    }

    pub(crate) fn fetched(&self, kind: Option<MediaKind>, method: &Method, outcome: &'static str) {
        let kind = kind.map_or("none", MediaKind::name);
        let method = if method == Method::HEAD { "HEAD" } else { "GET" };
        self.fetches.get_or_create(&FetchLabels { kind, method, outcome }).inc();
    }

    /// The tenant belongs to a stored channel, so the number of label values is limited.
    pub(crate) fn token_used(&self, tenant: &str, token: TokenScope) {
        let labels = TokenLabels { tenant: tenant.to_owned(), token: token.name() };
        self.tokens_used.get_or_create(&labels).inc();
    }

    pub(crate) fn uploaded(&self, kind: Option<MediaKind>, outcome: &'static str) {
        let kind = kind.map_or("none", MediaKind::name);
        self.uploads.get_or_create(&UploadLabels { kind, outcome }).inc();
    }
}
