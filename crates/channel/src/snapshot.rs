//! All channels of one moment as one document, for a service that starts while it cannot read the registry. Like the
//! registry it holds digests of credentials and references to secrets, and no secret.
//!
//! It has what is needed to receive webhooks: the settings of sending are left out. Storing it is left to the service.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::channels::Channels;
use crate::record::{InvalidRecord, Record};

/// Version of the document that this build writes and reads.
pub const SNAPSHOT_VERSION: u32 = 1;

/// A document cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is not JSON of this shape.
    #[error("not a registry of imchannel")]
    Unreadable(#[source] serde_json::Error),
    /// Another version has written it.
    #[error("version {0}, but this version of imchannel reads version {SNAPSHOT_VERSION}")]
    Version(u32),
}

/// What a document holds.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The channels.
    pub channels: Channels,
    /// Channels that this version cannot use. They are left out.
    pub invalid: Vec<InvalidRecord>,
}

#[derive(Serialize)]
struct Written {
    version: u32,
    channels: Vec<Record>,
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    // A record that cannot be read must not cost the others.
    channels: Vec<Value>,
}

/// Writes a document. The same channels give the same bytes.
///
/// # Examples
/// ```
/// use channel::{Channels, snapshot};
///
/// let written = snapshot::to_json(&Channels::default());
/// assert!(snapshot::from_json(&written)?.channels.is_empty());
/// # Ok::<(), snapshot::SnapshotError>(())
/// ```
pub fn to_json(channels: &Channels) -> Vec<u8> {
    let record = |channel: &std::sync::Arc<crate::channels::Channel>| Record {
        settings: Value::Null,
        paused: false,
        ..Record::from(&**channel)
    };
    let mut records: Vec<Record> = channels.iter().map(record).collect();
    records.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let document = Written { version: SNAPSHOT_VERSION, channels: records };
    serde_json::to_vec(&document).expect("all map keys of a record are strings")
}

/// Reads a document.
///
/// # Errors
/// [`SnapshotError`] if it is not a document of this version. A record that is invalid is listed and left out.
pub fn from_json(json: &[u8]) -> Result<Snapshot, SnapshotError> {
    let read: Read = bsp::json::from_slice(json).map_err(SnapshotError::Unreadable)?;
    if read.version != SNAPSHOT_VERSION {
        return Err(SnapshotError::Version(read.version));
    }
    let mut snapshot = Snapshot::default();
    for value in read.channels {
        let key = value["id"].as_str().unwrap_or_default().to_owned();
        let record = Record::from_json(&key, value.to_string().as_bytes());
        match record.and_then(|record| record.to_channel()) {
            Ok(channel) => snapshot.channels.insert(channel),
            Err(error) => snapshot.invalid.push(error),
        }
    }
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use bsp::SettingsContext;

    use super::*;
    use crate::{CredentialKey, file};

    const FILE: &str = r#"
[[channel]]
id = "z"
bsp = "twilio"
tenant = "t"
webhook = [{ user = "user", password = "a-password" }]
signature = { auth_tokens = ["env:TWILIO_TOKEN"], public_url = "https://gateway.example" }
spool = false
[[channel]]
id = "a"
bsp = "infobip"
tenant = "t"
webhook = [{ password = "another-password" }]
[channel.infobip]
base_url = "https://xxxx.api.infobip.com"
api_key = "env:INFOBIP_API_KEY"
scenario_key = "a-scenario"
"#;

    /// docs/compatibility.md promises this form. Do not change it: ingress reads what an earlier version has written.
    const STORED: &str = r#"{"version":1,"channels":[{"version":1,"id":"c","bsp":"gupshup","tenant":"t","webhook":[],"key_fingerprint":"f","settings":null}]}"#;

    fn channels() -> Channels {
        let key = CredentialKey::new(&[7; 32]).unwrap();
        let mut channels = Channels::default();
        for channel in file::parse(FILE, &SettingsContext::default()).unwrap() {
            channels.insert(channel.to_record(&key).to_channel().unwrap());
        }
        channels
    }

    #[test]
    fn the_channels_are_written_without_secrets_and_read_again() {
        let channels = channels();
        let json = String::from_utf8(to_json(&channels)).unwrap();
        for secret in ["a-password", "another-password", "a-scenario", "xxxx.api"] {
            assert!(!json.contains(secret), "{json}");
        }
        assert!(json.contains("env:TWILIO_TOKEN"), "a reference names a secret, and is not one");
        let read = from_json(json.as_bytes()).unwrap();
        assert!(read.invalid.is_empty() && read.channels.len() == 2);
        for before in channels.iter() {
            let after = read.channels.get(before.id.as_str()).unwrap();
            assert_eq!(after.credentials, before.credentials);
            assert_eq!((after.spools(), &after.key_fingerprint), (before.spools(), &before.key_fingerprint));
            assert_eq!(after.signature.is_some(), before.signature.is_some());
        }
        assert_eq!(to_json(&read.channels), json.as_bytes(), "the same channels are the same bytes");
    }

    #[test]
    fn what_an_earlier_version_wrote_is_read_and_written_alike() {
        let read = from_json(STORED.as_bytes()).unwrap();
        assert_eq!(to_json(&read.channels), STORED.as_bytes());
        let later = STORED.replacen('{', r#"{"added_later":1,"#, 1);
        assert_eq!(
            from_json(later.as_bytes()).unwrap().channels.len(),
            1,
            "a later version may add a member"
        );
    }

    #[test]
    fn a_record_that_is_invalid_costs_no_other() {
        for bad in [r#"{"id":"b","version":2}"#, r#"{"id":7}"#, "null", r#"["b"]"#] {
            let document = STORED.replacen("[{", &format!("[{bad},{{"), 1);
            let read = from_json(document.as_bytes()).unwrap();
            assert_eq!((read.channels.len(), read.invalid.len()), (1, 1), "{bad}");
        }
    }

    #[test]
    fn anything_else_is_an_error() {
        for bad in ["", "{", "[1,[]]", r#"{"version":1}"#, r#"{"version":1,"channels":{}}"#, &STORED[..90]] {
            assert!(matches!(from_json(bad.as_bytes()), Err(SnapshotError::Unreadable(_))), "{bad}");
        }
        let other = STORED.replacen("\"version\":1", "\"version\":2", 1);
        assert!(matches!(from_json(other.as_bytes()), Err(SnapshotError::Version(2))));
    }
}
