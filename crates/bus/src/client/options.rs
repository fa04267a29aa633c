//! Options of a connection, and the error of one that could not be started.

use std::fmt;
use std::path::PathBuf;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::client::nkey::NkeySeed;
use crate::client::permission_errors::PermissionErrors;
use crate::state::group_commit_metrics::BatchMetrics;
use crate::state::in_flight::InFlightMetrics;
use crate::state::sequence::SequenceRegressedGauge;

/// Whether messages are stored in batches ([`crate::publish`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupCommit {
    /// Into streams that allow atomic batches, on servers that sync a batch once, while it is quicker than single messages.
    WhereQuicker,
    /// The same, also while it is not quicker.
    WherePossible,
    /// Never.
    Off,
}

impl GroupCommit {
    /// Used unless a setting says otherwise.
    pub const DEFAULT: Self = Self::WhereQuicker;

    /// The value of the setting that chooses it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WhereQuicker => "auto",
            Self::WherePossible => "on",
            Self::Off => "off",
        }
    }

    /// Reads the value of the setting: `auto`, `on` or `off`; `None` for anything else.
    pub fn parse(value: &str) -> Option<Self> {
        [Self::WhereQuicker, Self::WherePossible, Self::Off].into_iter().find(|choice| choice.name() == value)
    }
}

/// Options of a connection to the bus.
#[derive(Clone)]
pub struct BusOptions {
    /// URLs of the servers, comma-separated: `nats://host:port` or `tls://host:port`.
    pub url: String,
    /// Name of the connection in the server's monitoring. Responses to this client's requests are delivered to
    /// `_INBOX_{name}`, which no other user may read.
    pub name: &'static str,
    /// Seed of the NATS user, for a server that authenticates.
    pub nkey: Option<NkeySeed>,
    /// PEM file of CA certificates that are trusted for the server, in addition to those of the system.
    pub ca_file: Option<PathBuf>,
    /// Receives the first permission error of this client. Each of them is logged.
    pub refusals: PermissionErrors,
    /// Gauge: 1 while connected.
    pub connected: Gauge,
    /// Metrics of the publishes in flight and waiting.
    pub in_flight: InFlightMetrics,
    /// Metrics of batches.
    pub batches: BatchMetrics,
    /// Whether messages are stored in batches.
    pub group_commit: GroupCommit,
    /// Gauge by stream: 1 while its sequence has gone back.
    pub gone_back: SequenceRegressedGauge,
}

impl BusOptions {
    /// Options without a user.
    pub fn new(name: &'static str, url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            name,
            nkey: None,
            ca_file: None,
            refusals: PermissionErrors::default(),
            connected: Gauge::default(),
            in_flight: InFlightMetrics::default(),
            batches: BatchMetrics::default(),
            group_commit: GroupCommit::DEFAULT,
            gone_back: SequenceRegressedGauge::default(),
        }
    }

    /// Registers the metrics of the connection.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("nats");
        registry.register("connected", "1 while connected to NATS, otherwise 0", self.connected.clone());
        self.in_flight.register(registry);
        self.batches.register(registry);
        let help = "1 for a stream whose sequence has gone back and that needs `imchannel streams repair`, otherwise 0";
        registry.register("sequence_gone_back", help, self.gone_back.clone());
    }
}

// The URL may hold a password.
impl fmt::Debug for BusOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusOptions").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The connection could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to NATS")]
pub struct ConnectError(#[source] pub(super) Box<dyn std::error::Error + Send + Sync>);

impl ConnectError {
    /// Whether the server does not respond, so that a retry may help. It is false for a wrong URL, key or certificate.
    pub fn is_unreachable(&self) -> bool {
        use async_nats::ConnectErrorKind::{Dns, Io, TimedOut};
        let error = self.0.downcast_ref::<async_nats::ConnectError>();
        error.is_some_and(|error| matches!(error.kind(), Dns | Io | TimedOut))
    }

    /// Whether the server does not know the user, or demands one.
    pub fn is_auth_error(&self) -> bool {
        use async_nats::ConnectErrorKind::{Authentication, AuthorizationViolation};
        let error = self.0.downcast_ref::<async_nats::ConnectError>();
        error.is_some_and(|error| matches!(error.kind(), Authentication | AuthorizationViolation))
    }
}
