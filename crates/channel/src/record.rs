//! The record of a channel in the registry bucket: JSON without secrets in clear text.

use bsp::secret_reference::SecretReference;
use bsp::{ChannelId, registry};
use serde::{Deserialize, Serialize};

use crate::channels::{Channel, Signature};
use crate::credential::Credentials;

/// Version of the stored record that this build writes and reads.
pub const RECORD_VERSION: u32 = 1;

/// A channel as it is stored. Fields of newer versions are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// The channel's id, equal to the key in the bucket.
    pub id: String,
    /// The BSP's name.
    pub bsp: String,
    /// The tenant, as it appears in media URLs.
    pub tenant: String,
    /// HMAC-SHA-256 of each accepted webhook credential, in hexadecimal digits.
    pub webhook: Vec<String>,
    /// Fingerprint of the key of the digests.
    pub key_fingerprint: String,
    /// How signatures are verified; absent if they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureRecord>,
    /// The BSP's own settings; `null` where it has none.
    #[serde(default)]
    pub settings: serde_json::Value,
    /// Whether an operator has paused sending through it. Applying a channels file does not change it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// How a channel's request signatures are checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignatureRecord {
    /// References of the signing keys.
    pub auth_tokens: Vec<String>,
    /// Scheme, host and port under which the BSP reaches the gateway.
    pub public_url: String,
}

/// A stored value is not a valid channel.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRecord {
    /// The value is not JSON of this shape.
    #[error("cannot parse the record of channel '{key}'")]
    Unreadable {
        /// The key in the bucket.
        key: String,
        /// The error of serde.
        #[source]
        source: serde_json::Error,
    },
    /// A field has an invalid value.
    #[error("invalid '{field}' in the record of channel '{key}'")]
    Field {
        /// The key in the bucket.
        key: String,
        /// The field.
        field: &'static str,
    },
}

impl Record {
    /// Parses the stored value of `key`.
    ///
    /// # Errors
    /// [`InvalidRecord`] when the value is invalid.
    pub fn from_json(key: &str, json: &[u8]) -> Result<Self, InvalidRecord> {
        let read = bsp::json::from_slice::<Self>(json);
        let record = read.map_err(|source| InvalidRecord::Unreadable { key: key.to_owned(), source })?;
        if record.id != key {
            return Err(InvalidRecord::Field { key: key.to_owned(), field: "id" });
        }
        Ok(record)
    }

    /// The value to store, as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("all map keys of a record are strings")
    }

    /// The channel that the record describes. The record is validated again, because another version may have
    /// written it.
    ///
    /// # Errors
    /// [`InvalidRecord::Field`] naming the field.
    pub fn to_channel(&self) -> Result<Channel, InvalidRecord> {
        let invalid = |field| InvalidRecord::Field { key: self.id.clone(), field };
        if self.version != RECORD_VERSION {
            return Err(invalid("version"));
        }
        let digest = |text: &String| -> Option<[u8; 32]> { hex::decode(text).ok()?.try_into().ok() };
        let digests: Option<Vec<_>> = self.webhook.iter().map(digest).collect();
        let bsp = registry::find(&self.bsp).ok_or_else(|| invalid("bsp"))?;
        let signature = match &self.signature {
            Some(record) if bsp.profile().signs_requests => Some(
                record.to_signature(bsp.profile().secret_variables).ok_or_else(|| invalid("signature"))?,
            ),
            Some(_) => return Err(invalid("signature")),
            None => None,
        };
        Ok(Channel {
            id: ChannelId::parse(&self.id).map_err(|_| invalid("id"))?,
            bsp,
            tenant: self.tenant.clone(),
            credentials: Credentials::new(digests.ok_or_else(|| invalid("webhook"))?),
            key_fingerprint: self.key_fingerprint.clone(),
            signature,
            settings: self.settings.clone(),
            is_paused: self.paused,
        })
    }
}

impl SignatureRecord {
    fn to_signature(&self, variables: &str) -> Option<Signature> {
        let references = self.auth_tokens.iter().map(|text| SecretReference::parse(text, variables));
        let keys: Option<Vec<_>> = references.collect();
        Some(Signature { keys: keys?, public_url: self.public_url.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: &str = r#"{"version":1,"id":"c","bsp":"twilio","tenant":"t","webhook":["00"],"key_fingerprint":"f","signature":{"auth_tokens":["env:A"],"public_url":"https://example.com"},"settings":{"a":1},"paused":true}"#;
    const PLAIN: &str = r#"{"version":1,"id":"c","bsp":"gupshup","tenant":"t","webhook":[],"key_fingerprint":"f","settings":null}"#;

    /// docs/compatibility.md promises this form. Version 0.1 wrote this text; do not change it.
    #[test]
    fn a_record_of_an_earlier_version_is_read_and_written_unchanged() {
        let signature = SignatureRecord {
            auth_tokens: vec!["env:A".to_owned()],
            public_url: "https://example.com".to_owned(),
        };
        let plain = Record {
            version: 1,
            id: "c".to_owned(),
            bsp: "gupshup".to_owned(),
            tenant: "t".to_owned(),
            webhook: Vec::new(),
            key_fingerprint: "f".to_owned(),
            signature: None,
            settings: serde_json::Value::Null,
            paused: false,
        };
        let signed = Record {
            bsp: "twilio".to_owned(),
            webhook: vec!["00".to_owned()],
            signature: Some(signature),
            settings: serde_json::json!({ "a": 1 }),
            paused: true,
            ..plain.clone()
        };
        for (stored, record) in [(PLAIN, plain), (SIGNED, signed)] {
            assert_eq!(Record::from_json("c", stored.as_bytes()).unwrap(), record);
            assert_eq!(String::from_utf8(record.to_json()).unwrap(), stored);
            let later = stored.replacen('{', r#"{"added_later":1,"#, 1);
            assert_eq!(
                Record::from_json("c", later.as_bytes()).unwrap(),
                record,
                "a later version may add a field"
            );
        }
    }
}
