//! Connections to PostgreSQL: a few, used again, made again when the server has closed them.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::AbortHandle;
use tokio_postgres::{Client, Config};
use tokio_util::sync::CancellationToken;

use crate::store::error::{StoreError, StoreFault};
use crate::store::postgres::address;
use crate::store::postgres::schema::SCHEMA;
use crate::store::postgres::tls::Tls;

/// Most connections of one process for answers. More questions wait.
const ANSWERING_MAX: usize = 6;
/// Most connections of one process for batches: they wait for one another anyway.
const WRITING_MAX: usize = 1;
/// How long a fault is shown after the last time that it was met.
const FAULT_SHOWN: Duration = Duration::from_secs(60);

/// Settings of each session. Every query has an index: a plan without it comes from missing statistics of a new day. Their
/// high estimates would start the compiler of plans. The server ends what a client that is gone has begun, and within
/// seconds, because other clients wait for its locks.
const SESSION: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;
SET idle_in_transaction_session_timeout = '10s'; SET client_connection_check_interval = '2s';
SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 2; SET tcp_user_timeout = '15s'";

/// Timeout of a statement, if the URL's `options` have none.
const STATEMENT_TIMEOUT: &str = "SET statement_timeout = '60s'";

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Answers.
    Answer,
    /// Batches, and all else that changes rows.
    Write,
}

/// The fault that was met last.
#[derive(Debug)]
struct LastFault {
    text: String,
    at: Instant,
}

/// The connections of one purpose.
struct Connections {
    turns: Semaphore,
    idle: Mutex<Vec<Connected>>,
    fault: Mutex<Option<LastFault>>,
}

impl Connections {
    fn new(most: usize) -> Self {
        Self { turns: Semaphore::new(most), idle: Mutex::default(), fault: Mutex::default() }
    }

    fn take_idle(&self) -> Option<Connected> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Notes how a use ended.
    fn note(&self, error: Option<&StoreError>) {
        let fault = error.map(|error| LastFault { text: words(error), at: Instant::now() });
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

/// Connections that are used again.
pub(super) struct Pool {
    config: Config,
    tls: Tls,
    answering: Connections,
    writing: Connections,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration has a password.
        f.debug_struct("Pool").field("hosts", &self.config.get_hosts()).finish_non_exhaustive()
    }
}

/// A connection. It is closed when it is dropped, also while it waits for an answer.
pub(super) struct Connected {
    pub(super) client: Client,
    /// Canceled when the connection has ended.
    pub(super) ended: CancellationToken,
    end: AbortHandle,
}

impl Connected {
    /// Closes it. Without a client it would still wait for the answers to what was asked.
    pub(super) fn end(&self) {
        self.end.abort();
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.end();
    }
}

impl Pool {
    /// Connections to the server of a URL. Nothing is connected yet.
    pub(super) fn new(url: &str) -> Result<Self, StoreError> {
        let address = address::parse(url)?;
        let tls = Tls::new(address.roots.as_deref())?;
        let (answering, writing) = (Connections::new(ANSWERING_MAX), Connections::new(WRITING_MAX));
        Ok(Self { config: address.config, tls, answering, writing })
    }

    /// A connection that answers. [`Lent::give_back`] keeps it for others.
    pub(super) async fn lend(&self, purpose: Purpose) -> Result<Lent<'_>, StoreError> {
        let connections = match purpose {
            Purpose::Answer => &self.answering,
            Purpose::Write => &self.writing,
        };
        let turn = connections.turns.acquire().await.map_err(|error| {
            StoreError::new(StoreFault::Unavailable, "the store is closed", Some(Box::new(error)))
        })?;
        while let Some(connected) = connections.take_idle() {
            // The server may have been restarted since.
            if connected.client.check_connection().await.is_ok() {
                return Ok(Lent { connected, connections, _turn: turn });
            }
        }
        match self.connect().await {
            Ok(connected) => Ok(Lent { connected, connections, _turn: turn }),
            Err(error) => {
                connections.note(Some(&error));
                Err(error)
            }
        }
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Connected, StoreError> {
        self.try_connect().await.inspect_err(|error| self.answering.note(Some(error)))
    }

    async fn try_connect(&self) -> Result<Connected, StoreError> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        let ended = CancellationToken::new();
        let notify = ended.clone().drop_guard();
        let task = tokio::spawn(async move {
            let _notify = notify;
            // What was asked for when it failed has the error.
            let _ = connection.await;
        });
        let connected = Connected { client, ended, end: task.abort_handle() };
        let client = &connected.client;
        client.batch_execute(SESSION).await?;
        if !self.config.get_options().is_some_and(|options| options.contains("statement_timeout")) {
            client.batch_execute(STATEMENT_TIMEOUT).await?;
        }
        client.batch_execute(&format!("SET search_path = {SCHEMA}")).await?;
        Ok(connected)
    }

    /// Whether the last uses succeeded.
    pub(super) fn condition(&self) -> Result<(), String> {
        for connections in [&self.writing, &self.answering] {
            let fault = connections.fault.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(fault) = fault.as_ref().filter(|fault| fault.at.elapsed() < FAULT_SHOWN) {
                return Err(fault.text.clone());
            }
        }
        Ok(())
    }
}

/// An error and its causes.
fn words(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A connection that is closed when it is dropped: what it was asked for may still run.
pub(super) struct Lent<'a> {
    connected: Connected,
    connections: &'a Connections,
    _turn: SemaphorePermit<'a>,
}

impl Lent<'_> {
    /// Keeps the connection for others, if what it was used for succeeded.
    pub(super) fn give_back<T>(self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.connections.note(result.as_ref().err());
        if result.is_ok() && !self.connected.client.is_closed() {
            self.connections.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.connected);
        }
        result
    }
}

impl Deref for Lent<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.connected.client
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.connected.client
    }
}
