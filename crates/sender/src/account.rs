//! The account that a lane sends through: its settings, and its key, fetched anew now and then because it may be changed
//! in its place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bsp::sending::{self, Sending};
use bsp::{BspId, ChannelId};
use channel::{Channel, Secrets};
use reqwest::header::HeaderValue;
use tokio::time::Instant;

/// Time for which a key that was read is cached.
const KEY_LIFE: Duration = Duration::from_secs(30);
/// Time after which a missing key is read again.
const KEY_RETRY: Duration = Duration::from_secs(2);

/// A channel's account.
pub(crate) struct Account {
    pub(crate) bsp: BspId,
    pub(crate) channel: ChannelId,
    pub(crate) tenant: String,
    pub(crate) sending: &'static dyn Sending,
    pub(crate) settings: serde_json::Value,
    pub(crate) details: sending::Account,
    secrets: Secrets,
    key: Mutex<KnownKey>,
}

/// What is known of the account's key.
#[derive(Default)]
struct KnownKey {
    /// As it was fetched last, and when.
    fetched: Option<(Result<HeaderValue, String>, Instant)>,
    /// Whether the account has refused a key since it took one. Then every call fetches it again, since it may have been
    /// changed in its place meanwhile.
    is_refused: bool,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// Names an account across channels and replicas: they share its limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AccountName(pub(crate) String);

impl Account {
    /// The account of a channel; `None` for one that cannot send.
    pub(crate) fn of(channel: &Channel, secrets: &Secrets) -> Option<Self> {
        let sending = channel.bsp.sending()?;
        Some(Self {
            bsp: channel.bsp.profile().id,
            channel: channel.id.clone(),
            tenant: channel.tenant.clone(),
            sending,
            settings: channel.settings.clone(),
            details: sending.account(&channel.settings)?,
            secrets: secrets.clone(),
            key: Mutex::default(),
        })
    }

    /// Its name. The reference of the key is part of it, and no secret.
    pub(crate) fn name(&self) -> AccountName {
        AccountName(format!("{} {}", self.details.base_url, self.details.key))
    }

    /// The value of its `Authorization` header.
    ///
    /// # Errors
    /// Why there is none, in words without a secret.
    pub(crate) async fn authorization(self: &Arc<Self>) -> Result<HeaderValue, String> {
        if let Some(key) = self.still_fresh() {
            return key;
        }
        let account = Arc::clone(self);
        // Files are read by blocking calls.
        let fetched = tokio::task::spawn_blocking(move || account.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_| Err("it could not be fetched".to_owned()));
        self.known().fetched = Some((fetched.clone(), Instant::now()));
        fetched
    }

    /// The key that was fetched last, for as long as it may be used without another look.
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

    /// The account refused its key: until it takes one, every call fetches the key again.
    pub(crate) fn key_is_refused(&self) {
        self.known().is_refused = true;
    }

    /// The account answered about a message, so it has taken the key.
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
        let mut value = HeaderValue::from_bytes(&value)
            .map_err(|_| format!("{} holds what no header can carry", self.details.key))?;
        value.set_sensitive(true);
        Ok(value)
    }
}
