//! Connections to PostgreSQL: a few, used again, made again when the server has closed them.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio_postgres::{Client, Config};

use crate::store::error::{StoreError, StoreFault};
use crate::store::postgres::schema::SCHEMA;
use crate::store::postgres::tls::Tls;

/// Most connections of one process at a time, besides those of its leases. More work waits.
const CONNECTIONS_MAX: usize = 8;
/// Timeout of a connection's start, if the URL has none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time after which the system gives up a connection whose peer does not answer, if the URL has none.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);

/// Settings of each session. Every query has an index: a plan without it comes from missing statistics of a new day. Their
/// high estimates would start the compiler of plans.
const SESSION: &str =
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;
SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '60s'";

/// Connections that are used again.
pub(super) struct Pool {
    config: Config,
    tls: Tls,
    turns: Semaphore,
    idle: Mutex<Vec<Client>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration has a password.
        f.debug_struct("Pool").field("hosts", &self.config.get_hosts()).finish_non_exhaustive()
    }
}

impl Pool {
    /// Connections to the server of a URL. Nothing is connected yet.
    pub(super) fn new(url: &str) -> Result<Self, StoreError> {
        let mut config: Config = url.parse().map_err(|_| {
            // The parser's text may repeat a part of the URL.
            let text = "IMCHANNEL_TIMELINE_URL is not a URL of PostgreSQL; write \
                        postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=require";
            StoreError::new(StoreFault::Damaged, text, None)
        })?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(PEER_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("imchannel-timeline");
        }
        let tls = Tls::new().map_err(|error| {
            StoreError::new(StoreFault::Damaged, "TLS cannot be used", Some(Box::new(error)))
        })?;
        Ok(Self { config, tls, turns: Semaphore::new(CONNECTIONS_MAX), idle: Mutex::default() })
    }

    /// A connection that answers.
    pub(super) async fn lend(&self) -> Result<Lent<'_>, StoreError> {
        let turn = self.turns.acquire().await.map_err(|error| {
            StoreError::new(StoreFault::Unavailable, "the store is closed", Some(Box::new(error)))
        })?;
        while let Some(client) = self.take_idle() {
            // The server may have been restarted since.
            if client.check_connection().await.is_ok() {
                return Ok(Lent { client: Some(client), pool: self, _turn: turn });
            }
        }
        let (client, _) = self.connect().await?;
        Ok(Lent { client: Some(client), pool: self, _turn: turn })
    }

    fn take_idle(&self) -> Option<Client> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// A new connection, and what is notified of its end.
    pub(super) async fn connect(&self) -> Result<(Client, oneshot::Receiver<()>), StoreError> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        let (ends, ended) = oneshot::channel();
        tokio::spawn(async move {
            // What was asked for when it failed has the error.
            let _ = connection.await;
            drop(ends);
        });
        client.batch_execute(SESSION).await?;
        client.batch_execute(&format!("SET search_path = {SCHEMA}")).await?;
        Ok((client, ended))
    }
}

/// A connection that goes back to the pool when it is dropped.
pub(super) struct Lent<'a> {
    client: Option<Client>,
    pool: &'a Pool,
    _turn: SemaphorePermit<'a>,
}

impl Deref for Lent<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut Client {
        self.client.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take().filter(|client| !client.is_closed()) {
            self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
        }
    }
}
