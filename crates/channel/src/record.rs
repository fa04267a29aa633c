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
    /// Whether its webhooks are spooled while the bus does not store them; absent for what its BSP needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool: Option<bool>,
    /// Seconds after which an accepted message without a report is a problem; absent for the timeline's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_after_s: Option<u32>,
    /// Whether the BSP's message log is asked about accepted messages without a report; absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reconcile: bool,
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
            spool: self.spool,
            report_after_s: self.report_after_s,
            reconcile: self.reconcile,
            settings: self.settings.clone(),
            is_paused: self.paused,
        })
    }
}

impl From<&Channel> for Record {
    fn from(channel: &Channel) -> Self {
        Self {
            version: RECORD_VERSION,
            id: channel.id.as_str().to_owned(),
            bsp: channel.bsp.profile().id.as_str().to_owned(),
            tenant: channel.tenant.clone(),
            webhook: channel.credentials.digests().iter().map(hex::encode).collect(),
            key_fingerprint: channel.key_fingerprint.clone(),
            signature: channel.signature.as_ref().map(SignatureRecord::from),
            spool: channel.spool,
            report_after_s: channel.report_after_s,
            reconcile: channel.reconcile,
            settings: channel.settings.clone(),
            paused: channel.is_paused,
        }
    }
}

impl From<&Signature> for SignatureRecord {
    fn from(signature: &Signature) -> Self {
        Self {
            auth_tokens: signature.keys.iter().map(ToString::to_string).collect(),
            public_url: signature.public_url.clone(),
        }
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

    const SPOOLED: &str = r#"{"version":1,"id":"c","bsp":"gupshup","tenant":"t","webhook":[],"key_fingerprint":"f","spool":false,"settings":null}"#;

    const WATCHED: &str = r#"{"version":1,"id":"c","bsp":"gupshup","tenant":"t","webhook":[],"key_fingerprint":"f","report_after_s":60,"settings":null}"#;
    const RECONCILED: &str = r#"{"version":1,"id":"c","bsp":"gupshup","tenant":"t","webhook":[],"key_fingerprint":"f","reconcile":true,"settings":null}"#;

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
            spool: None,
            report_after_s: None,
            reconcile: false,
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
        let spooled = Record { spool: Some(false), ..plain.clone() };
        let watched = Record { report_after_s: Some(60), ..plain.clone() };
        let reconciled = Record { reconcile: true, ..plain.clone() };
        for (stored, record) in [
            (PLAIN, plain),
            (SIGNED, signed),
            (SPOOLED, spooled),
            (WATCHED, watched),
            (RECONCILED, reconciled),
        ] {
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

    /// The reader of services without a spool. They run beside newer ones during a rolling upgrade.
    #[test]
    fn a_version_without_a_spool_reads_a_record_with_one() {
        #[derive(Deserialize)]
        struct RecordBefore {
            version: u32,
            id: String,
            key_fingerprint: String,
        }
        let read: RecordBefore = bsp::json::from_slice(SPOOLED.as_bytes()).unwrap();
        assert_eq!((read.version, read.id.as_str(), read.key_fingerprint.as_str()), (1, "c", "f"));
    }

    #[test]
    fn a_channel_in_memory_becomes_its_record_again() {
        for stored in [
            PLAIN,
            SPOOLED,
            &SIGNED.replace("\"00\"", &format!("\"{}\"", "07".repeat(32))).replace("env:A", "env:TWILIO_A"),
        ] {
            let record = Record::from_json("c", stored.as_bytes()).unwrap();
            assert_eq!(Record::from(&record.to_channel().unwrap()), record);
        }
    }

    #[test]
    fn a_channel_spools_as_its_bsp_needs_unless_it_says_otherwise() {
        let spools = |bsp: &str, spool: Option<bool>| {
            let plain = Record::from_json("c", PLAIN.as_bytes()).unwrap();
            Record { bsp: bsp.to_owned(), spool, ..plain }.to_channel().unwrap().spools()
        };
        for (bsp, needs) in [("infobip", false), ("koomessage", true), ("gupshup", true), ("twilio", true)] {
            assert_eq!(spools(bsp, None), needs, "{bsp}");
            assert!(spools(bsp, Some(true)) && !spools(bsp, Some(false)), "{bsp}");
        }
    }
}
