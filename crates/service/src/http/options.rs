//! The options of an HTTP server.

use std::time::Duration;

use tokio_rustls::TlsAcceptor;

use crate::http::addresses::Addresses;
use crate::http::limits::PortMetrics;
use crate::settings::{ConfigReader, Setting};

/// Time for which requests are still accepted after a stop.
pub static DRAIN_DELAY: Setting = Setting::new(
    "drain-delay",
    "0s",
    "Time for which requests are still accepted after a stop while /ready answers 503, so that load balancers notice",
);

/// Limits of an HTTP server.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// Most open connections. When a further one arrives, the connection that is idle for longest is closed;
    /// if none is idle, the new one waits.
    pub connections: usize,
    /// Timeout of a request head, from its first byte to its end.
    pub head: Duration,
    /// Timeout of a connection without a request. It should be longer than the timeout of the load balancer,
    /// so that the load balancer closes the connection.
    pub idle: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        let (head, idle) = (Duration::from_secs(10), Duration::from_secs(75));
        Self { connections: 4096, head, idle }
    }
}

/// Options of an HTTP server.
#[derive(Clone, Default)]
pub struct HttpServer {
    /// Its limits.
    pub limits: HttpLimits,
    /// TLS acceptor; `None` for plain HTTP.
    pub tls: Option<TlsAcceptor>,
    /// Time for which requests are still accepted after a stop, so that load balancers notice that the process is not
    /// ready.
    pub drain_delay: Duration,
    /// The proxies in front, and the limits of each address.
    pub addresses: Addresses,
    /// Metrics of the port.
    pub metrics: PortMetrics,
}

impl std::fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpServer").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Reads for how long requests are still accepted after a stop. If it is invalid, adds the error to `reader` and
/// returns `None`.
pub fn read_drain_delay(reader: &mut ConfigReader) -> Option<Duration> {
    reader.duration(&DRAIN_DELAY, Duration::ZERO..=Duration::from_secs(300))
}
