//! Which installation a command is for.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bus::{Bus, BusOptions, NkeySeed};
use channel::CredentialKey;
use clap::Args;

use crate::out;

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
    /// File that holds the credential key.
    #[arg(
        long,
        global = true,
        env = "IMCHANNEL_CREDENTIAL_KEY_FILE",
        hide_env_values = true,
        conflicts_with = "credential_key",
        value_name = "FILE"
    )]
    pub(crate) credential_key_file: Option<PathBuf>,
    /// File with the nkey seed of a NATS user: the operator, or for `setup`, `streams apply` and `channel` the provisioner.
    #[arg(long, global = true, env = "IMCHANNEL_NATS_NKEY_FILE", value_name = "FILE")]
    nats_nkey_file: Option<PathBuf>,
    /// PEM file of the authority that signed the certificate of a tls:// NATS server.
    #[arg(long, global = true, env = "IMCHANNEL_NATS_CA_FILE", value_name = "FILE")]
    nats_ca_file: Option<PathBuf>,
    /// IP address under which the installation is reached; example secrets are refused unless it is a loopback address [default:
    /// that of NATS].
    #[arg(long, global = true, env = "IMCHANNEL_EXPOSED_ON", value_name = "IP")]
    exposed_on: Option<String>,
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
    /// Connects as the operator, who reads everything; fails at once with a clear word.
    pub(crate) async fn connect(&self) -> anyhow::Result<Bus> {
        connect_now(self.options("imchannel-operator")?).await
    }

    /// Connects as the provisioner, who makes streams, durables and channels; fails at once with a clear word.
    pub(crate) async fn connect_as_provisioner(&self) -> anyhow::Result<Bus> {
        connect_now(self.options("imchannel-provisioner")?).await
    }

    /// How to reach NATS under that name.
    pub(crate) fn options(&self, name: &'static str) -> anyhow::Result<BusOptions> {
        let file = self.nats_nkey_file.as_ref().filter(|file| !file.as_os_str().is_empty());
        let nkey = file.map(|file| {
            let text = read_secret(file)?;
            NkeySeed::parse(&text).with_context(|| format!("{} cannot be used", file.display()))
        });
        Ok(BusOptions {
            nkey: nkey.transpose()?,
            ca_file: self.nats_ca_file.clone().filter(|file| !file.as_os_str().is_empty()),
            refused: Some(say_refused),
            ..BusOptions::new(name, self.url())
        })
    }

    /// Whether the installation is reached by a loopback address: as it was said, or else where its NATS is.
    pub(crate) fn is_on_loopback(&self) -> bool {
        // Compose files set variables that are empty where nothing is meant.
        if let Some(address) = self.exposed_on.as_ref().filter(|address| !address.is_empty()) {
            return address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        }
        self.url().split(',').all(|url| {
            let place = url.trim().rsplit(['@', '/']).next().unwrap_or_default();
            let host = place.rsplit_once(':').map_or(place, |(host, _)| host).trim_matches(['[', ']']);
            LOOPBACK_HOSTS.contains(&host)
        })
    }

    fn url(&self) -> String {
        if let Some(url) = &self.nats_url {
            return url.clone();
        }
        // Its server has another port than the usual one where that was taken.
        let of_up = std::fs::read_to_string(Path::new(DATA_FOLDER_DEFAULT).join(NATS_URL_FILE));
        of_up.as_deref().map_or(NATS_URL_DEFAULT, str::trim).to_owned()
    }

    /// The admin port of the `up` in this folder, unless another installation is meant.
    pub(crate) fn admin_of_up(&self) -> Option<String> {
        if self.nats_url.is_some() {
            return None;
        }
        let text = std::fs::read_to_string(Path::new(DATA_FOLDER_DEFAULT).join(ADMIN_URL_FILE)).ok()?;
        Some(text.trim().to_owned())
    }

    /// The credential key as text, where one is given.
    pub(crate) fn key_text(&self) -> anyhow::Result<Option<String>> {
        match &self.credential_key_file {
            Some(file) => Ok(Some(read_secret(file)?)),
            None => Ok(self.credential_key.clone()),
        }
    }

    /// The credential key.
    pub(crate) fn key(&self) -> anyhow::Result<CredentialKey> {
        let text =
            self.key_text()?.context("set IMCHANNEL_CREDENTIAL_KEY or --credential-key, or its file")?;
        Ok(CredentialKey::new(text.as_bytes())?)
    }
}

/// A secret out of its file.
pub(crate) fn read_secret(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text.trim().to_owned())
}

/// Connects, or says where nobody answers.
pub(crate) async fn connect_now(options: BusOptions) -> anyhow::Result<Bus> {
    // The URL may hold a password, so only its end is named.
    let place = options.url.rsplit(['@', '/']).next().unwrap_or_default().to_owned();
    Bus::connect_now(&options).await.with_context(|| format!("cannot connect to NATS at {place}"))
}

/// A request that the server refuses is never answered: without this a person would only see that time ran out.
fn say_refused(why: &str) {
    out::note(&format!("imchannel: NATS refuses: {why} (is this the right nkey for this command?)"));
}
