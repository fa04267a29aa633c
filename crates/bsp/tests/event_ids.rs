//! Checks that no change of a parser changes the id of an event. `event_ids.txt` contains the id of every
//! event of every fixture. Back ends deduplicate by these ids across versions of the gateway.
//!
//! A new fixture needs new lines: `UPDATE_EVENT_IDS=1 cargo test -p bsp --test event_ids` appends them. It
//! never changes an existing line.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bsp::{ChannelId, Outcome, Webhook, registry};
use bytes::Bytes;

/// The id of every event, by fixture and position: `gupshup/message_text.json 0`.
fn event_ids() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let channel = ChannelId::parse("202105102694809992").unwrap();
    let mut ids = BTreeMap::new();
    for bsp in registry::REGISTRY {
        let folder = bsp.profile().id.as_str();
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.ends_with(".expected.json") {
                continue;
            }
            let body = Bytes::from(std::fs::read(&path).unwrap());
            let received_at = "2026-03-01T12:00:00Z".parse().unwrap();
            let webhook = Webhook { channel: &channel, body: &body, received_at, sequence: 7 };
            for item in bsp.parse(&webhook).items {
                let id = match item.outcome {
                    Outcome::Report(report) => report.event_id,
                    Outcome::Message(message) => message.event_id,
                    Outcome::Account(event) => event.event_id,
                    Outcome::Customer(event) => event.event_id,
                    Outcome::Ignored(_) | Outcome::Rejected(_) => continue,
                };
                ids.insert(format!("{folder}/{name} {}", item.index), id);
            }
        }
    }
    ids
}

fn pins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/event_ids.txt")
}

fn pinned() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(pins()).unwrap_or_default();
    text.lines()
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(event, id)| (event.to_owned(), id.to_owned()))
        .collect()
}

#[test]
fn no_event_of_a_fixture_has_a_new_id() {
    let (ids, pinned) = (event_ids(), pinned());
    for (event, id) in &pinned {
        assert_eq!(ids.get(event), Some(id), "{event}");
    }
    let new: Vec<_> = ids.iter().filter(|(event, _)| !pinned.contains_key(*event)).collect();
    if std::env::var_os("UPDATE_EVENT_IDS").is_some() {
        let lines: BTreeMap<_, _> = pinned.iter().chain(new).collect();
        let text: String = lines.iter().map(|(event, id)| format!("{event} {id}\n")).collect();
        std::fs::write(pins(), text).unwrap();
        return;
    }
    assert!(new.is_empty(), "missing in event_ids.txt: {new:?}");
}
