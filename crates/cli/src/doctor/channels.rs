//! Checks of the registry: every record can be read, is stored under the key of ingress, and its channel receives
//! webhooks.

use std::time::Duration;

use bus::StreamId;
use bus::Subject;
use bus::inspect::StreamInfo;
use bus::registry::StoredChannel;
use channel::Channel;
use jiff::Timestamp;

use super::finding::{Check, Finding, count, names, span};
use super::probe::Probe;

const RECORDS: Check = Check("channels.records");
const KEY: Check = Check("channels.key");
const SILENT: Check = Check("channels.webhooks");

/// Returns the channels that can be read.
pub(super) fn readable(stored: &[StoredChannel]) -> Vec<Channel> {
    stored.iter().filter_map(|stored| stored.record.as_ref().ok()?.to_channel().ok()).collect()
}

pub(super) fn evaluate_records(stored: &Probe<Vec<StoredChannel>>) -> Finding {
    let stored = match stored {
        Ok(stored) => stored,
        Err(error) => return RECORDS.unseen(error),
    };
    let is_unreadable =
        |stored: &&StoredChannel| stored.record.as_ref().map_or(true, |record| record.to_channel().is_err());
    let unreadable: Vec<String> =
        stored.iter().filter(is_unreadable).map(|stored| stored.id.clone()).collect();
    if !unreadable.is_empty() {
        let what = format!("this version cannot read the records of {}", names(&unreadable));
        let why = "Services that start now ignore these channels: ingress answers their webhooks 401, and senders send nothing.";
        let remedy = "Apply the channels file again with this version, or use the version that wrote them.";
        return RECORDS.error(what, why, remedy).about(unreadable);
    }
    if stored.is_empty() {
        let why = "Ingress answers every webhook 401.";
        return RECORDS.warning(
            "no channel is stored",
            why,
            "Run `imchannel channel apply -f channels.toml`.",
        );
    }
    RECORDS.ok(format!("all of {} can be read", count(stored.len(), "channel")))
}

/// `key` is the fingerprint of the credential key that was given to this command.
pub(super) fn evaluate_key(channels: &[Channel], key: Option<&str>) -> Option<Finding> {
    let first = &channels.first()?.key_fingerprint;
    let why = "A channel that is stored under another key than the one of ingress accepts no password: ingress answers its webhooks 401.";
    let remedy = "Apply the channels file with the key of ingress: `imchannel channel apply -f channels.toml --rekey`.";
    let others = |fingerprint: &str| -> Vec<String> {
        let others = channels.iter().filter(|channel| channel.key_fingerprint != fingerprint);
        others.map(|channel| channel.id.to_string()).collect()
    };
    let Some(key) = key else {
        let others = others(first);
        if !others.is_empty() {
            let what = format!(
                "channels are stored under different keys; {} differ from the others",
                names(&others)
            );
            return Some(KEY.error(what, why, remedy).about(others));
        }
        return Some(KEY.unknown(
            "all channels are stored under one key; without the key of ingress it cannot be compared",
            why,
            "Set IMCHANNEL_CREDENTIAL_KEY to the key of ingress.",
        ));
    };
    let others = others(key);
    if others.is_empty() {
        return Some(KEY.ok("all channels are stored under the given credential key"));
    }
    let what = format!("{} stored under another key than the given one", names(&others));
    Some(KEY.error(what, why, remedy).about(others))
}

/// `subjects` are those of WEBHOOKS that hold a message.
pub(super) fn evaluate_silent(
    channels: &[Channel],
    subjects: &Probe<Vec<(String, usize)>>,
    streams: &Probe<Vec<StreamInfo>>,
    now: Timestamp,
) -> Option<Finding> {
    let subjects = match subjects {
        Ok(subjects) => subjects,
        Err(error) => return Some(SILENT.unseen(error)),
    };
    if channels.is_empty() {
        return None;
    }
    let has_webhook = |channel: &&Channel| {
        let subject = Subject::Webhook(channel.bsp.profile().id, channel.id.clone()).to_text();
        !subjects.iter().any(|(found, _)| *found == subject)
    };
    let silent: Vec<String> =
        channels.iter().filter(has_webhook).map(|channel| channel.id.to_string()).collect();
    // Processed webhooks may have been purged before their maximum age.
    let stream = streams.iter().flatten().find(|stream| stream.id == StreamId::Webhooks);
    let oldest = stream.and_then(|stream| stream.first_time);
    let seen = oldest.and_then(|time| Duration::try_from(now.duration_since(time)).ok());
    let seen =
        seen.map_or_else(|| "among the stored ones".to_owned(), |age| format!("in the last {}", span(age)));
    if silent.is_empty() {
        return Some(SILENT.ok(format!("every channel received a webhook {seen}")));
    }
    Some(
        SILENT
            .warning(
                format!("no webhook {seen} is for {} (at most 72 hours are stored)", names(&silent)),
                "The BSP may use a wrong URL, or a wrong password, which ingress answers 401.",
                "Ask the BSP which URL and header it uses for the channel; see imchannel_ingress_channel_refused_total, and `imchannel top --admin URL` for refused webhooks.",
            )
            .about(silent),
    )
}

#[cfg(test)]
pub(super) mod tests {
    use bsp::SettingsContext;
    use bus::registry::Revision;
    use channel::CredentialKey;

    use super::*;
    use crate::doctor::finding::Level;

    pub(in crate::doctor) fn stored() -> Vec<StoredChannel> {
        let key = CredentialKey::new(&[7; 32]).unwrap();
        let file = include_str!("../../../../examples/channels.toml");
        let described = channel::file::parse(file, &SettingsContext::default()).unwrap();
        let stored = |channel: &channel::file::ChannelSpec| StoredChannel {
            id: channel.id().to_string(),
            revision: Revision(1),
            record: Ok(channel.to_record(&key)),
        };
        described.iter().map(stored).collect()
    }

    #[test]
    fn records_that_cannot_be_read_are_wrong() {
        assert_eq!(evaluate_records(&Ok(stored())).level, Level::Ok);
        assert_eq!(evaluate_records(&Ok(Vec::new())).level, Level::Warning);
        let mut newer = stored();
        newer[1].record.as_mut().unwrap().version = 99;
        let found = evaluate_records(&Ok(newer));
        assert_eq!((found.level, found.subjects), (Level::Error, vec!["koomessage-demo".to_owned()]));
    }

    #[test]
    fn another_key_is_wrong() {
        let channels = readable(&stored());
        let fingerprint = CredentialKey::new(&[7; 32]).unwrap().fingerprint();
        let level = |channels: &[Channel], key| evaluate_key(channels, key).unwrap().level;
        assert_eq!(level(&channels, Some(&fingerprint)), Level::Ok);
        assert_eq!(level(&channels, Some("00000000")), Level::Error);
        assert_eq!(level(&channels, None), Level::Unknown);
        let mut mixed = channels;
        mixed[2].key_fingerprint = "00000000".to_owned();
        assert_eq!(level(&mixed, None), Level::Error);
        assert_eq!(evaluate_key(&[], None), None);
    }

    #[test]
    fn a_silent_channel_is_a_warning() {
        let channels = readable(&stored());
        let subjects: Vec<_> = channels
            .iter()
            .map(|channel| {
                (Subject::Webhook(channel.bsp.profile().id, channel.id.clone()).to_text(), 3_usize)
            })
            .collect();
        let evaluated = |subjects: &[(String, usize)]| {
            evaluate_silent(&channels, &Ok(subjects.to_vec()), &Ok(Vec::new()), Timestamp::UNIX_EPOCH)
                .unwrap()
        };
        assert_eq!(evaluated(&subjects).level, Level::Ok);
        let found = evaluated(&subjects[1..]);
        assert_eq!((found.level, found.subjects), (Level::Warning, vec!["202105102694809992".to_owned()]));
    }
}
