//! The URLs of admin ports, as `IMCHANNEL_TIMELINE_ADMIN_URLS` names them.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use http::Uri;
use http::uri::Scheme;

/// Most URLs. A name may have several addresses.
pub const URLS_MAX: usize = 64;

/// The URL of an admin port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminUrl {
    /// Name or address, without the brackets of an IPv6 address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for AdminUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "http://[{}]:{}", self.host, self.port),
            false => write!(f, "http://{}:{}", self.host, self.port),
        }
    }
}

/// The URLs of admin ports, separated by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdminUrls(Vec<AdminUrl>);

/// Entries that are no URLs of admin ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrls {
    /// Too many.
    #[error("has {0} URLs; at most {URLS_MAX} are asked: use a name that resolves to every address")]
    TooMany(usize),
    /// Entries of another form, by their numbers from 1. They are not quoted, because a URL may hold a password.
    #[error("has entries of another form than http://HOST:PORT: number {}", .0.join(", number "))]
    Form(Vec<String>),
}

impl AdminUrls {
    /// That of a process that listens on an address.
    pub fn of_process(listen: SocketAddr) -> Self {
        let host = match listen {
            SocketAddr::V4(address) if address.ip().is_unspecified() => "127.0.0.1".to_owned(),
            SocketAddr::V6(address) if address.ip().is_unspecified() => "::1".to_owned(),
            other => other.ip().to_string(),
        };
        Self(vec![AdminUrl { host, port: listen.port() }])
    }

    /// The URLs, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &AdminUrl> {
        self.0.iter()
    }

    /// Whether there is no URL.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for AdminUrls {
    type Err = InvalidUrls;

    fn from_str(text: &str) -> Result<Self, InvalidUrls> {
        let entries: Vec<&str> = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
        if entries.len() > URLS_MAX {
            return Err(InvalidUrls::TooMany(entries.len()));
        }
        let (mut urls, mut wrong) = (Vec::new(), Vec::new());
        for (index, entry) in entries.into_iter().enumerate() {
            match url(entry) {
                Some(url) => urls.push(url),
                None => wrong.push((index + 1).to_string()),
            }
        }
        if wrong.is_empty() { Ok(Self(urls)) } else { Err(InvalidUrls::Form(wrong)) }
    }
}

fn url(text: &str) -> Option<AdminUrl> {
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    let is_bare = uri.path() == "/" && uri.query().is_none() && !authority.as_str().contains('@');
    if uri.scheme() != Some(&Scheme::HTTP) || !is_bare {
        return None;
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    Some(AdminUrl { host, port: authority.port_u16().filter(|port| *port > 0)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_every_other_entry_is_an_error() {
        let urls: AdminUrls =
            " http://ingress:9090, http://[::1]:9091/,http://127.0.0.1:9092,".parse().unwrap();
        let shown: Vec<_> = urls.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["http://ingress:9090", "http://[::1]:9091", "http://127.0.0.1:9092"]);
        assert_eq!(urls.iter().nth(1).unwrap().host, "::1");
        assert!("".parse::<AdminUrls>().unwrap().is_empty());
        let wrong = "ingress:9090,https://a:1,http://a,http://a:0,http://user:secret@a:1,http://a:1/metrics,http://a:1?x=y,http://b:1";
        let error = wrong.parse::<AdminUrls>().unwrap_err().to_string();
        assert!(
            error.ends_with("number 1, number 2, number 3, number 4, number 5, number 6, number 7"),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
        let many = vec!["http://a:1"; URLS_MAX + 1].join(",");
        assert_eq!(many.parse::<AdminUrls>(), Err(InvalidUrls::TooMany(URLS_MAX + 1)));
    }

    #[test]
    fn a_process_that_listens_everywhere_is_asked_at_loopback() {
        let of =
            |listen: &str| AdminUrls::of_process(listen.parse().unwrap()).iter().next().unwrap().to_string();
        assert_eq!(of("0.0.0.0:9090"), "http://127.0.0.1:9090");
        assert_eq!(of("[::]:9090"), "http://[::1]:9090");
        assert_eq!(of("192.0.2.1:9090"), "http://192.0.2.1:9090");
    }
}
