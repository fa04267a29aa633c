//! The URL of the database: where it is, and how its server proves who it is. Pure, except that `sslrootcert` names a file.
//!
//! | `sslmode` | meaning |
//! |---|---|
//! | `disable` | no TLS; the default for a host on this machine |
//! | `verify-full`, `require` | TLS, with a certificate that is valid for the host; the default for other hosts |
//!
//! The other modes of PostgreSQL's own clients are refused: with them anyone on the way can answer in the server's place.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::store::error::{StoreError, StoreFault};

/// Timeout of a connection's start, if the URL has none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time after which the system gives up a connection whose peer does not answer, if the URL has none.
const PEER_TIMEOUT: Duration = Duration::from_secs(15);
/// Interval of asking a silent peer whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Where the database is.
pub(super) struct Address {
    /// For the client. It has a password.
    pub(super) config: Config,
    /// PEM file of the authorities that may sign the server's certificate; `None` for those of the system.
    pub(super) roots: Option<PathBuf>,
}

/// The address of a URL.
///
/// # Errors
/// It has another form. The text does not repeat it.
pub(super) fn parse(url: &str) -> Result<Address, StoreError> {
    let url = url.trim();
    let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut roots, mut others) = (None, None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value),
            Some(("sslrootcert", "system")) => roots = None,
            Some(("sslrootcert", value)) => roots = Some(path(value)?),
            _ => others.push(pair),
        }
    }
    let mut config: Config = format!("{place}?{}", others.join("&"))
        .parse()
        .ok()
        .filter(|_| is_url)
        .ok_or_else(|| refused("it is not a URL of PostgreSQL"))?;
    if config.get_dbname().is_none() || config.get_user().is_none() {
        return Err(refused("its user or database is missing"));
    }
    config.ssl_mode(match mode {
        None if config.get_hosts().iter().all(is_here) => SslMode::Disable,
        None | Some("require" | "verify-full") => SslMode::Require,
        Some("disable") => SslMode::Disable,
        Some(_) => return Err(refused("its sslmode is not disable, require or verify-full")),
    });
    complete(&mut config);
    Ok(Address { config, roots })
}

/// Sets what the URL does not.
fn complete(config: &mut Config) {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(PEER_TIMEOUT);
    }
    // Without it, an answer of a server that is gone is waited for during two hours.
    config.keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE).keepalives_retries(2);
    if config.get_application_name().is_none() {
        config.application_name("imchannel-timeline");
    }
    if config.get_hosts().len() > 1 && config.get_target_session_attrs() == TargetSessionAttrs::Any {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
}

fn path(value: &str) -> Result<PathBuf, StoreError> {
    let text = percent_decode_str(value).decode_utf8();
    Ok(PathBuf::from(text.map_err(|_| refused("its sslrootcert is not UTF-8"))?.into_owned()))
}

/// Whether a host is this machine.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
    }
}

fn refused(what: &str) -> StoreError {
    let text = format!(
        "IMCHANNEL_TIMELINE_URL is not valid: {what}; write postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full"
    );
    StoreError::new(StoreFault::Refused, text, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> Option<SslMode> {
        parse(url).ok().map(|address| address.config.get_ssl_mode())
    }

    #[test]
    fn tls_is_off_only_where_it_is_switched_off_or_the_host_is_this_machine() {
        assert_eq!(mode("postgres://u:p@db.example/d"), Some(SslMode::Require));
        assert_eq!(mode("postgresql://u:p@db.example/d?sslmode=verify-full"), Some(SslMode::Require));
        assert_eq!(mode("postgres://u:p@db.example/d?sslmode=disable"), Some(SslMode::Disable));
        for host in ["localhost", "127.0.0.1", "[::1]", "%2Frun%2Fpostgresql"] {
            assert_eq!(mode(&format!("postgres://u:p@{host}/d")), Some(SslMode::Disable), "{host}");
            let url = format!("postgres://u:p@{host}/d?sslmode=require");
            assert_eq!(mode(&url), Some(SslMode::Require));
        }
        for weak in ["prefer", "allow", "verify-ca", ""] {
            assert_eq!(mode(&format!("postgres://u:p@localhost/d?sslmode={weak}")), None, "{weak}");
        }
    }

    #[test]
    fn the_file_of_authorities_is_taken_from_the_url() {
        let url = "postgres://u:p@h/d?connect_timeout=3&sslrootcert=%2Fetc%2Fmy%20ca.pem&sslmode=verify-full";
        let address = parse(url).unwrap();
        assert_eq!(address.roots, Some(PathBuf::from("/etc/my ca.pem")));
        assert_eq!(address.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert_eq!(parse("postgres://u@h/d?sslrootcert=system").unwrap().roots, None);
    }

    #[test]
    fn a_url_that_is_not_valid_is_not_repeated() {
        for url in [
            "",
            "pass-word",
            "host=h user=u password=pass-word dbname=d",
            "mysql://u:pass-word@h/d",
            "postgres://u:pass-word@h",
            "postgres://h/pass-word",
            "postgres://u:pass-word@h/d?no_such_setting=1",
        ] {
            let error = parse(url).err().unwrap_or_else(|| panic!("{url} is accepted"));
            assert_eq!(error.fault(), StoreFault::Refused);
            assert!(!format!("{error} {error:?}").contains("pass-word"), "{error}");
        }
    }
}
