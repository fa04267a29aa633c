//! Ids and numbers as keyed hashes. An id such as `wamid.…` contains the customer's number, so no id is stored in a form that
//! can be read back without the key: a look-up hashes what it is given, and compares hashes.
//!
//! The key is a secret of the installation ([`crate::secret`]). Without it nothing that is stored can be found by id or number.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a hash that are stored.
pub const KEY_BYTES: usize = 16;
/// Bytes of the secret.
pub const SECRET_BYTES: usize = 32;

/// 128 bits of the HMAC-SHA-256 of an id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupKey(pub [u8; KEY_BYTES]);

/// 128 bits of the HMAC-SHA-256 of a number or user id, under a key of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecipientKey(pub [u8; KEY_BYTES]);

impl fmt::Debug for LookupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..4]))
    }
}

impl fmt::Debug for RecipientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Hashes ids and recipients. Made of one secret, from which it derives a key for each purpose.
#[derive(Clone)]
pub struct Keys {
    ids: Hmac<Sha256>,
    recipients: Hmac<Sha256>,
    cursors: Hmac<Sha256>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(***)")
    }
}

impl Keys {
    /// The keys of a secret.
    pub fn of_secret(secret: &[u8; SECRET_BYTES]) -> Self {
        let keyed = |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
        let derived = |purpose: &str| {
            let mut mac = keyed(secret);
            mac.update(purpose.as_bytes());
            keyed(&mac.finalize().into_bytes())
        };
        Self {
            ids: derived("imchannel timeline ids"),
            recipients: derived("imchannel timeline recipients"),
            cursors: derived("imchannel timeline cursors"),
        }
    }

    /// The key of an id. Ids of every kind share one space: a look-up does not know of which kind its id is.
    pub fn id(&self, id: &str) -> LookupKey {
        LookupKey(shortened(self.ids.clone(), id.as_bytes()))
    }

    /// The key of the message with a sequence in a stream: that of `WEBHOOKS/123`.
    pub fn stored(&self, stream: &str, sequence: u64) -> LookupKey {
        self.id(&format!("{stream}/{sequence}"))
    }

    /// The key of a recipient, for whom the usual forms of a number are the same: a prefix `whatsapp:`, `+` or `00`, and
    /// separators do not count.
    pub fn recipient(&self, recipient: &str) -> RecipientKey {
        RecipientKey(shortened(self.recipients.clone(), plain_recipient(recipient).as_bytes()))
    }

    /// A signature of something that a client returns, such as a cursor.
    pub fn signature(&self, text: &[u8]) -> [u8; KEY_BYTES] {
        shortened(self.cursors.clone(), text)
    }
}

fn shortened(mut mac: Hmac<Sha256>, text: &[u8]) -> [u8; KEY_BYTES] {
    mac.update(text);
    let whole = mac.finalize().into_bytes();
    let mut key = [0; KEY_BYTES];
    key.copy_from_slice(&whole[..KEY_BYTES]);
    key
}

/// The digits of a number; an id that is not a number stays as it is.
fn plain_recipient(recipient: &str) -> String {
    let text = recipient.trim();
    let text = text.strip_prefix("whatsapp:").unwrap_or(text).trim();
    let is_separator = |c: char| matches!(c, '+' | ' ' | '-' | '(' | ')' | '.' | '/' | '\u{a0}');
    if !text.chars().all(|c| c.is_ascii_digit() || is_separator(c)) {
        return text.to_owned();
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    match digits.strip_prefix("00") {
        Some(rest) if !text.starts_with('+') => rest.to_owned(),
        _ => digits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_forms_of_a_number_have_one_key_and_ids_another() {
        let keys = Keys::of_secret(&[7; SECRET_BYTES]);
        let key = keys.recipient("4915112345678");
        for form in ["+49 151 123-45678", "whatsapp:+4915112345678", "004915112345678", " 4915112345678 "] {
            assert_eq!(keys.recipient(form), key, "{form}");
        }
        assert_ne!(keys.recipient("GB.4915112345678"), key);
        assert_ne!(keys.id("4915112345678").0, key.0, "each purpose has its own key");
        assert_ne!(Keys::of_secret(&[8; SECRET_BYTES]).recipient("4915112345678"), key);
        assert_eq!(keys.stored("WEBHOOKS", 17), keys.id("WEBHOOKS/17"));
        assert!(!format!("{keys:?} {key:?}").contains("4915"));
    }
}
