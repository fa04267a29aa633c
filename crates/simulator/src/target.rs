//! Destination of a simulated BSP, and its credentials.

use bsp::{BspId, ChannelId};
use channel::file::ChannelSpec;
use channel::{SecretError, Secrets};

use crate::bsp_client::{self, BspClient};

/// A channel of a gateway.
#[derive(Clone)]
pub struct Target {
    pub(crate) sender: &'static dyn BspClient,
    pub(crate) bsp: BspId,
    pub(crate) channel: ChannelId,
    /// Scheme, host and port, without a slash at the end.
    gateway: String,
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
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("bsp", &self.bsp)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// The channel cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The simulator does not support its BSP.
    #[error("channel {0}: BSP {1} cannot be simulated")]
    NotSimulated(ChannelId, BspId),
    /// Its signing key cannot be read.
    #[error("channel {0}: cannot read its signing key")]
    NoKey(ChannelId, #[source] SecretError),
}

impl Target {
    /// The channel of a channels file, behind `gateway` (`http://host:port`). It uses the first password of the list.
    ///
    /// # Errors
    /// [`TargetError`] when the BSP is not simulated or a signing key is missing.
    pub fn new(gateway: &str, channel: &ChannelSpec, secrets: &Secrets) -> Result<Self, TargetError> {
        let (id, bsp) = (channel.id().clone(), channel.bsp().profile().id);
        let Some(sender) = bsp_client::find(bsp) else { return Err(TargetError::NotSimulated(id, bsp)) };
        let mut signing = None;
        if let Some((reference, public_url)) = channel.signing() {
            let key = secrets.resolve(&reference).map_err(|source| TargetError::NoKey(id.clone(), source))?;
            signing = Some(Signing { key: key.expose().to_vec(), public_url: public_url.to_owned() });
        }
        let login = channel.credentials().first();
        let password = login.map(|login| String::from_utf8_lossy(login.password.expose()).into_owned());
        Ok(Self {
            sender,
            bsp,
            channel: id,
            gateway: gateway.trim_end_matches('/').to_owned(),
            user: login.and_then(|login| login.user.clone()).unwrap_or_default(),
            password: password.unwrap_or_default(),
            signing,
        })
    }

    /// BSP and channel, as text for people.
    pub fn name(&self) -> String {
        format!("{}/{}", self.bsp, self.channel)
    }

    pub(crate) fn path(&self, route: &str) -> String {
        format!("/social/on/whatsapp/{}/{route}/{}", self.bsp, self.channel)
    }

    pub(crate) fn url(&self, route: &str) -> String {
        format!("{}{}", self.gateway, self.path(route))
    }
}
