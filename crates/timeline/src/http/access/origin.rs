//! From which pages of a browser a request may come. A page of another site must not reach the port through the browser of someone
//! who may: neither under a name of its own that it points here (DNS rebinding: `Host` must be on a list), nor by a form
//! (`Origin` and `Sec-Fetch-Site`).

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Request, Uri};

/// Header by which a browser says where a request comes from (Fetch Metadata Request Headers, W3C).
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// The hosts by which the port is reached, without ports. Clones share the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts(Arc<[String]>);

impl FromStr for Hosts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut hosts = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let is_address = part.parse::<std::net::Ipv6Addr>().is_ok();
            let authority = if is_address { format!("[{part}]") } else { part.to_owned() };
            match authority.parse::<Authority>() {
                Ok(parsed) if parsed.as_str() == parsed.host() => hosts.push(plain(parsed.host())),
                _ => {
                    return Err(format!(
                        "contains '{part}'; write a host without a port, such as timeline.example"
                    ));
                }
            }
        }
        if hosts.is_empty() {
            return Err("names no host".to_owned());
        }
        Ok(Self(hosts.into()))
    }
}

/// A host without brackets and in small letters.
fn plain(host: &str) -> String {
    host.trim_matches(['[', ']']).to_ascii_lowercase()
}

impl Hosts {
    /// Whether a request may be served by its headers alone.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), String> {
        let host = host(request.uri(), request.headers()).ok_or("the header Host is missing or invalid")?;
        if !self.0.contains(&plain(host.host())) {
            return Err("this Host is not in IMCHANNEL_TIMELINE_HOSTS".to_owned());
        }
        if is_safe(request.method()) || is_of_same_origin(request.headers(), &host) {
            return Ok(());
        }
        Err("this method is only for pages of this service: send its Origin, or Sec-Fetch-Site: none"
            .to_owned())
    }
}

fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    if let Some(authority) = uri.authority() {
        return Some(authority.clone());
    }
    let mut values = headers.get_all(HOST).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok()?.parse().ok()
}

/// Whether a request was sent to a loopback address or to a name of this machine.
pub(in crate::http) fn is_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    host(uri, headers).is_some_and(|host| {
        let host = plain(host.host());
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

/// Whether the page that sent a request was loaded by HTTPS, as its browser says.
pub(in crate::http) fn is_https(headers: &HeaderMap) -> bool {
    headers.get(ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"))
}

/// Whether a link on a page of another site leads here, as the browser says. It leaves out cookies then.
pub(in crate::http) fn is_from_another_site(headers: &HeaderMap) -> bool {
    headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "cross-site" || site == "same-site")
}

/// Whether a method changes nothing (RFC 9110, section 9.2.1).
fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// A browser sends at least one of the two headers, and they must not contradict. Another client sends `Sec-Fetch-Site: none`.
fn is_of_same_origin(headers: &HeaderMap, host: &Authority) -> bool {
    let site = headers.get(SEC_FETCH_SITE).map(|value| value.as_bytes());
    let origin = headers.get(ORIGIN);
    let is_own_site = site.is_none_or(|site| site == b"same-origin" || site == b"none");
    // The scheme is that of the proxy in front, if there is one.
    let is_own_origin = origin.is_none_or(|origin| {
        let uri = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok());
        let authority = uri.as_ref().filter(|uri| uri.scheme().is_some()).and_then(Uri::authority);
        authority.is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(host.as_str()))
    });
    (site.is_some() || origin.is_some()) && is_own_site && is_own_origin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request<()> {
        let builder = Request::builder().method(method).uri("/v1/searches");
        headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(()).unwrap()
    }

    #[test]
    fn a_host_must_be_on_the_list() {
        let hosts: Hosts = "localhost, 127.0.0.1,::1,Timeline.Example".parse().unwrap();
        for host in ["localhost:8082", "LOCALHOST", "127.0.0.1:1", "[::1]:8082", "timeline.example"] {
            assert_eq!(hosts.check(&request("GET", &[("host", host)])), Ok(()), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.2", "", "[::2]", "a b"] {
            assert!(hosts.check(&request("GET", &[("host", host)])).is_err(), "{host}");
        }
        assert!(hosts.check(&request("GET", &[])).is_err());
        assert!(hosts.check(&request("GET", &[("host", "localhost"), ("host", "localhost")])).is_err());
        for bad in ["", " , ", "localhost:8082", "http://localhost", "a b", "user@host"] {
            assert!(bad.parse::<Hosts>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_of_another_site_cannot_post() {
        let hosts: Hosts = "localhost".parse().unwrap();
        let post = |headers: &[(&str, &str)]| {
            hosts.check(&request("POST", &[&[("host", "localhost:8082")], headers].concat())).is_ok()
        };
        assert!(post(&[("sec-fetch-site", "none")]));
        assert!(post(&[("sec-fetch-site", "same-origin")]));
        assert!(post(&[("origin", "http://localhost:8082")]));
        assert!(post(&[("origin", "https://LOCALHOST:8082"), ("sec-fetch-site", "same-origin")]));
        assert!(!post(&[]));
        for site in ["cross-site", "same-site", "", "None"] {
            assert!(!post(&[("sec-fetch-site", site)]), "{site}");
            assert!(!post(&[("sec-fetch-site", site), ("origin", "http://localhost:8082")]), "{site}");
        }
        for origin in ["null", "http://evil.example", "http://localhost", "localhost:8082", "", "file://"] {
            assert!(!post(&[("origin", origin)]), "{origin}");
            assert!(!post(&[("origin", origin), ("sec-fetch-site", "same-origin")]), "{origin}");
        }
    }
}
