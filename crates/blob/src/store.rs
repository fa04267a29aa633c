//! The connection to Redis, and the reading of files.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bsp::media::{MediaId, SNIFFED_BYTES};
use bytes::Bytes;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{FromRedisValue, Pipeline, RedisError};

use crate::meta::{FIELDS, Meta, data_key, meta_key, unfinished_key};
use crate::options::RedisOptions;

/// Bytes of one read or write. Measured: smaller windows take more time, larger windows delay the other
/// clients of the server.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes that are read together with the metadata when a file is opened. Most pictures are smaller than this.
pub const FIRST_BYTES: usize = 128 * 1024;
/// Connections for reads and writes of file content. Each connection serves its requests in sequence.
const CONNECTIONS: usize = 4;
/// Timeout of a new connection to Redis.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of the health check (`PING`).
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// TCP user timeout (`TCP_USER_TIMEOUT`): a connection whose sent data is not acknowledged for this long is closed.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);
/// Timeout of one response of Redis.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A request to Redis failed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Redis has no memory left for files, and its configuration forbids eviction.
    #[error("Redis is out of memory")]
    OutOfMemory,
    /// Redis did not respond, or not in time.
    #[error("Redis does not answer")]
    Unavailable(#[source] RedisError),
    /// Redis responded with an error.
    #[error("Redis returned an error: {}", why(.0))]
    Refused(#[source] RedisError),
    /// The URL is invalid, or the CA file cannot be read.
    #[error("invalid Redis URL, or unreadable CA file")]
    Url(#[source] RedisError),
    /// Redis lacks the functions of this version: after a `FUNCTION FLUSH`, or on an empty Redis.
    #[error(
        "Redis lacks the functions of this version: run `imchannel setup` with IMCHANNEL_REDIS_URL, as Redis's user `provisioner`"
    )]
    NoFunctions,
    /// The functions may be loaded, but the user lacks the permission to call them.
    #[error(
        "the Redis user lacks the permission to call functions: grant it `+fcall` (deploy/redis/users.acl)"
    )]
    MayNotCall(#[source] RedisError),
    /// The file expired during the upload.
    #[error("the file expired during the upload")]
    Expired,
}

/// The cause, for an operator. Only the error code is shown, because the server's text may contain keys.
fn why(error: &RedisError) -> String {
    let is_login = |code: &str| matches!(code, "WRONGPASS" | "NOAUTH");
    match error.code() {
        Some(code) if is_login(code) => login(code),
        Some("NOPERM") => "NOPERM; the user lacks a permission (see deploy/redis/users.acl)".to_owned(),
        Some(code) => code.to_owned(),
        None if error.kind() == redis::ErrorKind::AuthenticationFailed => login("WRONGPASS"),
        None => "(no error code)".to_owned(),
    }
}

fn login(code: &str) -> String {
    format!("{code}; check the user in IMCHANNEL_REDIS_URL and the password in IMCHANNEL_REDIS_PASSWORD_FILE")
}

impl From<RedisError> for BlobError {
    fn from(error: RedisError) -> Self {
        // The error of a pipeline or a transaction has no code; its text contains the codes of the failed
        // commands.
        let text = error.to_string();
        if text.contains("OOM") {
            return Self::OutOfMemory;
        }
        let is_away = error.is_io_error() || error.is_timeout() || error.is_connection_dropped();
        // A server that is loading its data is unavailable too.
        if is_away || text.contains("LOADING") { Self::Unavailable(error) } else { Self::Refused(error) }
    }
}

/// A file that was found.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Its metadata; `None` for a file of an older IMChannel, which stored none.
    pub meta: Option<Meta>,
    /// Its size, in bytes.
    pub size: u64,
    /// Its first bytes.
    pub first: Bytes,
}

/// A new TTL of a file.
#[derive(Debug, Clone)]
pub struct Expiry {
    /// The file.
    pub id: MediaId,
    /// The TTL, from now on.
    pub after: Duration,
    /// Whether it applies only if it is longer than the current TTL.
    pub only_longer: bool,
}

/// The file that was found. `None` if there is no file, or if another version wrote it and its tenant is
/// unknown.
fn opened(values: Vec<Option<String>>, size: u64, first: Vec<u8>) -> Option<Opened> {
    if first.is_empty() {
        return None;
    }
    let first = first.into();
    if values.iter().all(Option::is_none) {
        return Some(Opened { meta: None, size, first });
    }
    let meta = Meta::from_values(values.try_into().ok()?)?;
    Some(Opened { meta: Some(meta), size, first })
}

/// The store of files. Clones share the connections, which reconnect by themselves.
///
/// # Examples
/// ```no_run
/// use blob::{BlobStore, RedisOptions};
/// use bsp::media::MediaId;
///
/// # async fn example(id: &MediaId) -> Result<(), blob::BlobError> {
/// let store = BlobStore::new(&RedisOptions::at("redis://127.0.0.1:6379"))?;
/// store.ping().await?;
/// match store.open(id).await? {
///     Some(file) => println!("{} bytes, of which {} are read", file.size, file.first.len()),
///     None => println!("no such file"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BlobStore(Arc<Shared>);

struct Shared {
    client: redis::Client,
    connections: [ArcSwap<ConnectionManager>; CONNECTIONS],
    next: AtomicUsize,
}

/// A connection that is opened by its first request. If the server is unreachable, that request fails soon
/// and the next one retries.
fn connect(client: &redis::Client) -> Result<ConnectionManager, BlobError> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_number_of_retries(1)
        .set_max_delay(Duration::from_millis(200));
    ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(BlobError::Url)
}

impl fmt::Debug for BlobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobStore")
    }
}

impl BlobStore {
    /// Prepares to connect. Nothing is sent yet.
    ///
    /// # Errors
    /// [`BlobError::Url`].
    pub fn new(options: &RedisOptions) -> Result<Self, BlobError> {
        // Detects an unreachable server. The kernel alone would take about 15 minutes.
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(TCP_USER_TIMEOUT);
        let client = options.client(tcp).map_err(BlobError::Url)?;
        let mut connections = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            connections.push(ArcSwap::from_pointee(connect(&client)?));
        }
        let connections =
            connections.try_into().unwrap_or_else(|_| unreachable!("the array has CONNECTIONS elements"));
        Ok(Self(Arc::new(Shared { client, connections, next: AtomicUsize::new(0) })))
    }

    pub(crate) fn connection(&self) -> ConnectionManager {
        let place = self.0.next.fetch_add(1, Ordering::Relaxed) % CONNECTIONS;
        ConnectionManager::clone(&self.0.connections[place].load())
    }

    /// Checks every connection. Replaces a connection that the client would not replace itself: one that was
    /// rejected, that does not respond, or whose server has become a replica.
    ///
    /// # Errors
    /// [`BlobError`] if a connection fails.
    pub async fn ping(&self) -> Result<(), BlobError> {
        let pings = (0..CONNECTIONS).map(|place| self.ping_one(place));
        futures_util::future::join_all(pings).await.into_iter().collect()
    }

    async fn ping_one(&self, place: usize) -> Result<(), BlobError> {
        let mut connection = ConnectionManager::clone(&self.0.connections[place].load());
        // Use a write, because a replica rejects it.
        let mut ping = redis::cmd("UNLINK");
        let asked = ping.arg("IMChannel:MultimediaMessage:none").exec_async(&mut connection);
        let error = match tokio::time::timeout(PING_TIMEOUT, asked).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => BlobError::from(error),
            Err(_) => {
                BlobError::Unavailable((redis::ErrorKind::Io, "no response to the health check").into())
            }
        };
        if let Ok(fresh) = connect(&self.0.client) {
            self.0.connections[place].store(Arc::new(fresh));
        }
        Err(error)
    }

    /// Reads a file's metadata and its first [`FIRST_BYTES`] bytes; `None` if the file does not exist. This
    /// is one round trip in nearly all cases.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn open(&self, id: &MediaId) -> Result<Option<Opened>, BlobError> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("HMGET").arg(meta_key(id)).arg(&FIELDS);
        pipeline.getrange(data_key(id), 0, FIRST_BYTES as isize - 1);
        let (values, first): (Vec<Option<String>>, Vec<u8>) = self.read(&pipeline).await?;
        if first.len() < FIRST_BYTES {
            let size = first.len() as u64;
            return Ok(opened(values, size, first));
        }
        // The file is larger than the bytes that were read. Without a second request, only its hash tells its
        // size.
        match opened(values, 0, first) {
            Some(Opened { meta: Some(meta), first, .. }) => {
                Ok(Some(Opened { size: meta.size, meta: Some(meta), first }))
            }
            Some(Opened { meta: None, first, .. }) => {
                let size = self.size(id).await?;
                Ok(Some(Opened { meta: None, size, first }))
            }
            None => Ok(None),
        }
    }

    /// Reads a file's metadata and enough first bytes to detect its type; `None` if the file does not exist.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn stat(&self, id: &MediaId) -> Result<Option<Opened>, BlobError> {
        let key = data_key(id);
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.cmd("HMGET").arg(meta_key(id)).arg(&FIELDS);
        pipeline.strlen(&key).getrange(&key, 0, SNIFFED_BYTES as isize - 1);
        let (values, size, first): (Vec<Option<String>>, u64, Vec<u8>) = self.read(&pipeline).await?;
        Ok(opened(values, size, first))
    }

    async fn size(&self, id: &MediaId) -> Result<u64, BlobError> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.strlen(data_key(id));
        let (size,): (u64,) = self.read(&pipeline).await?;
        Ok(size)
    }

    /// Reads up to `length` bytes of a file from offset `from`. Returns fewer at the end of the file, or if
    /// it has expired.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn read_range(&self, id: &MediaId, from: u64, length: usize) -> Result<Bytes, BlobError> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("GETRANGE").arg(data_key(id)).arg(from).arg(from + length as u64 - 1);
        let (bytes,): (Vec<u8>,) = self.read(&pipeline).await?;
        Ok(bytes.into())
    }

    /// Reads. Retries once if the connection is dead: the client is then reconnecting.
    async fn read<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, BlobError> {
        let mut connection = self.connection();
        match pipeline.query_async(&mut connection).await {
            Err(error) if error.is_connection_dropped() || error.is_connection_refusal() => {
                Ok(pipeline.query_async(&mut connection).await?)
            }
            read => Ok(read?),
        }
    }

    /// Removes a file with its metadata, also one whose upload has not ended. Returns whether there was one.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn remove(&self, id: &MediaId) -> Result<bool, BlobError> {
        let mut pipeline = Pipeline::with_capacity(2);
        // The keys of a file may be in different slots of a cluster, so each has a command.
        pipeline.cmd("UNLINK").arg(data_key(id));
        for key in [meta_key(id), unfinished_key(id)] {
            pipeline.cmd("UNLINK").arg(key).ignore();
        }
        let (removed,): (u64,) = pipeline.query_async(&mut self.connection()).await?;
        self.untrack_fetches(std::iter::once(id)).await?;
        Ok(removed > 0)
    }

    /// Extends the TTL of a file and its metadata to at least `to`. Returns whether the file exists. A file
    /// without a TTL stays without one. Needs Redis 7.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn extend_ttl(&self, id: &MediaId, to: Duration) -> Result<bool, BlobError> {
        let is_there = self.set_expiries(&[Expiry { id: id.clone(), after: to, only_longer: true }]).await?;
        Ok(is_there == [true])
    }

    /// Sets the TTLs of several files in one round trip, and returns for each whether it exists.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn set_expiries(&self, expiries: &[Expiry]) -> Result<Vec<bool>, BlobError> {
        let mut pipeline = Pipeline::with_capacity(3 * expiries.len());
        for Expiry { id, after, only_longer } in expiries {
            let after_ms = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
            for key in [data_key(id), meta_key(id)] {
                pipeline.cmd("PEXPIRE").arg(key).arg(after_ms);
                if *only_longer {
                    pipeline.arg("GT");
                }
                pipeline.ignore();
            }
            pipeline.exists(data_key(id));
        }
        Ok(pipeline.query_async(&mut self.connection()).await?)
    }
}
