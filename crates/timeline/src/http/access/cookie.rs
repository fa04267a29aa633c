//! The cookie of a session (RFC 6265bis). Scripts cannot read it, and a browser sends it only with requests that pages of this port
//! make.
//!
//! Over HTTPS its name begins with `__Host-`, so that no other host and no page without encryption can set it. Without HTTPS it is
//! used on loopback addresses only.

use axum::http::header::{COOKIE, InvalidHeaderValue};
use axum::http::{HeaderMap, HeaderValue};

use crate::http::access::sessions::TTL;

/// How a browser reaches the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Transport {
    /// By HTTPS, which a proxy in front ends.
    Encrypted,
    /// By HTTP to a loopback address.
    Loopback,
}

impl Transport {
    const ALL: [Self; 2] = [Self::Encrypted, Self::Loopback];

    const fn name(self) -> &'static str {
        match self {
            Self::Encrypted => "__Host-imchannel-timeline",
            Self::Loopback => "imchannel-timeline",
        }
    }

    const fn flags(self) -> &'static str {
        match self {
            Self::Encrypted => "Path=/; HttpOnly; SameSite=Strict; Secure",
            Self::Loopback => "Path=/; HttpOnly; SameSite=Strict",
        }
    }

    /// The value of `Set-Cookie` that begins a session.
    pub(in crate::http) fn set(self, id: &str) -> Result<HeaderValue, InvalidHeaderValue> {
        format!("{}={id}; {}; Max-Age={}", self.name(), self.flags(), TTL.as_secs()).parse()
    }

    /// The values of `Set-Cookie` that remove every cookie of this port.
    pub(in crate::http) fn remove() -> [HeaderValue; 2] {
        Self::ALL.map(|transport| {
            let text = format!("{}=; {}; Max-Age=0", transport.name(), transport.flags());
            text.parse().expect("names and flags are valid in a header")
        })
    }
}

/// The id of the session that a browser has. `is_loopback`: whether it reached the port by a loopback address.
pub(in crate::http) fn session(headers: &HeaderMap, is_loopback: bool) -> Option<&str> {
    let accepted = if is_loopback { &Transport::ALL[..] } else { &Transport::ALL[..1] };
    accepted.iter().find_map(|transport| only(headers, transport.name()))
}

/// The value of a cookie. Two with one name mean that another page has set one.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(of, value)| *of == name && !value.is_empty()).map(|(_, value)| value);
    let value = found.next()?;
    found.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_for_this_host_only_and_without_https_for_loopback_addresses() {
        let https = Transport::Encrypted.set("abc").unwrap();
        assert_eq!(
            https,
            "__Host-imchannel-timeline=abc; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=43200"
        );
        let http = Transport::Loopback.set("abc").unwrap();
        assert_eq!(http, "imchannel-timeline=abc; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200");
        assert!(Transport::Loopback.set("a\nb").is_err());
        let of = |cookies: &[&str], is_loopback| {
            let mut headers = HeaderMap::new();
            for value in cookies {
                headers.append(COOKIE, value.parse().unwrap());
            }
            session(&headers, is_loopback).map(str::to_owned)
        };
        let (host, plain) = ("__Host-imchannel-timeline=h", "a=b; imchannel-timeline=p");
        assert_eq!(of(&[host, plain], true).as_deref(), Some("h"));
        assert_eq!(of(&[plain], true).as_deref(), Some("p"));
        // Another host of the domain could have set it.
        assert_eq!(of(&[plain], false), None);
        assert_eq!(of(&[host], false).as_deref(), Some("h"));
        assert_eq!(of(&[plain, "imchannel-timeline=other"], true), None);
        assert_eq!(of(&["imchannel-timeline=", "x", ""], true), None);
    }
}
