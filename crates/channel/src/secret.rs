//! Secrets in clear text, and the two sources that they are read from.

use std::fmt;
use std::path::PathBuf;

use bsp::secret_reference::SecretReference;

/// A secret in clear text. Its `Debug` output hides it.
///
/// # Examples
/// ```
/// let secret = channel::Secret::new(b"a-password".as_slice());
/// assert!(!format!("{secret:?}").contains("a-password"));
/// assert_eq!(secret.expose(), b"a-password");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<Box<[u8]>>) -> Self {
        Self(secret.into())
    }

    /// The secret in clear text.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The sources of the secrets that channels refer to.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// Folder of `file:` references (`IMCHANNEL_SECRETS_DIR`).
    pub folder: Option<PathBuf>,
}

/// A reference cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set, or is not Unicode.
    #[error("environment variable {0} is not set, or is not valid Unicode")]
    NoVariable(String),
    /// The reference names a file, but the process has no folder of secrets.
    #[error("cannot read {0}: IMCHANNEL_SECRETS_DIR is not set")]
    NoFolder(SecretReference),
    /// The file cannot be read.
    #[error("cannot read {reference}")]
    Unreadable {
        /// The reference.
        reference: SecretReference,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The secret is empty.
    #[error("the secret {0} is empty")]
    Empty(SecretReference),
}

impl Secrets {
    /// Reads the secret that a reference names.
    ///
    /// # Errors
    /// [`SecretError`] when it cannot be read.
    pub fn resolve(&self, reference: &SecretReference) -> Result<Secret, SecretError> {
        let secret = match reference {
            SecretReference::Variable(name) => {
                std::env::var(name).map_err(|_| SecretError::NoVariable(name.clone()))?.into_bytes()
            }
            SecretReference::File(name) => {
                let folder = self.folder.as_ref().ok_or_else(|| SecretError::NoFolder(reference.clone()))?;
                let read = std::fs::read(folder.join(name));
                read.map_err(|source| SecretError::Unreadable { reference: reference.clone(), source })?
            }
        };
        // Remove the newline that editors add at the end of a file.
        let trimmed = secret.trim_ascii();
        if trimmed.is_empty() {
            return Err(SecretError::Empty(reference.clone()));
        }
        Ok(Secret::new(trimmed))
    }
}
