//! The HTTP client for all accounts.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

/// Most idle connections to one host.
const IDLE_CONNECTIONS_MAX: usize = 1024;
/// Timeout of a new connection to a BSP.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Creates the HTTP client for all accounts. It closes a connection after `idle_timeout`, so that the BSP does not
/// close it while a call is being written, which would make the outcome unknown. Zero gives every call a new
/// connection.
///
/// A call is written once. Below this client, hyper takes a call back that it has not begun to write when its
/// connection ends, and hyper-util gives it to another connection. Nothing else is retried: `retry::never` and HTTP/1.1
/// make sure of that (sources of hyper 1.12, hyper-util 0.1.21 and reqwest 0.13.5).
///
/// # Errors
/// When the client cannot be created or the CA file cannot be used.
pub(crate) fn client(ca_file: Option<&Path>, idle_timeout: Duration) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder();
    if let Some(file) = ca_file {
        let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        builder = builder.add_root_certificate(reqwest::Certificate::from_pem(&pem)?);
    }
    let client = builder
        // A message goes only to the host in the channel's settings.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(idle_timeout)
        .pool_max_idle_per_host(if idle_timeout.is_zero() { 0 } else { IDLE_CONNECTIONS_MAX })
        .retry(reqwest::retry::never())
        .http1_only()
        .tcp_nodelay(true)
        .user_agent(concat!("imchannel/", env!("CARGO_PKG_VERSION")))
        .build();
    client.context("cannot create the HTTP client")
}
