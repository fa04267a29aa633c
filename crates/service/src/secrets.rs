//! The settings of the secrets of channels: the key of the stored credentials, and the folder that references to secrets are
//! resolved in.

use std::path::PathBuf;

use channel::{CredentialKey, Secrets};

use crate::settings::{ConfigReader, Setting};

/// Key of the hashes of the stored credentials.
pub static CREDENTIAL_KEY: Setting = Setting::new(
    "credential-key",
    "",
    "Key of the hashes of webhook credentials, at least 32 characters; all services and the command line need the same key",
)
.secret();
/// Folder of the secrets that channels refer to.
pub static SECRETS_DIR: Setting =
    Setting::new("secrets-dir", "", "Folder of the secrets that channels refer to as file:NAME");

/// Reads the credential key. If it is invalid, adds the error to `reader` and
/// returns `None`.
pub fn read_credential_key(reader: &mut ConfigReader) -> Option<CredentialKey> {
    let text = reader.text(&CREDENTIAL_KEY)?;
    match CredentialKey::new(text.as_bytes()) {
        Ok(key) => Some(key),
        Err(error) => {
            reader.error(&CREDENTIAL_KEY, &format!("is invalid: {error}"));
            None
        }
    }
}

/// Reads where referenced secrets are.
pub fn read_secrets(reader: &ConfigReader) -> Secrets {
    Secrets { folder: reader.optional_text(&SECRETS_DIR).map(PathBuf::from) }
}
