//! Reads the state of Redis, for commands that inspect an installation or set it up
//! ([`functions`](crate::functions)). It leaves the evaluation to the caller, and accesses no file.

use std::time::Duration;

use jiff::Timestamp;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;

use crate::options::RedisOptions;
use crate::store::BlobError;

/// Timeout of a new connection to Redis.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of one response of Redis.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection for diagnostics and for `setup`. It does not read or write files.
#[derive(Clone)]
pub struct Inspector(MultiplexedConnection);

impl std::fmt::Debug for Inspector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inspector")
    }
}

impl Inspector {
    /// Connects.
    ///
    /// # Errors
    /// [`BlobError`] when the URL is invalid, the server does not respond, or it rejects the user.
    pub async fn connect(options: &RedisOptions) -> Result<Self, BlobError> {
        let client = options.client(TcpSettings::default().set_nodelay(true)).map_err(BlobError::Url)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Self(connection))
    }

    pub(crate) fn connection(&mut self) -> &mut MultiplexedConnection {
        &mut self.0
    }

    /// The response to `INFO`: lines of `name:value`.
    ///
    /// # Errors
    /// [`BlobError`]; one cause is a missing permission of the user.
    pub async fn info(&mut self) -> Result<String, BlobError> {
        Ok(redis::cmd("INFO").query_async(&mut self.0).await?)
    }

    /// The server's time.
    ///
    /// # Errors
    /// [`BlobError`]; one cause is a missing permission of the user.
    pub async fn time(&mut self) -> Result<Timestamp, BlobError> {
        let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(&mut self.0).await?;
        let time = Timestamp::from_microsecond(seconds.saturating_mul(1_000_000).saturating_add(micros));
        time.map_err(|_| BlobError::Refused((redis::ErrorKind::Parse, "time out of range").into()))
    }
}
