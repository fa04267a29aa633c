//! A channel of a gateway, with the simulated BSP that posts to it.

use bsp::{BspId, ChannelId};
use channel::file::ChannelSpec;
use channel::{SecretError, Secrets};

use crate::bsp_client::BspClient;
use crate::endpoint::{Endpoint, Signing};
use crate::registry;

/// A channel of a gateway.
#[derive(Debug, Clone)]
pub struct Target {
    pub(crate) client: &'static dyn BspClient,
    pub(crate) endpoint: Endpoint,
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
        let Some(client) = registry::find(bsp) else { return Err(TargetError::NotSimulated(id, bsp)) };
        let mut signing = None;
        if let Some((reference, public_url)) = channel.signing() {
            let key = secrets.resolve(&reference).map_err(|source| TargetError::NoKey(id.clone(), source))?;
            signing = Some(Signing { key: key.expose().to_vec(), public_url: public_url.to_owned() });
        }
        let login = channel.credentials().first();
        let password = login.map(|login| String::from_utf8_lossy(login.password.expose()).into_owned());
        let endpoint = Endpoint {
            bsp,
            channel: id,
            gateway: gateway.trim_end_matches('/').to_owned(),
            user: login.and_then(|login| login.user.clone()).unwrap_or_default(),
            password: password.unwrap_or_default(),
            signing,
        };
        Ok(Self { client, endpoint })
    }

    /// BSP and channel, as text for people.
    pub fn name(&self) -> String {
        format!("{}/{}", self.endpoint.bsp, self.endpoint.channel)
    }
}
