//! NATS users by nkey: an Ed25519 key whose seed stays with the user and whose public key is in the server's
//! configuration, so that the server has no secret that could be stolen.

use std::fmt;

use nkeys::KeyPair;

/// The seed of a NATS user. Its `Debug` output hides it.
///
/// # Examples
/// ```
/// use bus::NkeySeed;
///
/// let seed = NkeySeed::generate();
/// let again = NkeySeed::parse(seed.expose()).expect("a seed");
/// assert!(again.public_key().starts_with('U'));
/// assert!(!format!("{again:?}").contains(seed.expose()));
/// ```
#[derive(Clone)]
pub struct NkeySeed {
    seed: String,
    public_key: String,
}

impl fmt::Debug for NkeySeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NkeySeed").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

/// The text is not a NATS user seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a NATS user seed (expected SU...)")]
pub struct InvalidSeed;

impl NkeySeed {
    /// Reads a seed, such as `SUAM…`.
    ///
    /// # Errors
    /// [`InvalidSeed`], which quotes nothing of it.
    pub fn parse(text: &str) -> Result<Self, InvalidSeed> {
        let seed = text.trim();
        let pair = KeyPair::from_seed(seed).map_err(|_| InvalidSeed)?;
        let public_key = pair.public_key();
        // Accounts and servers have seeds too.
        if !public_key.starts_with('U') {
            return Err(InvalidSeed);
        }
        Ok(Self { seed: seed.to_owned(), public_key })
    }

    /// Generates the seed of a new user.
    pub fn generate() -> Self {
        let pair = KeyPair::new_user();
        let seed = pair.seed().expect("a generated pair has its seed");
        Self { seed, public_key: pair.public_key() }
    }

    /// The public key for the server's configuration, such as `UDXU…`.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }

    /// The seed in clear text, for the connection and the file that stores it.
    pub fn expose(&self) -> &str {
        &self.seed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_comes_back_from_its_text_and_is_never_printed() {
        let seed = NkeySeed::generate();
        let read = NkeySeed::parse(&format!("{}\n", seed.expose())).unwrap();
        assert_eq!(read.public_key(), seed.public_key());
        assert!(!format!("{read:?}").contains(read.expose()));
    }

    #[test]
    fn only_users_have_seeds() {
        let account = KeyPair::new_account().seed().unwrap();
        for text in ["", "SUAM", &account, NkeySeed::generate().public_key()] {
            assert_eq!(NkeySeed::parse(text).unwrap_err(), InvalidSeed, "{text}");
        }
    }
}
