//! The channel that every measurement posts to.

/// Id of the Infobip channel that webhooks are posted to.
pub(crate) const CHANNEL: &str = "202105102694809992";
/// Password of that channel.
pub(crate) const PASSWORD: &str = "secretsecret";
