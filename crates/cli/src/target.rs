//! Options that select the installation of a command.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bus::{Bus, BusOptions, NkeySeed, PermissionError, PermissionErrors, User};
use channel::CredentialKey;
use clap::Args;

use crate::users::Needed;

/// URL of NATS where none is given and no `up` runs in this folder.
const NATS_URL_DEFAULT: &str = "nats://127.0.0.1:4222";
/// Hosts to which channels may send when the whole gateway, or a simulated BSP, runs on one machine.
pub(crate) const LOOPBACK_HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "::1"];
/// Data folder of `up` where none is given.
pub(crate) const DATA_FOLDER_DEFAULT: &str = ".imchannel";
/// File in the data folder into which `up` writes the URL of its NATS server.
pub(crate) const NATS_URL_FILE: &str = "nats.url";
/// File with the URL of its media service.
pub(crate) const MEDIA_URL_FILE: &str = "media.url";
/// File with the token of uploads to it.
pub(crate) const MEDIA_TOKEN_FILE: &str = "media.token";
/// File with the URL of its admin port.
pub(crate) const ADMIN_URL_FILE: &str = "admin.url";
/// File with the URL of its console.
pub(crate) const CONSOLE_URL_FILE: &str = "console.url";

/// The options of every command.
#[derive(Args)]
pub(crate) struct Target {
    /// URL of NATS: nats://host:port [default: that of the `up` in this folder, else nats://127.0.0.1:4222; `up` itself
    /// starts a separate server].
    #[arg(long, global = true, env = "IMCHANNEL_NATS_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) nats_url: Option<String>,
    /// Key under which webhook credentials are stored, at least 32 characters; the same for all services.
    #[arg(long, global = true, env = "IMCHANNEL_CREDENTIAL_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) credential_key: Option<String>,
    /// File that contains the credential key.
    #[arg(
        long,
        global = true,
        env = "IMCHANNEL_CREDENTIAL_KEY_FILE",
        hide_env_values = true,
        conflicts_with = "credential_key",
        value_name = "FILE"
    )]
    pub(crate) credential_key_file: Option<PathBuf>,
    /// Folder with the nkey seeds of the NATS users, as `imchannel secrets generate` writes it (DIR/nats): each command
    /// uses the seed of
    /// the user that it needs.
    #[arg(long, global = true, env = "IMCHANNEL_NATS_NKEYS_DIR", value_name = "DIR")]
    nats_nkeys_dir: Option<PathBuf>,
    /// File with the nkey seed of the NATS user that the command needs; takes precedence over the folder.
    #[arg(long, global = true, env = "IMCHANNEL_NATS_NKEY_FILE", value_name = "FILE")]
    nats_nkey_file: Option<PathBuf>,
    /// PEM file of CA certificates that are trusted for a tls:// NATS server.
    #[arg(long, global = true, env = "IMCHANNEL_NATS_CA_FILE", value_name = "FILE")]
    nats_ca_file: Option<PathBuf>,
    /// Public IP address of the installation; example secrets are rejected unless it is a loopback address [default:
    /// that of NATS].
    #[arg(long, global = true, env = "IMCHANNEL_PUBLIC_ADDRESS", value_name = "IP")]
    public_address: Option<String>,
    /// Hosts that channels may send to in addition to *.api.infobip.com, separated by commas.
    #[arg(long, global = true, env = "IMCHANNEL_INFOBIP_HOSTS", value_delimiter = ',', value_name = "HOSTS")]
    pub(crate) infobip_hosts: Vec<String>,
    /// The command that was entered.
    #[arg(skip)]
    pub(crate) needed: Needed,
    /// Permission errors of NATS.
    #[arg(skip)]
    pub(crate) refusals: PermissionErrors,
}

// URL and key may be secret.
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("infobip_hosts", &self.infobip_hosts).finish_non_exhaustive()
    }
}

impl Target {
    /// Connects as the user that the command needs, and fails immediately with a clear error.
    ///
    /// # Errors
    /// [`WrongUser`] if the server does not know the user; otherwise if no server responds or a file cannot be read.
    pub(crate) async fn connect(&self) -> anyhow::Result<Bus> {
        let user = self.needed.user.context("this command does not connect to NATS")?;
        let seed_file = self.seed_file(user);
        let options = self.options(user, seed_file.as_deref())?;
        connect_now(options).await.map_err(|error| match error.downcast_ref::<bus::ConnectError>() {
            Some(cause) if cause.is_auth_error() => self.wrong_user(
                user,
                match &seed_file {
                    Some(file) => format!("NATS does not know the user of {}", file.display()),
                    None => "no seed was given".to_owned(),
                },
            ),
            _ => error,
        })
    }

    /// Returns the seed file: the given file, or the user's file in the folder.
    fn seed_file(&self, user: User) -> Option<PathBuf> {
        // Compose files set variables to empty values.
        let given = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        given(&self.nats_nkey_file).or_else(|| Some(given(&self.nats_nkeys_dir)?.join(user.seed_file())))
    }

    fn options(&self, user: User, seed_file: Option<&Path>) -> anyhow::Result<BusOptions> {
        let nkey = seed_file.map(|file| {
            let needs = || format!("`{}` needs the seed of the NATS user {user}", self.needed.command);
            let text = read_secret(file).with_context(needs)?;
            NkeySeed::parse(&text)
                .with_context(|| format!("cannot use {}", file.display()))
                .with_context(needs)
        });
        Ok(BusOptions {
            nkey: nkey.transpose()?,
            ca_file: self.nats_ca_file.clone().filter(|file| !file.as_os_str().is_empty()),
            refusals: self.refusals.clone(),
            ..BusOptions::new(user.client(), self.url())
        })
    }

    /// Runs a command, and stops it as soon as NATS refuses an operation.
    ///
    /// # Errors
    /// [`WrongUser`], or the error of the command.
    pub(crate) async fn unless_refused<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let refusal = match self.refusals.or_permission_error(work).await {
            Ok(done) => return done,
            Err(refusal) => refusal,
        };
        let Some(user) = self.needed.user else { return Err(refusal.into()) };
        Err(self.refused(user, &refusal))
    }

    fn refused(&self, user: User, refusal: &PermissionError) -> anyhow::Error {
        if refusal.is_about_inbox() {
            let why = match self.seed_file(user) {
                Some(file) => format!("{} is the seed of another user", file.display()),
                None => "the server authenticated this client as another user".to_owned(),
            };
            return self.wrong_user(user, why);
        }
        let PermissionError { act, subject } = refusal;
        WrongUser(format!(
            "NATS does not let the user {user} {act} to \"{subject}\", which `{}` needs: update users.conf of the server to this version",
            self.needed.command
        ))
        .into()
    }

    fn wrong_user(&self, user: User, why: String) -> anyhow::Error {
        WrongUser(format!(
            "`{}` needs the NATS user {user}, and {why}: pass its seed with --nats-nkey-file, or the folder of all seeds with \
             --nats-nkeys-dir",
            self.needed.command
        ))
        .into()
    }

    /// Whether the installation is reached at a loopback address: the given one, or otherwise that of NATS.
    pub(crate) fn is_on_loopback(&self) -> bool {
        // Compose files set variables to empty values.
        if let Some(address) = self.public_address.as_ref().filter(|address| !address.is_empty()) {
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
        // Its server uses another port if the default one was taken.
        let of_up = std::fs::read_to_string(Path::new(DATA_FOLDER_DEFAULT).join(NATS_URL_FILE));
        of_up.as_deref().map_or(NATS_URL_DEFAULT, str::trim).to_owned()
    }

    /// Returns the admin port of the `up` in this folder, unless another installation is selected.
    pub(crate) fn admin_of_up(&self) -> Option<String> {
        if self.nats_url.is_some() {
            return None;
        }
        let text = std::fs::read_to_string(Path::new(DATA_FOLDER_DEFAULT).join(ADMIN_URL_FILE)).ok()?;
        Some(text.trim().to_owned())
    }

    /// Returns the URL of the timeline of the `up` in this folder, unless another installation is selected.
    pub(crate) fn console_of_up(&self) -> Option<String> {
        if self.nats_url.is_some() {
            return None;
        }
        let text = std::fs::read_to_string(Path::new(DATA_FOLDER_DEFAULT).join(CONSOLE_URL_FILE)).ok()?;
        Some(text.trim().to_owned())
    }

    /// Returns the credential key as text, if one is given.
    pub(crate) fn key_text(&self) -> anyhow::Result<Option<String>> {
        match &self.credential_key_file {
            Some(file) => Ok(Some(read_secret(file)?)),
            None => Ok(self.credential_key.clone()),
        }
    }

    /// Returns the credential key.
    pub(crate) fn key(&self) -> anyhow::Result<CredentialKey> {
        let text =
            self.key_text()?.context("the credential key is missing: set IMCHANNEL_CREDENTIAL_KEY, --credential-key or --credential-key-file")?;
        Ok(CredentialKey::new(text.as_bytes())?)
    }
}

/// The given user is not the one that the command needs, or lacks permissions.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongUser(String);

/// Reads a secret from its file.
pub(crate) fn read_secret(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text.trim().to_owned())
}

/// Connects, or returns an error that names the address.
pub(crate) async fn connect_now(options: BusOptions) -> anyhow::Result<Bus> {
    // The URL may contain a password, so only its end is named.
    let place = options.url.rsplit(['@', '/']).next().unwrap_or_default().to_owned();
    Bus::connect_now(&options).await.with_context(|| format!("cannot connect to NATS at {place}"))
}
