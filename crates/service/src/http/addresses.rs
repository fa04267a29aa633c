//! The source address of a request: the proxies in front of the service, the caller that a proxy reports, and
//! the form of addresses in the log.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use axum::http::HeaderMap;

use crate::settings::{ConfigReader, Setting};

/// Addresses of the reverse proxies in front of the service.
pub static PROXIES: Setting = Setting::new(
    "trusted-proxies",
    "",
    "Addresses and networks of the reverse proxies, separated by commas, such as 192.0.2.1,2001:db8::/48; 'private' means every private and loopback network. Their connections are not limited per address, and X-Forwarded-For is read only from them",
);
/// Most open connections of one address.
pub static CONNECTIONS_PER_ADDRESS_MAX: Setting = Setting::new(
    "connections-per-address-max",
    "",
    "Maximum open connections of one source address (IPv6: of one /64); further ones are closed. Behind a proxy it is the maximum of its requests in flight; further ones are answered 503. The default is a tenth of the maximum open connections",
);
/// Format of addresses in the log.
pub static LOG_ADDRESSES: Setting = Setting::new(
    "log-addresses",
    "masked",
    "Source addresses in the log: 'masked' (without the last octet; IPv6: the /48), 'full' or 'off'",
);

/// Header to which each proxy appends the address of its caller.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Networks without public addresses: RFC 1918, RFC 6598 (used inside clusters), RFC 4193, link-local and
/// loopback.
const PRIVATE: [&str; 9] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "fc00::/7",
    "fe80::/10",
    "::1",
];
/// Bits of an address.
const BITS: u32 = 128;
/// Bits before an IPv4 address in an IPv4-mapped IPv6 address.
const IPV4_PREFIX: u32 = 96;
/// Prefix length of the IPv6 network of one customer, who can use any address in it.
const IPV6_CUSTOMER: u32 = 64;
/// Prefix length that is shown of a masked IPv6 address.
const IPV6_SHOWN: u32 = 48;

/// The bits of an address. An IPv4 address is in its IPv6 form, so that both forms are the same address.
fn bits(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The first `prefix` bits.
fn network_of(bits: u128, prefix: u32) -> u128 {
    bits & u128::MAX.checked_shl(BITS - prefix).unwrap_or(0)
}

/// An address, or the network of one customer, as the key of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressKey(u128);

impl AddressKey {
    /// The key of an address: an IPv4 address, or the /64 that an IPv6 address is in.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(_) => Self(bits(address)),
            IpAddr::V6(v6) => Self(network_of(v6.to_bits(), IPV6_CUSTOMER)),
        }
    }
}

/// A network, as CIDR writes it (RFC 4632, RFC 4291).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    base: u128,
    prefix: u32,
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        network_of(bits(address), self.prefix) == self.base
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("contains '{text}'; write an address, or a network such as 192.0.2.0/24");
        let (address, length) = text.split_once('/').map_or((text, None), |(ip, length)| (ip, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| fault())?;
        let (before, most) = if address.is_ipv4() { (IPV4_PREFIX, BITS - IPV4_PREFIX) } else { (0, BITS) };
        let length = match length {
            Some(length) => length.parse().ok().filter(|length| *length <= most).ok_or_else(fault)?,
            None => most,
        };
        let prefix = before + length;
        Ok(Self { base: network_of(bits(address), prefix), prefix })
    }
}

/// The reverse proxies in front of the service. Clones share the list.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Arc<[Network]>);

/// The caller that a proxy reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// The address from which the outermost proxy was called.
    For(IpAddr),
    /// The proxy did not report a caller.
    Unknown,
}

impl Proxies {
    /// Whether an address belongs to a proxy.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The caller of a request: the right-most address of `X-Forwarded-For` that is not a proxy's, because a
    /// caller can set everything to its left. If all addresses are proxies', the caller is inside their
    /// networks, and it is the left-most address.
    pub fn caller(&self, headers: &HeaderMap) -> Forwarded {
        let mut found = Forwarded::Unknown;
        for value in headers.get_all(FORWARDED_FOR).iter().rev() {
            let Ok(value) = value.to_str() else { return found };
            for element in value.rsplit(',') {
                let Some(address) = address_in(element.trim()) else { return found };
                found = Forwarded::For(address);
                if !self.contains(address) {
                    return found;
                }
            }
        }
        found
    }
}

impl FromStr for Proxies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut networks = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part {
                "private" => {
                    for network in PRIVATE {
                        networks.push(network.parse()?);
                    }
                }
                part => networks.push(part.parse()?),
            }
        }
        Ok(Self(networks.into()))
    }
}

/// Some proxies append a port to the address.
fn address_in(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip())
}

/// How addresses appear in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogAddresses {
    /// The network only.
    #[default]
    Masked,
    /// The whole address.
    Full,
    /// No address.
    Off,
}

impl FromStr for LogAddresses {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "masked" => Ok(Self::Masked),
            "full" => Ok(Self::Full),
            "off" => Ok(Self::Off),
            _ => Err("must be 'masked', 'full' or 'off'"),
        }
    }
}

impl LogAddresses {
    /// The address as it appears in the log.
    pub fn show(self, address: IpAddr) -> ShownAddress {
        ShownAddress { address: address.to_canonical(), log: self }
    }
}

/// An address as it appears in the log.
#[derive(Debug, Clone, Copy)]
pub struct ShownAddress {
    address: IpAddr,
    log: LogAddresses,
}

impl fmt::Display for ShownAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.log, self.address) {
            (LogAddresses::Full, address) => write!(f, "{address}"),
            (LogAddresses::Off, _) => f.write_str("(not shown)"),
            (LogAddresses::Masked, IpAddr::V4(v4)) => {
                let [a, b, c, _] = v4.octets();
                write!(f, "{a}.{b}.{c}.x")
            }
            (LogAddresses::Masked, IpAddr::V6(v6)) => {
                write!(f, "{}/{IPV6_SHOWN}", Ipv6Addr::from_bits(network_of(v6.to_bits(), IPV6_SHOWN)))
            }
        }
    }
}

/// The settings of this module.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// The proxies in front.
    pub proxies: Proxies,
    /// Most open connections of one address; `None` for a tenth of all.
    pub connections_max: Option<usize>,
    /// How addresses appear in the log.
    pub log: LogAddresses,
}

impl Addresses {
    /// The settings that are read.
    pub const SETTINGS: [&'static Setting; 3] = [&PROXIES, &CONNECTIONS_PER_ADDRESS_MAX, &LOG_ADDRESSES];

    /// Reads the settings. If one is invalid, adds the error to `reader` and returns `None`.
    pub fn read(reader: &mut ConfigReader) -> Option<Self> {
        let proxies = match reader.optional_text(&PROXIES).unwrap_or_default().parse::<Proxies>() {
            Ok(proxies) => Some(proxies),
            Err(fault) => {
                reader.error(&PROXIES, &fault);
                None
            }
        };
        let connections_max = match reader.optional_text(&CONNECTIONS_PER_ADDRESS_MAX) {
            Some(_) => Some(Some(reader.number(&CONNECTIONS_PER_ADDRESS_MAX, 1..=1_000_000)?)),
            None => Some(None),
        };
        let log = reader.value(&LOG_ADDRESSES);
        let connections_max = connections_max?.and_then(|most| usize::try_from(most).ok());
        Some(Self { proxies: proxies?, connections_max, log: log? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(text: &str) -> Proxies {
        text.parse().unwrap()
    }

    fn caller(proxies: &Proxies, values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        match proxies.caller(&headers) {
            Forwarded::For(address) => Some(address.to_string()),
            Forwarded::Unknown => None,
        }
    }

    #[test]
    fn the_caller_is_the_right_most_address_that_is_not_a_proxy() {
        let two = proxies("10.0.0.0/8, 203.0.113.9");
        let is = |values: &[&str], address: &str| {
            assert_eq!(caller(&two, values).as_deref(), Some(address), "{values:?}");
        };
        is(&["198.51.100.7"], "198.51.100.7");
        // An address that the caller wrote is to the left of the address that the proxy adds, or in an
        // earlier header.
        is(&["127.0.0.1, 198.51.100.7"], "198.51.100.7");
        is(&["127.0.0.1", "198.51.100.7"], "198.51.100.7");
        is(&["198.51.100.7, 203.0.113.9,10.1.2.3"], "198.51.100.7");
        is(&["198.51.100.7:4711"], "198.51.100.7");
        is(&["[2001:db8::1]:4711, 10.0.0.1"], "2001:db8::1");
        is(&["nonsense, 198.51.100.7"], "198.51.100.7");
        // All addresses are inside.
        is(&["10.0.0.5, 10.0.0.1"], "10.0.0.5");
        assert_eq!(caller(&two, &[]), None);
        assert_eq!(caller(&two, &["198.51.100.7, unknown"]), None);
    }

    #[test]
    fn networks_are_addresses_and_cidr() {
        let list = proxies("192.0.2.0/24,2001:db8::/32,198.51.100.1,private");
        for inside in [
            "192.0.2.255",
            "::ffff:192.0.2.1",
            "2001:db8:ffff::1",
            "198.51.100.1",
            "127.0.0.9",
            "::1",
            "10.9.9.9",
        ] {
            assert!(list.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["192.0.3.0", "2001:db9::", "198.51.100.2", "8.8.8.8", "172.32.0.1"] {
            assert!(!list.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(proxies("0.0.0.0/0").contains([8, 8, 8, 8].into()));
        assert!(!proxies("").contains([127, 0, 0, 1].into()));
        for bad in ["10.0.0.0/33", "example.com", "10.0.0", "::/129", "10.0.0.0/", "1.2.3.4/-1"] {
            assert!(bad.parse::<Proxies>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_counted_by_customer_and_shown_by_network() {
        let key = |text: &str| AddressKey::of(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff"));
        assert_ne!(key("2001:db8:0:1::1"), key("2001:db8::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.2"), key("192.0.2.1"));
        for (log, address, shown) in [
            ("masked", "192.0.2.77", "192.0.2.x"),
            ("masked", "::ffff:192.0.2.77", "192.0.2.x"),
            ("masked", "2001:db8:1:2::77", "2001:db8:1::/48"),
            ("full", "2001:db8:1:2::77", "2001:db8:1:2::77"),
            ("off", "192.0.2.77", "(not shown)"),
        ] {
            let log: LogAddresses = log.parse().unwrap();
            assert_eq!(log.show(address.parse().unwrap()).to_string(), shown);
        }
    }
}
