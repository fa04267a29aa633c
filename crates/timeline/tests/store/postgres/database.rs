//! Databases of a server that the tests share: it is started for the first, and ends with the last.

use std::sync::{Arc, Weak};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use servers::PostgresServer;
use tempfile::TempDir;
use timeline::row::Keys;
use timeline::store::Store;
use timeline::store::postgres::PostgresStore;
use tokio::sync::{Mutex, OnceCell};

use crate::engine::Engine;
use crate::sample::keys;

static SERVER: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());

/// A server and the folder of its data.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) postgres: PostgresServer,
    _folder: TempDir,
}

impl Server {
    /// A server that only the caller has.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A killed server loses nothing: the system keeps what was written.
        let args = ["-c", "fsync=off", "-c", "max_connections=400"].map(str::to_owned).to_vec();
        let postgres = PostgresServer::start(folder.path().to_owned(), args).await.unwrap();
        Self { postgres, _folder: folder }
    }

    /// A client of a database, with all rights.
    pub(crate) async fn sql(&self, database: &str) -> tokio_postgres::Client {
        connect(&self.postgres.url(database)).await
    }
}

/// A client of the database of a URL.
pub(crate) async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Waits until there is a value; panics with a text after half a minute.
pub(crate) async fn eventually<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        if let Some(value) = found().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < until, "timed out: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A database.
#[derive(Default)]
pub(crate) struct Shared(OnceCell<(Arc<Server>, String)>);

impl Shared {
    /// An empty database of its own.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Its URL.
    pub(crate) async fn url(&self) -> String {
        let make = async || {
            let server = shared().await;
            let name = format!("t{:016x}", u64::from_le_bytes(random()));
            let client = server.sql("postgres").await;
            client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
            let url = server.postgres.url(&name);
            (server, url)
        };
        self.0.get_or_init(make).await.1.clone()
    }

    /// Opens the store of the database.
    pub(crate) async fn store(&self) -> PostgresStore {
        PostgresStore::open(&self.url().await, &keys()).await.unwrap()
    }

    /// Opens it with other keys.
    pub(crate) async fn store_with(&self, keys: &Keys) -> Result<PostgresStore, timeline::store::StoreError> {
        PostgresStore::open(&self.url().await, keys).await
    }
}

fn random() -> [u8; 8] {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

async fn shared() -> Arc<Server> {
    let mut shared = SERVER.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(Server::start().await);
    *shared = Arc::downgrade(&server);
    server
}

impl Engine for Shared {
    fn open(&self) -> BoxFuture<'_, Box<dyn Store>> {
        async { Box::new(self.store().await) as Box<dyn Store> }.boxed()
    }

    /// What is committed does not depend on the process that stored it.
    fn killed(&self) -> BoxFuture<'_, Box<dyn Store>> {
        self.open()
    }
}
