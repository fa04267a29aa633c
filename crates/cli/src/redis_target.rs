//! Options of the Redis connection, for the commands that use it.

use std::path::PathBuf;

use blob::RedisOptions;
use clap::Args;

use crate::target::read_secret;

#[derive(Args)]
pub(crate) struct RedisTarget {
    /// URL of Redis: redis://user@host:port; the user is `operator`, or `provisioner` for `setup`.
    #[arg(long, env = "IMCHANNEL_REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis_url: Option<String>,
    /// Password of Redis, if it is not in the URL.
    #[arg(long, env = "IMCHANNEL_REDIS_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    redis_password: Option<String>,
    /// File that contains the password.
    #[arg(
        long,
        env = "IMCHANNEL_REDIS_PASSWORD_FILE",
        value_name = "FILE",
        conflicts_with = "redis_password"
    )]
    redis_password_file: Option<PathBuf>,
    /// PEM file of CA certificates that are trusted for a rediss:// server.
    #[arg(long, env = "IMCHANNEL_REDIS_CA_FILE", value_name = "FILE")]
    redis_ca_file: Option<PathBuf>,
}

// URL and password may be secret.
impl std::fmt::Debug for RedisTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisPlace").finish_non_exhaustive()
    }
}

impl RedisTarget {
    /// Returns the connection options, or `None` if no URL is given.
    ///
    /// # Errors
    /// If the password file cannot be read.
    pub(crate) fn read(self) -> anyhow::Result<Option<RedisOptions>> {
        // Compose files set variables to empty values.
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let is_given = |file: &PathBuf| !file.as_os_str().is_empty();
        let Some(url) = given(self.redis_url) else { return Ok(None) };
        let password = match self.redis_password_file.filter(is_given) {
            Some(file) => Some(read_secret(&file)?),
            None => self.redis_password,
        };
        let (password, ca_file) = (given(password), self.redis_ca_file.filter(is_given));
        Ok(Some(RedisOptions { url, password, ca_file }))
    }
}
