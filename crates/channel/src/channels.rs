//! Channels in memory.

use std::collections::HashMap;
use std::sync::Arc;

use bsp::secret_reference::SecretReference;
use bsp::{Bsp, ChannelId};

use crate::credential::Credentials;

/// One channel.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// The BSP behind it.
    pub bsp: &'static dyn Bsp,
    /// The tenant in media URLs.
    pub tenant: String,
    /// The accepted webhook credentials.
    pub credentials: Credentials,
    /// Fingerprint of the key under which the credentials were stored.
    pub key_fingerprint: String,
    /// How the signatures of its requests are verified; `None` if they are not.
    pub signature: Option<Signature>,
    /// Whether its webhooks are spooled, if the channels file says so; `None` for what its BSP needs.
    pub spool: Option<bool>,
    /// Seconds after which an accepted message without a report is a problem; `None` for the timeline's default.
    pub report_after_s: Option<u32>,
    /// Whether the sender asks the BSP's message log about accepted messages without a report.
    pub reconcile: bool,
    /// The BSP's own settings.
    pub settings: serde_json::Value,
    /// Whether an operator has paused sending through it.
    pub is_paused: bool,
}

impl Channel {
    /// Whether ingress spools a webhook of this channel that the bus does not store.
    pub fn spools(&self) -> bool {
        self.spool.unwrap_or_else(|| self.bsp.profile().retries.needs_spool())
    }
}

/// How the signatures of requests are verified.
#[derive(Debug, Clone)]
pub struct Signature {
    /// References to the signing keys. There may be several, so that a key can be rotated.
    pub keys: Vec<SecretReference>,
    /// Scheme, host and port under which the BSP reaches the gateway.
    pub public_url: String,
}

/// All channels at one moment. A change creates a new value; readers keep theirs.
#[derive(Debug, Clone, Default)]
pub struct Channels(HashMap<ChannelId, Arc<Channel>>);

impl Channels {
    /// The channel with that id.
    pub fn get(&self, id: &str) -> Option<&Arc<Channel>> {
        self.0.get(id)
    }

    /// Adds a channel, or replaces it.
    pub fn insert(&mut self, channel: Channel) {
        self.0.insert(channel.id.clone(), Arc::new(channel));
    }

    /// Removes a channel.
    pub fn remove(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// All channels, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Channel>> {
        self.0.values()
    }

    /// Number of channels.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no channels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
