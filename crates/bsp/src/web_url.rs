//! Validates http and https URLs: of accounts, of our own services, and of the files of messages.
//!
//! A URI parser accepts port 99999 and `a..example`, which no client can reach. The caller decides which
//! hosts are allowed.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest host name, in bytes (RFC 1035 section 2.3.4).
const HOST_LENGTH_MAX: usize = 253;
/// Longest label of a host name, in bytes (RFC 1035 section 2.3.4).
const LABEL_LENGTH_MAX: usize = 63;

/// Why a text is not a valid URL. The message follows the name of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// The syntax is wrong.
    #[error("is not a URL; write one such as https://host:port/path")]
    Syntax,
    /// The scheme is missing or not http or https.
    #[error("must begin with https:// or http://")]
    Scheme,
    /// It has user information (`user:password@`), which every reader of the URL would see.
    #[error("must not contain user information before the host")]
    UserInformation,
    /// Its host is missing, has an empty label or one that is too long, or is an address that does not exist.
    #[error("must have a host name or an IP address")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("must have a port from 1 to 65535, or no port")]
    Port,
}

/// Parses an absolute http or https URL. An `@` in its path or query is an ordinary character.
///
/// # Errors
/// [`UrlFault`].
///
/// # Examples
/// ```
/// use bsp::web_url::{self, UrlFault};
///
/// assert_eq!(web_url::parse("https://example.com/a.jpg").unwrap().host(), Some("example.com"));
/// assert_eq!(web_url::parse("ftp://example.com/"), Err(UrlFault::Scheme));
/// ```
pub fn parse(text: &str) -> Result<http::Uri, UrlFault> {
    let uri: http::Uri = text.parse().map_err(|_| UrlFault::Syntax)?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(UrlFault::Scheme);
    }
    let authority = uri.authority().ok_or(UrlFault::Host)?.as_str();
    if authority.contains('@') {
        return Err(UrlFault::UserInformation);
    }
    let host = uri.host().unwrap_or_default();
    if !is_host(host) {
        return Err(UrlFault::Host);
    }
    let port = authority.strip_prefix(host).unwrap_or_default();
    match port.strip_prefix(':').map(str::parse::<u16>) {
        None if port.is_empty() => Ok(uri),
        Some(Ok(1..)) => Ok(uri),
        _ => Err(UrlFault::Port),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(literal) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return literal.parse::<Ipv6Addr>().is_ok();
    }
    // A trailing dot makes a name absolute.
    let name = host.strip_suffix('.').unwrap_or(host);
    let labels = name.split('.');
    let ends_in_number =
        labels.clone().next_back().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    if !name.is_empty() && ends_in_number {
        return name.parse::<Ipv4Addr>().is_ok();
    }
    name.len() <= HOST_LENGTH_MAX && labels.into_iter().all(is_label)
}

/// Underscores are not allowed in host names, but some names contain them.
fn is_label(label: &str) -> bool {
    (1..=LABEL_LENGTH_MAX).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_address_is_not_a_url() {
        for good in [
            "https://cdn.shop.example/a@2x.png",
            "http://cdn.shop.example:8080/a.png?to=anna@shop.example&size=2",
            "https://CDN.shop.example./x#part",
            "https://my_bucket.shop.example",
            "https://127.0.0.1:65535/x",
            "https://[2001:db8::1]:8443/x",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        let long = format!("https://{}.example", "a".repeat(64));
        for (bad, fault) in [
            ("", UrlFault::Syntax),
            ("https://a b", UrlFault::Syntax),
            ("cdn.shop.example/a.png", UrlFault::Syntax),
            ("/a.png", UrlFault::Scheme),
            ("ftp://shop.example/a", UrlFault::Scheme),
            ("https://anna@shop.example/a", UrlFault::UserInformation),
            ("https://anna:pw@shop.example:443/a", UrlFault::UserInformation),
            ("https://a..shop.example/a", UrlFault::Host),
            ("https://.shop.example", UrlFault::Host),
            ("https://-a.shop.example", UrlFault::Host),
            ("https://256.0.0.1", UrlFault::Host),
            (&long, UrlFault::Host),
            ("https://shop.example:99999/a", UrlFault::Port),
            ("https://shop.example:65536", UrlFault::Port),
            ("https://shop.example:0/a", UrlFault::Port),
            ("https://shop.example:/a", UrlFault::Port),
        ] {
            assert_eq!(parse(bad).err(), Some(fault), "{bad}");
        }
    }
}
