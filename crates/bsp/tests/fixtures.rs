//! Checks the result of every parser for every form of body: each file in `fixtures/{bsp}/` is parsed as a
//! stored webhook, and the outcome is compared with the `.expected.json` beside it.
//!
//! After an intended change, `UPDATE_FIXTURES=1 cargo test -p bsp --test fixtures` rewrites the files. Review
//! the diff before you commit it.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::{Path, PathBuf};

use bsp::{ChannelId, Outcome, Parsed, Webhook, registry};
use bytes::Bytes;
use serde_json::{Value, json};

fn to_json(parsed: &Parsed) -> Value {
    let items = parsed.items.iter().map(|item| match &item.outcome {
        Outcome::Report(report) => json!({ "report": report }),
        Outcome::Message(message) => json!({ "message": message }),
        Outcome::Account(event) => json!({ "account": event }),
        Outcome::Customer(event) => json!({ "customer": event }),
        Outcome::Ignored(kind) => json!({ "ignored": kind }),
        Outcome::Rejected(reject) => json!({
            "rejected": { "kind": reject.kind, "reason": reject.reason, "raw": String::from_utf8_lossy(&reject.raw) }
        }),
    });
    let unrecognized = parsed.unrecognized.iter().map(|unrecognized| {
        json!({ "field": unrecognized.field, "value": unrecognized.value, "message_id": unrecognized.message_id })
    });
    let mut outcome =
        json!({ "items": items.collect::<Vec<_>>(), "unrecognized": unrecognized.collect::<Vec<_>>() });
    if !parsed.unread.is_empty() {
        outcome["unread"] = json!(parsed.unread);
    }
    outcome
}

fn bodies(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.to_string_lossy().ends_with(".expected.json"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_fixture_has_its_expected_outcome() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let update = std::env::var_os("UPDATE_FIXTURES").is_some();
    let channel = ChannelId::parse("202105102694809992").unwrap();
    let mut wrong = Vec::new();
    for bsp in registry::REGISTRY {
        for path in bodies(&root.join(bsp.profile().id.as_str())) {
            let body = Bytes::from(std::fs::read(&path).unwrap());
            let received_at = "2026-03-01T12:00:00Z".parse().unwrap();
            let webhook = Webhook { channel: &channel, body: &body, received_at, sequence: 7 };
            let outcome = to_json(&bsp.parse(&webhook));
            let expected_path = path.with_extension("expected.json");
            if update {
                let text = serde_json::to_string_pretty(&outcome).unwrap() + "\n";
                std::fs::write(&expected_path, text).unwrap();
                continue;
            }
            let expected = std::fs::read(&expected_path).unwrap_or_default();
            let expected: Value = serde_json::from_slice(&expected).unwrap_or_default();
            if outcome != expected {
                let outcome = serde_json::to_string_pretty(&outcome).unwrap();
                wrong.push(format!("{} has the outcome\n{outcome}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
