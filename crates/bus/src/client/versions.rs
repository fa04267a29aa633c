//! The version of each nats-server, so that the limitations of older servers can be worked around.
//!
//! A client only gets the version of the server that it is connected to. Every server sends its name and version in its
//! first line (`INFO {…}`), before authentication, so one short connection to each address finds the other versions.
//! The version of a server that cannot be reached, or that sends nothing before TLS (`handshake_first`), stays unknown.
//! Other modules decide what follows from a version ([`crate::purge`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use async_nats::ServerInfo;
use async_nats::jetstream::stream::Info;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// Time for which known versions are used, unless the connection was re-established in between.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// Timeout of a connection to one address and of reading its first line.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// Time after which no further round of probes begins.
const LEARN_LIMIT: Duration = Duration::from_secs(2);
/// Most rounds of probes. Behind the address of a load balancer (a Service of Kubernetes) a different server responds
/// each time.
const ROUNDS_MAX: usize = 6;
/// Connections to each address in every round after the first. With those of the first round, three servers behind one
/// address are all reached in all but 6 of 10,000 cases.
const PROBES_A_ROUND: usize = 4;
/// Most addresses, of the settings and of what servers report of each other.
const ADDRESSES_MAX: usize = 64;
/// Longest first line of a server, in bytes. Real ones have about 500, and 25 more for each other server.
const INFO_LINE_MAX: u64 = 16 * 1024;

/// First version of nats-server that syncs an atomic batch once with `sync_interval: always` (pull request 8539). Seen with strace:
/// 2.12.1 to 2.15.0-RC.1 sync each of 100 messages, 2.15.0 to 2.15.3 sync six times for all of them. 2.12 also acknowledges a batch of
/// which a full disk has lost messages.
pub const ONE_SYNC_A_BATCH: ServerVersion = ServerVersion::new(2, 15, 0);
/// A version of nats-server.
///
/// # Examples
/// ```
/// use bus::versions::ServerVersion;
///
/// assert!(ServerVersion::parse("v2.11.0-beta.1") > Some(ServerVersion::new(2, 10, 27)));
/// assert_eq!(ServerVersion::parse("unknown"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion {
    /// 2 in 2.10.27.
    pub major: u32,
    /// 10 in 2.10.27.
    pub minor: u32,
    /// 27 in 2.10.27.
    pub patch: u32,
    /// Whether it is the release, and not a version before it such as 2.15.0-RC.1.
    pub is_release: bool,
}

impl ServerVersion {
    /// A release from its three numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch, is_release: true }
    }

    /// Parses a version such as `2.10.27` or `v2.11.0-beta.1`, which is less than 2.11.0; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim_start_matches('v').splitn(3, '.').map(|part| {
            let end = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
            part[..end].parse().ok()
        });
        let release = Self::new(numbers.next()??, numbers.next()??, numbers.next()??);
        Some(Self { is_release: !text.contains('-'), ..release })
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Servers by name, with the version of each that responded.
pub type Versions = BTreeMap<String, ServerVersion>;

/// The names of the servers that hold a stream; empty if the server names none, as nats-server 2.9 does when it runs
/// alone.
pub fn holders(info: &Info) -> BTreeSet<String> {
    let Some(cluster) = &info.cluster else { return BTreeSet::new() };
    let peers = cluster.replicas.iter().map(|peer| peer.name.clone());
    peers.chain(cluster.leader.clone()).filter(|name| !name.is_empty()).collect()
}

/// The versions of the servers, and when they were read.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    /// `host:port` of every server in the settings.
    configured: Vec<String>,
    learned: Mutex<Learned>,
}

#[derive(Debug, Default)]
struct Learned {
    versions: Versions,
    until: Option<Instant>,
    /// Connection number at that time.
    connection: u64,
}

impl Servers {
    pub(crate) fn new(configured: Vec<String>) -> Self {
        Self { configured, learned: Mutex::default() }
    }

    /// Returns the version of every server that responds. It waits slightly longer for those named in `wanted`. `info` is
    /// what the server of the connection reports of itself, `connection` the number of the connection.
    pub(crate) async fn versions(
        &self,
        info: ServerInfo,
        connection: u64,
        wanted: &BTreeSet<String>,
    ) -> Versions {
        let own = ServerVersion::parse(&info.version).map(|version| (info.server_name.clone(), version));
        // A server that reports no cluster has no other servers.
        if own.as_ref().is_some_and(|(name, _)| wanted.iter().all(|wanted| wanted == name))
            && info.cluster.as_deref().unwrap_or_default().is_empty()
        {
            return own.into_iter().collect();
        }
        let mut learned = self.learned.lock().await;
        let is_fresh = learned.until.is_some_and(|until| Instant::now() < until);
        if !is_fresh || learned.connection != connection {
            let addresses = self.configured.iter().cloned().chain(info.connect_urls);
            // On the heap, because it is rare and the future of every check would have room for it.
            learned.versions = Box::pin(learn(addresses.collect(), wanted)).await;
            learned.until = Some(Instant::now() + KNOWN_FOR);
            learned.connection = connection;
        }
        learned.versions.clone().into_iter().chain(own).collect()
    }
}

/// Reads the version at every address, including those that servers report, until all wanted ones are known or the time
/// is up.
async fn learn(mut addresses: BTreeSet<String>, wanted: &BTreeSet<String>) -> Versions {
    let deadline = Instant::now() + LEARN_LIMIT;
    let mut versions = Versions::new();
    for round in 0..ROUNDS_MAX {
        let known = addresses.len();
        let times = if round == 0 { 1 } else { PROBES_A_ROUND };
        for info in probe_all(&addresses, times).await {
            if let Some(version) = ServerVersion::parse(&info.version) {
                versions.insert(info.server_name, version);
            }
            addresses.extend(info.connect_urls.into_iter().take(ADDRESSES_MAX - addresses.len()));
        }
        let is_complete = addresses.len() == known && wanted.iter().all(|name| versions.contains_key(name));
        if is_complete || Instant::now() >= deadline {
            break;
        }
    }
    versions
}

/// Connects concurrently to everything that the addresses resolve to.
async fn probe_all(addresses: &BTreeSet<String>, times: usize) -> Vec<ServerInfo> {
    let resolving = addresses.iter().map(|address| timeout(PROBE_TIMEOUT, tokio::net::lookup_host(address)));
    let resolved = futures_util::future::join_all(resolving).await;
    let sockets: BTreeSet<SocketAddr> =
        resolved.into_iter().flatten().flatten().flatten().take(ADDRESSES_MAX).collect();
    let probes = sockets.iter().flat_map(|socket| std::iter::repeat_n(*socket, times));
    let probes = probes.map(|socket| async move { timeout(PROBE_TIMEOUT, probe(socket)).await.ok()? });
    futures_util::future::join_all(probes).await.into_iter().flatten().collect()
}

/// Reads the first line of a server.
async fn probe(socket: SocketAddr) -> Option<ServerInfo> {
    let stream = TcpStream::connect(socket).await.ok()?;
    let mut line = String::new();
    BufReader::new(stream).take(INFO_LINE_MAX).read_line(&mut line).await.ok()?;
    serde_json::from_str(line.strip_prefix("INFO ")?.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let read = |text| ServerVersion::parse(text);
        assert_eq!(read("2.10.27"), Some(ServerVersion::new(2, 10, 27)));
        assert!(read("v2.11.0-beta.1") < Some(ServerVersion::new(2, 11, 0)));
        assert!(read("v2.11.0-beta.1") > read("2.10.99"));
        assert!(read("2.9.25") < read("2.10.0"));
        for text in ["latest", "2.10", "", "2.x.1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
