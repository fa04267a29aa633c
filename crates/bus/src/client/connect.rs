//! The connection to NATS: it reconnects by itself, and reports its state at any time.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::{Client, connection};
use tokio::sync::watch;

use crate::client::away::Away;
use crate::client::events::{ConnectionErrors, ConnectionEvents};
use crate::client::options::{BusOptions, ConnectError, GroupCommit};
use crate::client::publish_contexts::{PublishContexts, context};
use crate::client::reply_subjects::ReplySubjects;
use crate::client::versions::{Servers, Versions};
use crate::schema::stream_id::StreamId;
use crate::schema::streams::STREAMS;
use crate::state::dead_letter_quotas::DeadLetterQuotas;
use crate::state::gathering::Gathering;
use crate::state::group_commit_metrics::BatchMetrics;
use crate::state::in_flight::InFlight;
use crate::state::sequence::Sequences;
use crate::state::stream_fill::StreamFill;

/// Longest delay between two attempts to connect. The client's own delay grows to 4 s, which would break the promise to
/// serve again within 2 s of the server's return.
const RECONNECT_DELAY_MAX: Duration = Duration::from_millis(500);
/// Interval of the client's pings. The third unanswered ping closes the connection.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Timeout of a connection to one server. The next server of the list is tried after it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of one JetStream API request. Publishes have deadlines of their own in [`crate::publish`].
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// What happens when the server does not respond to the first connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstConnection {
    Retry,
    OrFail,
}

/// A connection to the bus. Clones share it. It is one pointer, because thousands of waiting tasks hold one each.
#[derive(Clone)]
pub struct Bus(Arc<Connection>);

impl Deref for Bus {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

/// What the clones of a [`Bus`] share.
pub struct Connection {
    pub(crate) client: Client,
    pub(crate) jetstream: Context,
    pub(crate) publishers: PublishContexts,
    pub(crate) replies: ReplySubjects,
    /// Number of times that the connection was established.
    connections: watch::Receiver<u64>,
    /// State after the client's last event. Every publish reads it, and the client's own state is behind a lock.
    is_up: Arc<AtomicBool>,
    pub(crate) away: Away,
    /// Why the last attempt to connect failed; empty while connected.
    fault: Arc<Mutex<String>>,
    pub(crate) fill: Arc<StreamFill>,
    /// Whether senders may write compact entries into the ledger. [`crate::fill`] keeps it current.
    pub(crate) compact_ledger: Arc<AtomicBool>,
    /// The stores in flight of each stream that is no bucket, in the order of [`StreamId::ALL`].
    in_flight: [Arc<InFlight>; STREAMS.len()],
    /// The messages of each stream that wait to be stored together, in the order of [`StreamId::ALL`].
    pub(crate) gatherings: Arc<[Arc<Gathering>; StreamId::ALL.len()]>,
    pub(crate) batch_metrics: BatchMetrics,
    pub(crate) group_commit: GroupCommit,
    pub(crate) servers: Arc<Servers>,
    pub(crate) sequences: Arc<Sequences>,
    pub(crate) letters: Arc<DeadLetterQuotas>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("connected", &self.is_connected()).finish_non_exhaustive()
    }
}

impl Bus {
    /// Starts to connect and returns immediately: a service starts whether or not the server responds.
    ///
    /// # Errors
    /// [`ConnectError`] when the URL is invalid.
    pub async fn connect(options: &BusOptions) -> Result<Self, ConnectError> {
        Self::open(options, FirstConnection::Retry).await
    }

    /// Connects, and fails if the server does not respond: for commands that a person waits for.
    ///
    /// # Errors
    /// [`ConnectError`] when the URL is invalid or the server does not respond.
    ///
    /// # Examples
    /// ```no_run
    /// use bus::{Bus, BusOptions};
    ///
    /// # async fn example() -> Result<(), bus::ConnectError> {
    /// let bus = Bus::connect_now(&BusOptions::new("example", "nats://127.0.0.1:4222")).await?;
    /// assert!(bus.is_connected());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect_now(options: &BusOptions) -> Result<Self, ConnectError> {
        Self::open(options, FirstConnection::OrFail).await
    }

    async fn open(options: &BusOptions, first: FirstConnection) -> Result<Self, ConnectError> {
        let servers: Result<Vec<async_nats::ServerAddr>, _> =
            options.url.split(',').map(|url| url.trim().parse()).collect();
        let servers = servers.map_err(|error: std::io::Error| ConnectError(error.into()))?;
        let addresses = servers.iter().map(|server| format!("{}:{}", server.host(), server.port())).collect();
        let (connected, connections) = watch::channel(0);
        let (up, followed) = watch::channel(false);
        let is_up = Arc::new(AtomicBool::new(false));
        let sequences = Arc::new(Sequences::new(options.gone_back.clone()));
        let fault = Arc::new(Mutex::new(String::new()));
        let events = ConnectionEvents {
            connected,
            up,
            gauge: options.connected.clone(),
            is_up: Arc::clone(&is_up),
            sequences: Arc::clone(&sequences),
            errors: ConnectionErrors {
                known: Mutex::default(),
                fault: Arc::clone(&fault),
                refusals: options.refusals.clone(),
            },
        };
        let mut connect = async_nats::ConnectOptions::new()
            .name(options.name)
            .custom_inbox_prefix(format!("_INBOX_{}", options.name))
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CONNECT_TIMEOUT)
            .reconnect_delay_callback(|attempt| {
                RECONNECT_DELAY_MAX.min(Duration::from_millis(50 * attempt.min(100) as u64))
            })
            .event_callback(move |event| {
                events.handle(&event);
                std::future::ready(())
            });
        if let Some(nkey) = &options.nkey {
            connect = connect.nkey(nkey.expose().to_owned());
        }
        if let Some(file) = &options.ca_file {
            connect = connect.add_root_certificates(file.clone());
        }
        if first == FirstConnection::Retry {
            connect = connect.retry_on_initial_connect();
        }
        let client = connect.connect(servers).await.map_err(|error| ConnectError(error.into()))?;
        let jetstream = context(&client, REQUEST_TIMEOUT);
        let publishers = PublishContexts::new(&client);
        let replies = ReplySubjects::subscribe(&client).await.map_err(|error| ConnectError(error.into()))?;
        let now = tokio::time::Instant::now();
        Ok(Self(Arc::new(Connection {
            client,
            jetstream,
            publishers,
            replies,
            connections,
            is_up,
            away: Away::follow(followed),
            fault,
            fill: Arc::default(),
            compact_ledger: Arc::default(),
            in_flight: std::array::from_fn(|place| {
                InFlight::new(StreamId::ALL[place].name(), &options.in_flight, now)
            }),
            gatherings: Arc::new(std::array::from_fn(|_| Arc::new(Gathering::new(now)))),
            batch_metrics: options.batches.clone(),
            group_commit: options.group_commit,
            servers: Arc::new(Servers::new(addresses)),
            sequences,
            letters: Arc::default(),
        })))
    }

    /// Returns the stores in flight of a stream that is no bucket.
    pub(crate) fn in_flight(&self, stream: StreamId) -> &Arc<InFlight> {
        &self.in_flight[stream as usize]
    }

    /// Whether every stream that a guard watches can be trusted ([`crate::sequences::guard`]).
    ///
    /// # Errors
    /// A text for people that says what is wrong.
    pub fn sequences(&self) -> Result<(), String> {
        self.sequences.state()
    }

    /// Whether the ledger of sends is known to hold every write. Nothing may be sent until it is.
    pub fn is_ledger_intact(&self) -> bool {
        let ledger = StreamId::Sends;
        self.sequences.is_looked_at(ledger) && !self.sequences.place(ledger).is_refused()
    }

    /// Whether the ledger of sends takes no new entries. Its remaining room is reserved for outcomes.
    pub fn is_ledger_full(&self) -> bool {
        self.fill.is_full(StreamId::Sends)
    }

    /// Whether senders may write compact entries into the ledger of sends: the latest `setup` was that of a version that
    /// has them. False until the ledger was checked ([`crate::fill`]).
    pub fn is_ledger_compact(&self) -> bool {
        self.compact_ledger.load(Ordering::Relaxed)
    }

    /// Whether the client is connected now.
    pub fn is_connected(&self) -> bool {
        // The event of a new connection may come late; the client's own state does not.
        self.is_up.load(Ordering::Relaxed) || self.client.connection_state() == connection::State::Connected
    }

    /// Whether the bus is known to be away: the client has had no connection for 250 ms.
    pub fn is_away(&self) -> bool {
        self.away.is_away()
    }

    /// Whether the client is connected, and if not, why not, as far as the client knows.
    ///
    /// # Errors
    /// A text for people that says what is wrong.
    pub fn connection(&self) -> Result<(), String> {
        if self.is_connected() {
            return Ok(());
        }
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if fault.is_empty() {
            Err("not connected".to_owned())
        } else {
            Err(format!("not connected: {fault}"))
        }
    }

    /// Waits until the client is connected.
    pub async fn connected(&self) {
        let mut connections = self.connections.clone();
        while !self.is_connected() {
            // The state follows the event with a delay, hence the time limit.
            let _ = tokio::time::timeout(Duration::from_millis(20), connections.changed()).await;
        }
    }

    /// Changes when the connection was established again.
    pub(crate) fn connections(&self) -> watch::Receiver<u64> {
        self.connections.clone()
    }

    /// Number of the current connection, from 1. Writes of an earlier connection no longer arrive.
    pub fn connection_number(&self) -> u64 {
        *self.connections.borrow()
    }

    /// Sends what is buffered, such as acks. Gives up after `limit`.
    pub async fn flush(&self, limit: Duration) {
        if !matches!(tokio::time::timeout(limit, self.client.flush()).await, Ok(Ok(()))) {
            tracing::warn!(function = "bus", "the last acks may not have been sent");
        }
    }

    /// The version of every server that responds. It waits slightly longer for those named in `wanted`.
    pub async fn server_versions(&self, wanted: &BTreeSet<String>) -> Versions {
        self.servers.versions(self.client.server_info(), self.connection_number(), wanted).await
    }

    /// Version of the server, such as `2.9.10`; empty before the first connection.
    pub fn server_version(&self) -> String {
        self.client.server_info().version
    }
}
