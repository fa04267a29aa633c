//! The account that a lane sends through: its settings and its API key. The key is fetched again at intervals, because
//! its file may be replaced in place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bsp::sending::{self, Sending};
use bsp::{BspId, ChannelId};
use channel::{Channel, Secrets};
use reqwest::header::HeaderValue;
use tokio::time::Instant;

/// TTL of a cached API key.
const KEY_LIFE: Duration = Duration::from_secs(30);
/// TTL of a cached failure to fetch the API key.
const KEY_RETRY: Duration = Duration::from_secs(2);

/// Time after which the message log is asked about a message without a report, in channels without `report_after`.
const RECONCILE_AFTER: Duration = Duration::from_secs(15 * 60);

/// A channel's account.
pub(crate) struct Account {
    pub(crate) bsp: BspId,
    pub(crate) channel: ChannelId,
    pub(crate) tenant: String,
    pub(crate) sending: &'static dyn Sending,
    pub(crate) settings: serde_json::Value,
    pub(crate) details: sending::Account,
    /// Time after its acceptance at which the message log is asked about a message without a report; `None` for never.
    pub(crate) reconcile_after: Option<Duration>,
    secrets: Secrets,
    key: Mutex<KnownKey>,
}

/// Cached state of the account's key.
#[derive(Default)]
struct KnownKey {
    /// Result of the last fetch, and its time.
    fetched: Option<(Result<HeaderValue, String>, Instant)>,
    /// Whether the BSP has refused the key and accepted none since then. While this is set, every call fetches the key
    /// again, because the key may have been replaced in place.
    is_refused: bool,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// Identifies an account across channels and replicas. Lanes of the same account share its limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AccountName(pub(crate) String);

impl Account {
    /// Returns the account of a channel, or `None` for a channel that cannot send.
    pub(crate) fn of(channel: &Channel, secrets: &Secrets) -> Option<Self> {
        let sending = channel.bsp.sending()?;
        let report_after = channel.report_after_s.map(|seconds| Duration::from_secs(seconds.into()));
        let reconciles = channel.reconcile && sending.has_reports_in_log();
        Some(Self {
            bsp: channel.bsp.profile().id,
            channel: channel.id.clone(),
            tenant: channel.tenant.clone(),
            sending,
            settings: channel.settings.clone(),
            details: sending.account(&channel.settings)?,
            reconcile_after: reconciles.then(|| report_after.unwrap_or(RECONCILE_AFTER)),
            secrets: secrets.clone(),
            key: Mutex::default(),
        })
    }

    /// Returns its identifier. It contains the reference of the key, which is not secret.
    pub(crate) fn name(&self) -> AccountName {
        AccountName(format!("{} {}", self.details.base_url, self.details.key))
    }

    /// Returns the value of the `Authorization` header.
    ///
    /// # Errors
    /// Why the key cannot be used, without the secret.
    pub(crate) async fn authorization(self: &Arc<Self>) -> Result<HeaderValue, String> {
        if let Some(key) = self.still_fresh() {
            return key;
        }
        let account = Arc::clone(self);
        // Files are read by blocking calls.
        let fetched = tokio::task::spawn_blocking(move || account.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_| Err("fetching the key failed".to_owned()));
        self.known().fetched = Some((fetched.clone(), Instant::now()));
        fetched
    }

    /// Returns the result of the last fetch while its TTL lasts.
    fn still_fresh(&self) -> Option<Result<HeaderValue, String>> {
        let known = self.known();
        let (key, fetched_at) = known.fetched.as_ref()?;
        let life = if key.is_err() {
            KEY_RETRY
        } else if known.is_refused {
            Duration::ZERO
        } else {
            KEY_LIFE
        };
        (fetched_at.elapsed() < life).then(|| key.clone())
    }

    /// Records that the BSP refused the key. Until the BSP accepts one, every call fetches the key again.
    pub(crate) fn key_is_refused(&self) {
        self.known().is_refused = true;
    }

    /// Records that the BSP accepted the key: it answered about a message.
    pub(crate) fn key_is_taken(&self) {
        self.known().is_refused = false;
    }

    fn known(&self) -> MutexGuard<'_, KnownKey> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fetch(&self) -> Result<HeaderValue, String> {
        let key = self.secrets.resolve(&self.details.key);
        let key = key.map_err(|error| service::words::causes(&error.into()))?;
        let value = self.sending.authorization(key.expose());
        let mut value = HeaderValue::from_bytes(&value).map_err(|_| {
            format!("{} contains characters that are not allowed in an HTTP header", self.details.key)
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}
