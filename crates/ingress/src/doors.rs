//! The channels as ingress asks them: ready to compare a credential and to check a signature, replaced as a whole
//! whenever the registry changes, read without a lock.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bsp::ChannelId;
use bus::registry::Snapshots;
use bus::seldom::Seldom;
use channel::{Channel, Channels, Secret, Secrets};
use prometheus_client::metrics::counter::Counter;
use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::metrics::IngressMetrics;
use crate::settings::Settings;

/// Interval of reading the signing keys.
const KEY_INTERVAL: Duration = Duration::from_secs(30);
/// Interval of reading the signing keys while a channel has none.
const KEY_INTERVAL_MISSING: Duration = Duration::from_secs(2);

/// A channel as ingress needs it.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) channel: Arc<Channel>,
    /// One for each credential, in their order.
    pub(crate) credential_used: Vec<Counter>,
    /// How signatures are checked; `None` where they are not.
    pub(crate) signature: Option<SignatureCheck>,
    /// What the bodies of this channel may hold at once, in bytes.
    pub(crate) memory: Budget,
    /// The log line about a credential or signature that does not hold.
    pub(crate) refused: Seldom,
    warned_at_s: AtomicU64,
    warned_of_another_at_s: AtomicU64,
}

/// What checking a signature needs.
#[derive(Debug)]
pub(crate) struct SignatureCheck {
    pub(crate) public_url: String,
    /// Empty when none could be fetched: then nobody can say whether a request is genuine.
    pub(crate) keys: Vec<Secret>,
}

impl Door {
    /// Whether a warning about this channel may be logged now: one a second, however many are refused.
    pub(crate) fn may_warn(&self) -> bool {
        is_first_of_second(&self.warned_at_s)
    }

    /// The same for another BSP that posts to this channel, so that neither keeps the other from being seen.
    pub(crate) fn may_warn_of_another(&self) -> bool {
        is_first_of_second(&self.warned_of_another_at_s)
    }
}

fn is_first_of_second(last_s: &AtomicU64) -> bool {
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default();
    last_s.swap(now, Ordering::Relaxed) != now
}

/// All doors at one moment.
pub(crate) type Hall = HashMap<ChannelId, Door>;

/// The doors as they are now. Clones share them.
#[derive(Clone)]
pub(crate) struct Doors(Arc<ArcSwapOption<Hall>>);

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Doors")
    }
}

impl Doors {
    /// Follows the registry until `stop`.
    pub(crate) fn follow(
        mut snapshots: Snapshots,
        settings: &Settings,
        metrics: &Arc<IngressMetrics>,
        stop: CancellationToken,
    ) -> Self {
        let doors = Self(Arc::new(ArcSwapOption::empty()));
        let (followed, settings, metrics) = (doors.clone(), settings.clone(), Arc::clone(metrics));
        tokio::spawn(async move {
            loop {
                let channels = snapshots.borrow_and_update().clone();
                let mut look_again = None;
                if let Some(channels) = channels {
                    metrics.channels.set(i64::try_from(channels.len()).unwrap_or(i64::MAX));
                    let hall = build(&channels, &settings, &metrics);
                    look_again = next_look(&hall);
                    followed.0.store(Some(Arc::new(hall)));
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = snapshots.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(look_again.unwrap_or_default()), if look_again.is_some() => {}
                }
            }
        });
        doors
    }

    /// The doors now; `None` until the registry was read once.
    pub(crate) fn current(&self) -> Option<Arc<Hall>> {
        self.0.load_full()
    }
}

/// When the signing keys are to be fetched anew: soon while one is missing, as a mounted secret may come late, and
/// else now and then, as a key may be changed in its place.
fn next_look(hall: &Hall) -> Option<Duration> {
    let checks = || hall.values().filter_map(|door| door.signature.as_ref());
    checks().next()?;
    Some(if checks().any(|check| check.keys.is_empty()) { KEY_INTERVAL_MISSING } else { KEY_INTERVAL })
}

fn build(channels: &Channels, settings: &Settings, metrics: &IngressMetrics) -> Hall {
    warn_of_other_keys(channels, &settings.credential_key.fingerprint());
    let door = |channel: &Arc<Channel>| {
        let count = channel.credentials.digests().len();
        let door = Door {
            channel: Arc::clone(channel),
            credential_used: metrics.credential_counters(&channel.id, count),
            signature: channel.signature.as_ref().map(|signature| SignatureCheck {
                public_url: signature.public_url.clone(),
                keys: fetch_keys(channel, &signature.keys, &settings.secrets),
            }),
            memory: Budget::new(settings.channel_memory_bytes, metrics.channel_body_bytes(&channel.id)),
            refused: Seldom::new(),
            warned_at_s: AtomicU64::new(0),
            warned_of_another_at_s: AtomicU64::new(0),
        };
        (channel.id.clone(), door)
    };
    channels.iter().map(door).collect()
}

/// A channel stored under another key accepts no password at all, which nobody could guess from its 401s.
fn warn_of_other_keys(channels: &Channels, fingerprint: &str) {
    for channel in channels.iter().filter(|channel| channel.key_fingerprint != fingerprint) {
        tracing::error!(
            function = "ingress",
            channel = channel.id.as_str(),
            "channel {} was stored under another IMCHANNEL_CREDENTIAL_KEY: its webhooks are all refused",
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
                    "channel {}: a signing key cannot be fetched: {error}",
                    channel.id
                );
            }
        }
    }
    keys
}
