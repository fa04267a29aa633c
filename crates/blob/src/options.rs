//! The options of a connection to Redis.

use std::fmt;
use std::path::PathBuf;

use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo, RedisError, TlsCertificates};

/// Options of a connection to Redis.
#[derive(Clone, Default)]
pub struct RedisOptions {
    /// `redis://host:port`, or `rediss://host:port` for TLS. It may contain a user and a password.
    pub url: String,
    /// Password of the user, if it is not in the URL.
    pub password: Option<String>,
    /// PEM file of CA certificates that are trusted for the server, in addition to those of the system.
    pub ca_file: Option<PathBuf>,
}

impl RedisOptions {
    /// Options with only a URL.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    pub(crate) fn client(&self, tcp: TcpSettings) -> Result<Client, RedisError> {
        let mut info = self.url.as_str().into_connection_info()?.set_tcp_settings(tcp);
        // Do not send the client's name: that needs a separate permission, and Redis 7.0 does not have the
        // command.
        let mut user = info.redis_settings().clone().set_skip_set_lib_name();
        if let Some(password) = &self.password {
            user = user.set_password(password);
        }
        info = info.set_redis_settings(user);
        let Some(file) = &self.ca_file else { return Client::open(info) };
        let root_cert = Some(std::fs::read(file)?);
        Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
    }
}

// URL and password are secret.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions").field("ca_file", &self.ca_file).finish_non_exhaustive()
    }
}
