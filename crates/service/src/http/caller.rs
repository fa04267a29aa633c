//! The sender of a request, and the limit of requests in flight of each sender.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderMap;

use crate::http::addresses::{AddressKey, Addresses, Forwarded};
use crate::http::in_flight::{InFlight, InFlightRequest};
use crate::http::limits::PortMetrics;
use crate::http::requests::Requests;

/// The sender of a request.
#[derive(Debug, Clone)]
pub struct Caller {
    address: IpAddr,
    peer: IpAddr,
    requests: Requests,
}

impl Caller {
    /// A caller without a proxy in between, for requests that do not come through a port.
    pub fn direct(address: IpAddr) -> Self {
        Self { address, peer: address, requests: Requests::default() }
    }

    /// Its address; behind a listed proxy, the address that the proxy reports.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The address of the other end of the connection: of the proxy, if there is one.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Marks the connection as the first to close when the connection limit is reached. Used for a rejected
    /// request, whose remaining work must not displace accepted ones.
    pub fn release_permit(&self) {
        self.requests.release_permit();
    }
}

/// How the callers of a port are limited.
#[derive(Debug)]
pub(crate) struct CallerLimits {
    pub(crate) addresses: Addresses,
    /// Maximum connections of one address, or requests in flight of one address behind a proxy.
    pub(crate) per_address: usize,
    pub(crate) metrics: PortMetrics,
    in_flight: Arc<InFlight>,
}

impl CallerLimits {
    pub(crate) fn new(addresses: Addresses, per_address: usize, metrics: PortMetrics) -> Self {
        Self { addresses, per_address, metrics, in_flight: InFlight::new(per_address) }
    }
}

/// The other end of one connection.
#[derive(Debug)]
pub(crate) struct Peer {
    address: IpAddr,
    is_proxy: bool,
    pub(crate) requests: Requests,
    limits: Arc<CallerLimits>,
}

/// An accepted request. If it came through a proxy, it is counted for its caller until it is dropped.
pub(crate) struct Admitted {
    pub(crate) caller: Caller,
    pub(crate) in_flight: Option<InFlightRequest>,
}

/// The caller has reached its limit of requests in flight.
pub(crate) struct TooManyRequests;

impl Peer {
    pub(crate) fn new(address: IpAddr, limits: Arc<CallerLimits>) -> Self {
        let is_proxy = limits.addresses.proxies.contains(address);
        Self { address, is_proxy, requests: Requests::default(), limits }
    }

    /// The address that the connection is counted for; `None` for a proxy's connection.
    pub(crate) fn counted_for(&self) -> Option<AddressKey> {
        (!self.is_proxy).then(|| AddressKey::of(self.address))
    }

    /// Accepts a request with these headers, or rejects it.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<Admitted, TooManyRequests> {
        let of = |address| Caller { address, peer: self.address, requests: self.requests.clone() };
        if !self.is_proxy {
            // A connection has one request in flight, and connections are counted already.
            return Ok(Admitted { caller: of(self.address), in_flight: None });
        }
        let CallerLimits { addresses, per_address, metrics, in_flight } = &*self.limits;
        let Forwarded::For(address) = addresses.proxies.caller(headers) else {
            PortMetrics::not_forwarded(self.address, addresses.log);
            return Ok(Admitted { caller: of(self.address), in_flight: None });
        };
        let Some(in_flight) = in_flight.begin(AddressKey::of(address)) else {
            metrics.refused_request(address, *per_address, addresses.log);
            return Err(TooManyRequests);
        };
        Ok(Admitted { caller: of(address), in_flight: Some(in_flight) })
    }
}
