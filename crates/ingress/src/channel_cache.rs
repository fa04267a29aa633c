//! The channels in the form that ingress needs to compare credentials and verify signatures. A change of the
//! registry replaces all of them. Reading uses no lock.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bsp::ChannelId;
use bus::rate_limited_log::RateLimitedLog;
use bus::registry::Snapshots;
use channel::{Channel, Channels, Secret, Secrets};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::memory_limit::MemoryLimit;
use crate::metrics::IngressMetrics;
use crate::settings::Settings;

/// Interval of reading the signing keys.
const KEY_INTERVAL: Duration = Duration::from_secs(30);
/// Interval of reading the signing keys while a channel has none.
const KEY_INTERVAL_MISSING: Duration = Duration::from_secs(2);
/// Longest time that a webhook waits for the first reading of the registry. Ingress listens before it, and a BSP that does not
/// retry loses what is refused meanwhile. Shorter than every BSP's `store_deadline`, of which it is a part.
const FIRST_READING_TIMEOUT: Duration = Duration::from_secs(1);

/// A channel with its precomputed checks.
#[derive(Debug)]
pub(crate) struct ChannelEntry {
    pub(crate) channel: Arc<Channel>,
    /// One counter for each credential, in their order.
    pub(crate) credential_used: Vec<Counter>,
    /// How signatures are verified; `None` if they are not.
    pub(crate) signature: Option<SignatureCheck>,
    /// Memory limit of the bodies of this channel, in bytes.
    pub(crate) memory: MemoryLimit,
    /// Rate limit of the log line about an invalid credential or signature.
    pub(crate) refused: RateLimitedLog,
    warned_at_s: AtomicU64,
    warned_of_another_at_s: AtomicU64,
}

/// The data to verify a signature.
#[derive(Debug)]
pub(crate) struct SignatureCheck {
    pub(crate) public_url: String,
    /// Empty if no key could be read. Then no request can be verified.
    pub(crate) keys: Vec<Secret>,
}

impl ChannelEntry {
    /// Whether a warning about this channel may be logged now. At most one per second is logged.
    pub(crate) fn should_log(&self) -> bool {
        is_first_of_second(&self.warned_at_s)
    }

    /// The same for another BSP that posts to this channel. Separate, so that neither warning suppresses the
    /// other.
    pub(crate) fn should_log_wrong_bsp(&self) -> bool {
        is_first_of_second(&self.warned_of_another_at_s)
    }
}

fn is_first_of_second(last_s: &AtomicU64) -> bool {
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default();
    last_s.swap(now, Ordering::Relaxed) != now
}

/// All channels at one moment.
pub(crate) type ChannelMap = HashMap<ChannelId, ChannelEntry>;

/// The current channels. Clones share them.
#[derive(Clone)]
pub(crate) struct ChannelCache {
    current: Arc<ArcSwapOption<ChannelMap>>,
    /// Whether the registry was read. Its sender ends with the stop.
    is_read: watch::Receiver<bool>,
}

impl fmt::Debug for ChannelCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelCache")
    }
}

impl ChannelCache {
    /// Follows the registry until `stop`.
    pub(crate) fn follow(
        mut snapshots: Snapshots,
        settings: &Settings,
        metrics: &Arc<IngressMetrics>,
        stop: CancellationToken,
    ) -> Self {
        let (read, is_read) = watch::channel(false);
        let channels = Self { current: Arc::new(ArcSwapOption::empty()), is_read };
        let followed = Arc::clone(&channels.current);
        let (settings, metrics) = (settings.clone(), Arc::clone(metrics));
        tokio::spawn(async move {
            loop {
                let channels = snapshots.borrow_and_update().clone();
                let mut look_again = None;
                if let Some(channels) = channels {
                    metrics.channels.set(i64::try_from(channels.len()).unwrap_or(i64::MAX));
                    let channels = build(&channels, &settings, &metrics);
                    look_again = next_reload(&channels);
                    followed.store(Some(Arc::new(channels)));
                    read.send_replace(true);
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = snapshots.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(look_again.unwrap_or_default()), if look_again.is_some() => {}
                }
            }
        });
        channels
    }

    /// The current channels; `None` until the registry was read for the first time.
    pub(crate) fn current(&self) -> Option<Arc<ChannelMap>> {
        self.current.load_full()
    }

    /// The current channels, and how long this waited for the first reading of the registry; `None` if a stop or
    /// [`FIRST_READING_TIMEOUT`] comes first.
    pub(crate) async fn first(&self) -> Option<(Arc<ChannelMap>, Duration)> {
        if let Some(channels) = self.current() {
            return Some((channels, Duration::ZERO));
        }
        let began = Instant::now();
        let mut is_read = self.is_read.clone();
        // An error is a stop.
        let _ = timeout(FIRST_READING_TIMEOUT, is_read.wait_for(|read| *read)).await;
        Some((self.current()?, began.elapsed()))
    }
}

/// Time until the signing keys are read again: soon while a key is missing, because a mounted secret may
/// appear late; otherwise at a longer interval, because a key may be replaced.
fn next_reload(channels: &ChannelMap) -> Option<Duration> {
    let checks = || channels.values().filter_map(|entry| entry.signature.as_ref());
    checks().next()?;
    Some(if checks().any(|check| check.keys.is_empty()) { KEY_INTERVAL_MISSING } else { KEY_INTERVAL })
}

fn build(channels: &Channels, settings: &Settings, metrics: &IngressMetrics) -> ChannelMap {
    warn_about_other_keys(channels, &settings.credential_key.fingerprint());
    let entry = |channel: &Arc<Channel>| {
        let count = channel.credentials.digests().len();
        let entry = ChannelEntry {
            channel: Arc::clone(channel),
            credential_used: metrics.credential_counters(&channel.id, count),
            signature: channel.signature.as_ref().map(|signature| SignatureCheck {
                public_url: signature.public_url.clone(),
                keys: fetch_keys(channel, &signature.keys, &settings.secrets),
            }),
            memory: MemoryLimit::new(settings.channel_memory_bytes, metrics.channel_body_bytes(&channel.id)),
            refused: RateLimitedLog::new(),
            warned_at_s: AtomicU64::new(0),
            warned_of_another_at_s: AtomicU64::new(0),
        };
        (channel.id.clone(), entry)
    };
    channels.iter().map(entry).collect()
}

/// Warns of channels that were stored under another key. They accept no password, which the 401 responses
/// alone would not explain.
fn warn_about_other_keys(channels: &Channels, fingerprint: &str) {
    for channel in channels.iter().filter(|channel| channel.key_fingerprint != fingerprint) {
        tracing::error!(
            function = "ingress",
            channel = channel.id.as_str(),
            "channel {} was stored under another IMCHANNEL_CREDENTIAL_KEY: all its webhooks are rejected; set the same key, or apply the channels file again",
            channel.id
        );
    }
}

fn fetch_keys(
    channel: &Channel,
    references: &[bsp::secret_reference::SecretReference],
    secrets: &Secrets,
) -> Vec<Secret> {
    let mut keys = Vec::new();
    for reference in references {
        match secrets.resolve(reference) {
            Ok(key) => keys.push(key),
            Err(error) => {
                tracing::error!(
                    function = "ingress",
                    channel = channel.id.as_str(),
                    "channel {}: cannot read a signing key: {error}",
                    channel.id
                );
            }
        }
    }
    keys
}
