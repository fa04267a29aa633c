//! A reference to a secret. The registry contains references and no secrets. An author of the registry can
//! name only a few secrets: no other variable of a process, and no file outside of the folder of secrets.

use std::fmt;

/// Prefix of variables that may contain a secret of any BSP.
const COMMON_VARIABLES: &str = "IMCHANNEL_SECRET_";

/// Reference to a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretReference {
    /// `env:NAME`: an environment variable with an allowed prefix.
    Variable(String),
    /// `file:NAME`: a file in the folder of secrets.
    File(String),
}

impl SecretReference {
    /// Parses a reference of a channel; `None` if the text is not a reference, or names a forbidden variable or file.
    /// `variables` is the prefix of the variables of the channel's BSP ([`Profile::secret_variables`]).
    ///
    /// [`Profile::secret_variables`]: crate::Profile::secret_variables
    ///
    /// # Examples
    /// ```
    /// use bsp::secret_reference::SecretReference;
    ///
    /// assert_eq!(SecretReference::parse("file:infobip/key", "INFOBIP_"), Some(SecretReference::File("infobip/key".to_owned())));
    /// assert_eq!(SecretReference::parse("env:PATH", "INFOBIP_"), None);
    /// ```
    pub fn parse(text: &str, variables: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix("env:") {
            let mut allowed = [variables, COMMON_VARIABLES].into_iter().filter(|prefix| !prefix.is_empty());
            let is_allowed = allowed.any(|prefix| name.len() > prefix.len() && name.starts_with(prefix));
            return is_allowed.then(|| Self::Variable(name.to_owned()));
        }
        let name = text.strip_prefix("file:")?;
        let is_inside =
            !name.starts_with('/') && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        is_inside.then(|| Self::File(name.to_owned()))
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::File(name) => write!(f, "file:{name}"),
        }
    }
}

impl fmt::Debug for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_secrets_can_be_named() {
        for good in ["env:INFOBIP_API_KEY", "env:IMCHANNEL_SECRET_X", "file:a", "file:team/a.key"] {
            assert_eq!(
                SecretReference::parse(good, "INFOBIP_").map(|found| found.to_string()).as_deref(),
                Some(good)
            );
        }
        for bad in [
            "",
            "INFOBIP_API_KEY",
            "env:",
            "env:PATH",
            "env:INFOBIP_",
            "env:IMCHANNEL_CREDENTIAL_KEY",
            "env:TWILIO_TOKEN",
            "file:",
            "file:/etc/passwd",
            "file:../x",
            "file:a/../../x",
            "file:a//b",
            "https://x",
            "plain secret",
        ] {
            assert_eq!(SecretReference::parse(bad, "INFOBIP_"), None, "{bad}");
        }
    }
}
