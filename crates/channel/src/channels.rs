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
    /// The tenant, as it stands in media URLs.
    pub tenant: String,
    /// The webhook credentials that it accepts.
    pub credentials: Credentials,
    /// Tells under which key the credentials were stored.
    pub key_fingerprint: String,
    /// How its requests' signatures are checked; `None` where they are not.
    pub signature: Option<Signature>,
    /// The BSP's own settings.
    pub settings: serde_json::Value,
    /// Whether an operator has paused what is sent through it.
    pub is_paused: bool,
}

/// How request signatures are checked.
#[derive(Debug, Clone)]
pub struct Signature {
    /// Where the signing keys lie. Several, so that a key can be changed.
    pub keys: Vec<SecretReference>,
    /// Scheme, host and port under which the BSP reaches the gateway.
    pub public_url: String,
}

/// All channels at one moment. A change makes another value; readers keep what they hold.
#[derive(Debug, Clone, Default)]
pub struct Channels(HashMap<ChannelId, Arc<Channel>>);

impl Channels {
    /// The channel of that id, as it stands in a URL.
    pub fn get(&self, id: &str) -> Option<&Arc<Channel>> {
        self.0.get(id)
    }

    /// Takes a channel in, or replaces it.
    pub fn insert(&mut self, channel: Channel) {
        self.0.insert(channel.id.clone(), Arc::new(channel));
    }

    /// Takes a channel out.
    pub fn remove(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// All channels, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Channel>> {
        self.0.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
