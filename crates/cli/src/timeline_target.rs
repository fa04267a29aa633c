//! Options that select the timeline, for the commands that ask it. They need neither NATS nor a key.

use std::path::PathBuf;

use clap::Args;

use crate::target::{self, Target};
use crate::timeline_client::Client;

/// URL of the timeline where none is given and no `up` runs in this folder.
const URL_DEFAULT: &str = "http://127.0.0.1:8082";

#[derive(Args)]
pub(crate) struct TimelineTarget {
    /// URL of the timeline [default: that of the `up` in this folder, else http://127.0.0.1:8082].
    #[arg(long, env = "IMCHANNEL_CONSOLE_URL", value_name = "URL")]
    console_url: Option<String>,
    /// Bearer token of the timeline, if it asks for one.
    #[arg(long, env = "IMCHANNEL_CONSOLE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    console_token: Option<String>,
    /// File that contains the token.
    #[arg(long, env = "IMCHANNEL_CONSOLE_TOKEN_FILE", conflicts_with = "console_token", value_name = "FILE")]
    console_token_file: Option<PathBuf>,
}

// The token is secret, and the URL may have a password.
impl std::fmt::Debug for TimelineTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimelineTarget").finish_non_exhaustive()
    }
}

impl TimelineTarget {
    /// A client of that timeline.
    ///
    /// # Errors
    /// The URL or the token is invalid, or the token's file cannot be read.
    pub(crate) fn client(&self, target: &Target) -> anyhow::Result<Client> {
        Client::new(&self.url(target), self.token()?)
    }

    fn url(&self, target: &Target) -> String {
        // Compose files set variables to empty values.
        let given = self.console_url.clone().filter(|url| !url.is_empty());
        let url = given.or_else(|| target.console_of_up());
        url.unwrap_or_else(|| URL_DEFAULT.to_owned()).trim_end_matches('/').to_owned()
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        match self.console_token_file.as_ref().filter(|file| !file.as_os_str().is_empty()) {
            Some(file) => Ok(Some(target::read_secret(file)?)),
            None => Ok(self.console_token.clone().filter(|token| !token.is_empty())),
        }
    }
}
