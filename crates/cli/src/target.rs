//! Which installation a command is for.

use std::path::Path;

use anyhow::Context;
use bus::{Bus, BusOptions};
use channel::CredentialKey;
use clap::Args;

/// Where NATS is when nobody says and no `up` runs in this folder.
const NATS_URL_DEFAULT: &str = "nats://127.0.0.1:4222";
/// Channels may send to these when the whole gateway, or a simulated BSP, is on one machine.
pub(crate) const LOOPBACK_HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "::1"];
/// Where `up` keeps its data when nobody says.
pub(crate) const DATA_FOLDER_DEFAULT: &str = ".imchannel";
/// In its data folder, `up` writes where its NATS server is.
pub(crate) const NATS_URL_FILE: &str = "nats.url";
/// Where its media service is.
pub(crate) const MEDIA_URL_FILE: &str = "media.url";
/// The token of uploads to it.
pub(crate) const MEDIA_TOKEN_FILE: &str = "media.token";
/// And where its admin port is.
pub(crate) const ADMIN_URL_FILE: &str = "admin.url";

/// The options of every command.
#[derive(Args)]
pub(crate) struct Target {
    /// Where NATS is: nats://host:port [default: that of the `up` in this folder, else nats://127.0.0.1:4222; `up`
    /// itself starts a server of its own].
    #[arg(long, global = true, env = "IMCHANNEL_NATS_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) nats_url: Option<String>,
    /// Key under which webhook credentials are stored, at least 32 characters; the same for all services.
    #[arg(long, global = true, env = "IMCHANNEL_CREDENTIAL_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) credential_key: Option<String>,
    /// Hosts that channels may send to beside *.api.infobip.com, separated by commas.
    #[arg(long, global = true, env = "IMCHANNEL_INFOBIP_HOSTS", value_delimiter = ',', value_name = "HOSTS")]
    pub(crate) infobip_hosts: Vec<String>,
}

// URL and key may be secret.
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("infobip_hosts", &self.infobip_hosts).finish_non_exhaustive()
    }
}

impl Target {
    /// Connects, or fails at once with a clear word.
    pub(crate) async fn connect(&self) -> anyhow::Result<Bus> {
        if let Some(url) = &self.nats_url {
            return connect(url).await;
        }
        // Its server has another port than the usual one where that was taken.
        let of_up = std::fs::read_to_string(Path::new(DATA_FOLDER_DEFAULT).join(NATS_URL_FILE));
        connect(of_up.as_deref().map_or(NATS_URL_DEFAULT, str::trim)).await
    }

    /// The admin port of the `up` in this folder, unless another installation is meant.
    pub(crate) fn admin_of_up(&self) -> Option<String> {
        if self.nats_url.is_some() {
            return None;
        }
        let text = std::fs::read_to_string(Path::new(DATA_FOLDER_DEFAULT).join(ADMIN_URL_FILE)).ok()?;
        Some(text.trim().to_owned())
    }

    /// The credential key.
    pub(crate) fn key(&self) -> anyhow::Result<CredentialKey> {
        let text =
            self.credential_key.as_ref().context("set IMCHANNEL_CREDENTIAL_KEY or --credential-key")?;
        Ok(CredentialKey::new(text.as_bytes())?)
    }
}

/// Connects to the bus at `url`.
pub(crate) async fn connect(url: &str) -> anyhow::Result<Bus> {
    let options = BusOptions { url: url.to_owned(), name: "imchannel" };
    // The URL may hold a password, so only its end is named.
    let place = url.rsplit(['@', '/']).next().unwrap_or_default();
    Bus::connect_now(&options).await.with_context(|| format!("NATS does not answer at {place}"))
}
