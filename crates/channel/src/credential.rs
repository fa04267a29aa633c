//! Webhook credentials. They are stored as HMAC-SHA-256 under a key that only the services hold, and compared
//! in constant time.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// Shortest key, in bytes: the length of the hash.
pub const CREDENTIAL_KEY_BYTES_MIN: usize = 32;

/// Text whose hash identifies the key. It cannot be a credential: header values contain no NUL.
const FINGERPRINT_TEXT: &[u8] = b"\0imchannel credential key";

/// The key of `IMCHANNEL_CREDENTIAL_KEY`. Its `Debug` output hides it.
#[derive(Clone)]
pub struct CredentialKey(Hmac<Sha256>);

/// The key is too short to be safe. The field is the key's length in bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the credential key is too short ({0} bytes); use at least {CREDENTIAL_KEY_BYTES_MIN} bytes")]
pub struct CredentialKeyTooShort(pub usize);

impl CredentialKey {
    /// Checks the length of a key.
    ///
    /// # Errors
    /// [`CredentialKeyTooShort`] under [`CREDENTIAL_KEY_BYTES_MIN`].
    pub fn new(key: &[u8]) -> Result<Self, CredentialKeyTooShort> {
        if key.len() < CREDENTIAL_KEY_BYTES_MIN {
            return Err(CredentialKeyTooShort(key.len()));
        }
        Ok(Self(Hmac::new_from_slice(key).expect("HMAC accepts a key of any length")))
    }

    /// Identifies the key without revealing it: 8 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        hex::encode(&self.digest(FINGERPRINT_TEXT)[..4])
    }

    /// The HMAC-SHA-256 of a credential. The registry stores this digest instead of the credential.
    pub fn digest(&self, credential: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(credential);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for CredentialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Most credentials of one channel: the current one, the next one, and a margin.
pub const CREDENTIALS_MAX: usize = 8;

/// Digests of the accepted credentials, in the order of the file.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(Vec<[u8; 32]>);

impl Credentials {
    /// Credentials with these digests.
    pub fn new(digests: Vec<[u8; 32]>) -> Self {
        Self(digests)
    }

    /// Credentials that match nothing. They are compared for an unknown channel, so that its rejection takes
    /// as long as the rejection of a wrong password.
    pub fn dummy() -> Self {
        Self(vec![[0; 32], [1; 32]])
    }

    /// The digests.
    pub fn digests(&self) -> &[[u8; 32]] {
        &self.0
    }

    /// Position of the credential with this digest. Compares every digest, whether or not one matched.
    pub fn position(&self, digest: &[u8; 32]) -> Option<usize> {
        let mut found = Choice::from(0);
        let mut position = 0_u32;
        for (at, accepted) in (0_u32..).zip(&self.0) {
            let same = accepted.ct_eq(digest);
            position.conditional_assign(&at, same & !found);
            found |= same;
        }
        bool::from(found).then_some(position as usize)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} credentials)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_found_by_its_digest_alone() {
        let key = CredentialKey::new(&[7; 32]).unwrap();
        let other_key = CredentialKey::new(&[8; 32]).unwrap();
        let credentials = Credentials::new(vec![key.digest(b"current"), key.digest(b"previous")]);
        assert_eq!(credentials.position(&key.digest(b"current")), Some(0));
        assert_eq!(credentials.position(&key.digest(b"previous")), Some(1));
        assert_eq!(credentials.position(&key.digest(b"")), None);
        assert_eq!(credentials.position(&other_key.digest(b"current")), None);
        assert_eq!(Credentials::dummy().position(&key.digest(b"current")), None);
    }

    #[test]
    fn a_short_key_is_rejected() {
        assert_eq!(CredentialKey::new(&[7; 31]).err(), Some(CredentialKeyTooShort(31)));
    }
}
