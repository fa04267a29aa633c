//! The connection to NATS: it reconnects by itself, and reports its state at any time.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, Event, connection};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::dead_letter_quotas::DeadLetterQuotas;
use crate::in_flight::{InFlight, InFlightMetrics};
use crate::nkey::NkeySeed;
use crate::permission_errors::{PermissionError, PermissionErrors, is_permission_error};
use crate::sequence::{SequenceRegressedGauge, Sequences};
use crate::stream_id::StreamId;
use crate::streams::STREAMS;
use crate::versions::{Servers, Versions};

/// Longest delay between two attempts to connect. The client's own delay grows to 4 s, which would break the promise to
/// serve again within 2 s of the server's return.
const RECONNECT_DELAY_MAX: Duration = Duration::from_millis(500);
/// Interval of the client's pings. The third unanswered ping closes the connection.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Timeout of a connection to one server. The next server of the list is tried after it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Most publishes of a process that wait for their acks, for each ack timeout.
const ACKS_IN_FLIGHT_MAX: usize = 8192;
/// Timeout of one JetStream API request. Publishes have deadlines of their own in [`crate::publish`].
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for which an abandoned publish still counts as in flight.
const ABANDONED_ACK_TIMEOUT: Duration = Duration::from_secs(1);

/// Options of a connection to the bus.
#[derive(Clone)]
pub struct BusOptions {
    /// URLs of the servers, comma-separated: `nats://host:port` or `tls://host:port`.
    pub url: String,
    /// Name of the connection in the server's monitoring. Responses to this client's requests are delivered to
    /// `_INBOX_{name}`, which no other user may read.
    pub name: &'static str,
    /// Seed of the NATS user, for a server that authenticates.
    pub nkey: Option<NkeySeed>,
    /// PEM file of CA certificates that are trusted for the server, in addition to those of the system.
    pub ca_file: Option<PathBuf>,
    /// Receives the first permission error of this client. Each of them is logged.
    pub refusals: PermissionErrors,
    /// Gauge: 1 while connected.
    pub connected: Gauge,
    /// Metrics of the publishes in flight and waiting.
    pub in_flight: InFlightMetrics,
    /// Gauge by stream: 1 while its sequence has gone back.
    pub gone_back: SequenceRegressedGauge,
}

impl BusOptions {
    /// Options without a user.
    pub fn new(name: &'static str, url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            name,
            nkey: None,
            ca_file: None,
            refusals: PermissionErrors::default(),
            connected: Gauge::default(),
            in_flight: InFlightMetrics::default(),
            gone_back: SequenceRegressedGauge::default(),
        }
    }

    /// Registers the metrics of the connection.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("nats");
        registry.register("connected", "1 while connected to NATS, otherwise 0", self.connected.clone());
        self.in_flight.register(registry);
        let help = "1 for a stream whose sequence has gone back and that needs `imchannel streams repair`, otherwise 0";
        registry.register("sequence_gone_back", help, self.gone_back.clone());
    }
}

// The URL may hold a password.
impl fmt::Debug for BusOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusOptions").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The connection could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to NATS")]
pub struct ConnectError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl ConnectError {
    /// Whether the server does not respond, so that a retry may help. It is false for a wrong URL, key or certificate.
    pub fn is_unreachable(&self) -> bool {
        use async_nats::ConnectErrorKind::{Dns, Io, TimedOut};
        let error = self.0.downcast_ref::<async_nats::ConnectError>();
        error.is_some_and(|error| matches!(error.kind(), Dns | Io | TimedOut))
    }

    /// Whether the server does not know the user, or demands one.
    pub fn is_auth_error(&self) -> bool {
        use async_nats::ConnectErrorKind::{Authentication, AuthorizationViolation};
        let error = self.0.downcast_ref::<async_nats::ConnectError>();
        error.is_some_and(|error| matches!(error.kind(), Authentication | AuthorizationViolation))
    }
}

/// Ack timeouts of publishes in milliseconds, longest first: slightly less than half of each deadline, and the shortest
/// attempt. The client keeps a timer for each publish; using a few fixed timeouts saves a second timer.
const ACK_TIMEOUTS_MS: [u64; 5] = [5900, 3900, 2400, 950, ACK_TIMEOUT_MIN_MS];
/// Shortest ack timeout of an attempt, in milliseconds.
pub(crate) const ACK_TIMEOUT_MIN_MS: u64 = 250;

/// Contexts to publish with, by their ack timeout.
#[derive(Clone)]
pub(crate) struct PublishContexts([Context; ACK_TIMEOUTS_MS.len()]);

impl PublishContexts {
    /// Returns the context with the longest timeout within `limit`, or the shortest of all.
    pub(crate) fn within(&self, limit: Duration) -> &Context {
        &self.0[position_within(limit)]
    }

    /// Returns the context with the shortest timeout beyond `limit`, or the longest of all.
    pub(crate) fn beyond(&self, limit: Duration) -> &Context {
        let is_beyond = |timeout_ms: &u64| Duration::from_millis(*timeout_ms) > limit;
        &self.0[ACK_TIMEOUTS_MS.iter().rposition(is_beyond).unwrap_or_default()]
    }
}

/// Returns the index of the longest timeout within `limit`, or of the shortest.
fn position_within(limit: Duration) -> usize {
    let place = ACK_TIMEOUTS_MS.iter().position(|timeout_ms| Duration::from_millis(*timeout_ms) <= limit);
    place.unwrap_or(ACK_TIMEOUTS_MS.len() - 1)
}

fn context(client: &Client, timeout: Duration) -> Context {
    ContextBuilder::new()
        .timeout(timeout)
        .ack_timeout(ABANDONED_ACK_TIMEOUT)
        .max_ack_inflight(ACKS_IN_FLIGHT_MAX)
        .backpressure_on_inflight(false)
        .build(client.clone())
}

/// A connection to the bus. Clones share it.
#[derive(Clone)]
pub struct Bus {
    pub(crate) client: Client,
    pub(crate) jetstream: Context,
    pub(crate) publishers: PublishContexts,
    /// Number of times that the connection was established.
    connections: watch::Receiver<u64>,
    /// State after the client's last event. Every publish reads it, and the client's own state is behind a lock.
    is_up: Arc<AtomicBool>,
    /// Why the last attempt to connect failed; empty while connected.
    fault: Arc<Mutex<String>>,
    /// Which streams are full, in the order of [`StreamId::ALL`].
    full: Arc<[AtomicBool; StreamId::ALL.len()]>,
    /// The stores in flight of each stream that is no bucket, in the order of [`StreamId::ALL`].
    in_flight: [Arc<InFlight>; STREAMS.len()],
    pub(crate) servers: Arc<Servers>,
    pub(crate) sequences: Arc<Sequences>,
    pub(crate) letters: Arc<DeadLetterQuotas>,
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
        Self::open(options, true).await
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
        Self::open(options, false).await
    }

    async fn open(options: &BusOptions, retry: bool) -> Result<Self, ConnectError> {
        let servers: Result<Vec<async_nats::ServerAddr>, _> =
            options.url.split(',').map(|url| url.trim().parse()).collect();
        let servers = servers.map_err(|error: std::io::Error| ConnectError(error.into()))?;
        let addresses = servers.iter().map(|server| format!("{}:{}", server.host(), server.port())).collect();
        let (connected, connections) = watch::channel(0);
        let is_up = Arc::new(AtomicBool::new(false));
        let sequences = Arc::new(Sequences::new(options.gone_back.clone()));
        let fault = Arc::new(Mutex::new(String::new()));
        let events = ConnectionEvents {
            connected,
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
        if retry {
            connect = connect.retry_on_initial_connect();
        }
        let client = connect.connect(servers).await.map_err(|error| ConnectError(error.into()))?;
        let jetstream = context(&client, REQUEST_TIMEOUT);
        let publishers = PublishContexts(
            ACK_TIMEOUTS_MS.map(|timeout_ms| context(&client, Duration::from_millis(timeout_ms))),
        );
        let now = tokio::time::Instant::now();
        Ok(Self {
            client,
            jetstream,
            publishers,
            connections,
            is_up,
            fault,
            full: Arc::default(),
            in_flight: std::array::from_fn(|place| {
                InFlight::new(StreamId::ALL[place].name(), &options.in_flight, now)
            }),
            servers: Arc::new(Servers::new(addresses)),
            sequences,
            letters: Arc::default(),
        })
    }

    /// Sets whether a stream is full. Publishes to a full stream wait, or fail as if the server had refused them.
    pub(crate) fn set_full(&self, stream: StreamId, is_full: bool) {
        self.full[stream as usize].store(is_full, Ordering::Relaxed);
    }

    pub(crate) fn is_full(&self, stream: StreamId) -> bool {
        self.full[stream as usize].load(Ordering::Relaxed)
    }

    /// Returns the stores in flight of a stream that is no bucket.
    pub(crate) fn in_flight(&self, stream: StreamId) -> &Arc<InFlight> {
        &self.in_flight[stream as usize]
    }

    /// Whether every stream that a guard watches can be trusted ([`crate::sequence_guard`]).
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
        self.is_full(StreamId::Sends)
    }

    /// Whether the client is connected now.
    pub fn is_connected(&self) -> bool {
        // The event of a new connection may come late; the client's own state does not.
        self.is_up.load(Ordering::Relaxed) || self.client.connection_state() == connection::State::Connected
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

/// What the client's events change.
struct ConnectionEvents {
    /// Number of connections so far.
    connected: watch::Sender<u64>,
    gauge: Gauge,
    is_up: Arc<AtomicBool>,
    sequences: Arc<Sequences>,
    errors: ConnectionErrors,
}

impl ConnectionEvents {
    fn handle(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.sequences.connected();
                self.is_up.store(true, Ordering::Relaxed);
                self.gauge.set(1);
                self.connected.send_modify(|count| *count += 1);
            }
            Event::Disconnected | Event::Closed => {
                self.is_up.store(false, Ordering::Relaxed);
                self.gauge.set(0);
            }
            _ => {}
        }
        self.errors.record(event);
        log_event(event);
    }
}

/// Most different permission errors that are cached. The same errors are repeated constantly.
const PERMISSION_ERRORS_MAX: usize = 100;

/// Permission errors and connection errors, each logged once. A refused request gets no response, so the log is the
/// only place where the error appears.
struct ConnectionErrors {
    known: Mutex<HashSet<String>>,
    fault: Arc<Mutex<String>>,
    refusals: PermissionErrors,
}

impl ConnectionErrors {
    fn record(&self, event: &Event) {
        match event {
            Event::Connected => self.set_error(String::new()),
            Event::ClientError(error) => {
                let text = error.to_string();
                if self.is_new(&text) {
                    tracing::warn!(function = "bus", "no connection to NATS: {text}");
                }
                self.set_error(text);
            }
            Event::ServerError(error) => self.record_permission_error(&error.to_string()),
            _ => {}
        }
    }

    fn record_permission_error(&self, text: &str) {
        if !is_permission_error(text) || !self.is_new(text) {
            return;
        }
        tracing::error!(function = "bus", "NATS refuses: {text}");
        if let Some(refusal) = PermissionError::parse(text) {
            self.refusals.note(refusal);
        }
    }

    fn is_new(&self, text: &str) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < PERMISSION_ERRORS_MAX && known.insert(text.to_owned())
    }

    fn set_error(&self, text: String) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

fn log_event(event: &Event) {
    match event {
        Event::Connected => tracing::info!(function = "bus", "connected to NATS"),
        Event::Disconnected => tracing::warn!(function = "bus", "disconnected from NATS"),
        Event::LameDuckMode => tracing::warn!(function = "bus", "the NATS server is about to stop"),
        Event::SlowConsumer(_) => {
            tracing::error!(function = "bus", "a subscription was too slow and lost messages")
        }
        // Only developers need these; they come with every failed attempt to reconnect.
        Event::ServerError(error) => tracing::debug!(function = "bus", "{error}"),
        Event::ClientError(error) => tracing::debug!(function = "bus", "{error}"),
        Event::Draining | Event::Closed => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_deadline_leaves_time_for_two_attempts() {
        // The time left of a deadline when the first attempt begins is always slightly less than the whole.
        let began = Duration::from_millis(20);
        for bsp in bsp::registry::REGISTRY {
            let half = (bsp.profile().store_deadline - began) / 2;
            let patience = Duration::from_millis(ACK_TIMEOUTS_MS[position_within(half)]);
            assert!(patience <= half && patience * 5 >= half * 4, "{:?}: {patience:?}", bsp.profile().id);
        }
        assert_eq!(ACK_TIMEOUTS_MS[position_within(Duration::ZERO)], ACK_TIMEOUT_MIN_MS);
    }
}
