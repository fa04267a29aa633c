//! Reads the admin ports of the services again and again. Every address of a name is asked: replicas have one name.
//!
//! A port that cannot be read is shown as such and changes nothing else. What the answers mean is left to [`crate::admin`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admin::page::Page;
use crate::admin::tallies::Tallies;
use crate::admin::urls::{AdminUrl, AdminUrls};
use crate::admin::{AdminView, PortView};
use crate::observe::ask::{AskError, ask};

/// Interval of reading the ports.
const INTERVAL: Duration = Duration::from_secs(5);
/// Timeout of looking up the addresses of a name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// Most addresses of a name that are asked.
const ADDRESSES_MAX: usize = 64;
/// Most ports of all names. With the most counters of a port this bounds the memory.
const PORTS_MAX: usize = 256;
/// Most ports and names that are asked at the same time. With the largest answer this bounds the memory of answers.
const ASKED_AT_ONCE: usize = 8;

/// Reads the ports until the stop.
pub(super) fn follow(urls: AdminUrls, stop: CancellationToken) -> watch::Receiver<Arc<AdminView>> {
    let mut ports = Ports::new(&urls, Timestamp::now());
    let (sender, receiver) = watch::channel(Arc::new(ports.view(Timestamp::now())));
    if urls.is_empty() {
        return receiver;
    }
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = ports.read() => {}
            }
            sender.send_replace(Arc::new(ports.view(Timestamp::now())));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    });
    receiver
}

/// A port, or with no address the name that has none: the number of its URL, and its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    url: usize,
    address: Option<SocketAddr>,
}

/// What is known of the ports.
#[derive(Debug)]
struct Ports {
    urls: Vec<AdminUrl>,
    known: BTreeMap<Place, PortView>,
    /// The ports whose last answer had an ingress or a sender.
    roles: BTreeMap<SocketAddr, Roles>,
    tallies: Tallies,
}

#[derive(Debug, Clone, Copy)]
struct Roles {
    has_ingress: bool,
    has_sender: bool,
}

/// The addresses of a name, or why there is none.
type Found = Result<Vec<SocketAddr>, String>;

impl Ports {
    fn new(urls: &AdminUrls, now: Timestamp) -> Self {
        let mut ports = Self {
            urls: urls.iter().cloned().collect(),
            known: BTreeMap::new(),
            roles: BTreeMap::new(),
            tallies: Tallies::new(now),
        };
        for url in 0..ports.urls.len() {
            // Shown as not read yet.
            ports.port(Place { url, address: None });
        }
        ports
    }

    /// Looks up every name, and asks every address.
    async fn read(&mut self) {
        let lookups = self.urls.iter().cloned().map(addresses);
        let found: Vec<Found> = stream::iter(lookups).buffered(ASKED_AT_ONCE).collect().await;
        for (url, found) in found.into_iter().enumerate() {
            self.take_addresses(url, found, Timestamp::now());
        }
        let asked: Vec<Place> = self.known.keys().copied().filter(|place| place.address.is_some()).collect();
        let asking = asked.into_iter().filter_map(|place| {
            let (host, address) = (host(&self.urls[place.url]), place.address?);
            Some(async move { (place, ask(address, &host).await) })
        });
        let answers: Vec<_> = stream::iter(asking).buffer_unordered(ASKED_AT_ONCE).collect().await;
        for (place, answer) in answers {
            self.take(place, answer, Timestamp::now());
        }
    }

    /// Takes the addresses of a name. While it cannot be looked up, its known addresses are asked.
    fn take_addresses(&mut self, url: usize, found: Found, now: Timestamp) {
        let nameless = Place { url, address: None };
        let others = self.known.keys().filter(|place| place.url != url).count();
        let found = found.and_then(|addresses| match others + addresses.len() > PORTS_MAX {
            true => Err(format!("all names together have more than {PORTS_MAX} addresses")),
            false => Ok(addresses),
        });
        match found {
            Ok(addresses) => {
                self.known.remove(&nameless);
                self.known.retain(|place, _| {
                    place.url != url || place.address.is_some_and(|address| addresses.contains(&address))
                });
                for address in addresses {
                    self.port(Place { url, address: Some(address) });
                }
                let known = &self.known;
                let is_known =
                    |address: &SocketAddr| known.keys().any(|place| place.address == Some(*address));
                self.tallies.keep(is_known);
                self.roles.retain(|address, _| is_known(address));
            }
            Err(error) => self.failed(nameless, &error, now),
        }
    }

    fn take(&mut self, place: Place, answer: Result<Page, AskError>, now: Timestamp) {
        let page = match answer {
            Ok(page) => page,
            Err(error) => return self.failed(place, &error.to_string(), now),
        };
        let Some(address) = place.address else { return };
        let port = self.port(place);
        if port.failed_since.is_some() {
            tracing::info!(function = "timeline", "reads the admin port {} ({address}) again", port.url);
        }
        port.program.clone_from(&page.program);
        port.version.clone_from(&page.version);
        port.read_at = Some(now);
        port.failed_since = None;
        port.error.clear();
        self.roles.insert(address, Roles { has_ingress: page.has_ingress, has_sender: page.has_sender });
        self.tallies.take(address, page, now);
    }

    /// Notes that a port cannot be read. It is logged once.
    fn failed(&mut self, place: Place, error: &str, now: Timestamp) {
        let port = self.port(place);
        if port.failed_since.is_none() {
            let at = place.address.map(|address| format!(" ({address})")).unwrap_or_default();
            tracing::warn!(
                function = "timeline",
                "cannot read the admin port {}{at}: {error}; retrying every {} s, what it counts is missing until then",
                port.url,
                INTERVAL.as_secs()
            );
        }
        port.failed_since.get_or_insert(now);
        error.clone_into(&mut port.error);
    }

    fn port(&mut self, place: Place) -> &mut PortView {
        let url = &self.urls[place.url];
        self.known.entry(place).or_insert_with(|| PortView {
            url: url.to_string(),
            address: place.address,
            program: String::new(),
            version: String::new(),
            read_at: None,
            failed_since: None,
            error: String::new(),
        })
    }

    fn view(&mut self, now: Timestamp) -> AdminView {
        AdminView {
            ports: self.known.values().cloned().collect(),
            counted_since: self.tallies.counted_since(now),
            has_ingress: self.roles.values().any(|roles| roles.has_ingress),
            has_sender: self.roles.values().any(|roles| roles.has_sender),
            counts: self.tallies.counted(now),
        }
    }
}

/// The `Host` of requests to a URL.
fn host(url: &AdminUrl) -> String {
    url.to_string().trim_start_matches("http://").to_owned()
}

/// The addresses of a URL's name, each once.
async fn addresses(url: AdminUrl) -> Found {
    let lookup = tokio::net::lookup_host((url.host.as_str(), url.port));
    let found = match tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) => return Err("the name has no address".to_owned()),
        Err(_) => return Err(format!("timed out after {} s looking up the name", LOOKUP_TIMEOUT.as_secs())),
    };
    let mut addresses: Vec<SocketAddr> = found.collect();
    addresses.sort_unstable();
    addresses.dedup();
    match addresses.len() {
        0 => Err("the name has no address".to_owned()),
        count if count > ADDRESSES_MAX => {
            Err(format!("the name has {count} addresses, more than the maximum of {ADDRESSES_MAX}"))
        }
        _ => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_796_000_000 + seconds).unwrap()
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 9090))
    }

    fn page(program: &str) -> Page {
        Page { program: program.to_owned(), has_ingress: program == "imchannel-ingress", ..Page::default() }
    }

    fn failed(ports: &mut Ports, seconds: i64) -> Vec<(Option<SocketAddr>, Option<Timestamp>, String)> {
        let view = ports.view(now(seconds));
        view.ports.into_iter().map(|port| (port.address, port.failed_since, port.error)).collect()
    }

    #[test]
    fn every_address_of_a_name_is_a_port_and_one_that_fails_says_since_when() {
        let urls = "http://ingress:9090".parse().unwrap();
        let mut ports = Ports::new(&urls, now(0));
        ports.take_addresses(0, Err("the name has no address".to_owned()), now(0));
        assert_eq!(failed(&mut ports, 0), [(None, Some(now(0)), "the name has no address".to_owned())]);
        assert!(ports.view(now(0)).is_partial());
        ports.take_addresses(0, Ok(vec![address(1), address(2)]), now(10));
        let [one, two] = [1, 2].map(|last| Place { url: 0, address: Some(address(last)) });
        ports.take(one, Ok(page("imchannel-ingress")), now(10));
        ports.take(two, Err(AskError::TimedOut), now(10));
        ports.take(two, Err(AskError::TimedOut), now(20));
        let expected = [
            (Some(address(1)), None, String::new()),
            (Some(address(2)), Some(now(10)), "timed out after 2 s".to_owned()),
        ];
        assert_eq!(failed(&mut ports, 20), expected);
        assert!(ports.view(now(20)).has_ingress && !ports.view(now(20)).has_sender);
        // A name that cannot be looked up for a moment keeps its addresses.
        ports.take_addresses(0, Err("x".to_owned()), now(30));
        assert_eq!(ports.view(now(30)).ports.len(), 3);
        // The second replica is gone.
        ports.take_addresses(0, Ok(vec![address(1)]), now(40));
        assert_eq!(failed(&mut ports, 40), [(Some(address(1)), None, String::new())]);
        assert!(!ports.view(now(40)).is_partial());
        ports.take_addresses(0, Ok(vec![address(3)]), now(50));
        assert!(!ports.view(now(50)).has_ingress && ports.view(now(50)).is_partial());
        // More than are asked: those that are known stay.
        let many = (0..=PORTS_MAX).map(|port| SocketAddr::from(([192, 0, 2, 9], 1000 + port as u16)));
        ports.take_addresses(0, Ok(many.collect()), now(60));
        let places: Vec<_> = ports.view(now(60)).ports.into_iter().map(|port| port.address).collect();
        assert_eq!(places, [None, Some(address(3))]);
    }
}
