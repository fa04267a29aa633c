//! Where a simulated BSP posts to, and how it authenticates.

use bsp::{BspId, ChannelId};

/// The URLs of a channel at the gateway, with their credentials.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) bsp: BspId,
    pub(crate) channel: ChannelId,
    /// Scheme, host and port, without a slash at the end.
    pub(crate) gateway: String,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) signing: Option<Signing>,
}

/// Data that requests are signed with.
#[derive(Clone)]
pub(crate) struct Signing {
    pub(crate) key: Vec<u8>,
    /// The URL that the BSP uses for its signature.
    pub(crate) public_url: String,
}

// Passwords and keys are omitted.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("bsp", &self.bsp)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    pub(crate) fn path(&self, route: &str) -> String {
        format!("/social/on/whatsapp/{}/{route}/{}", self.bsp, self.channel)
    }

    pub(crate) fn url(&self, route: &str) -> String {
        format!("{}{}", self.gateway, self.path(route))
    }
}
