//! Checks that log lines hide personal data, even of damaged bodies, and that they show the BSP's texts about
//! statuses and errors.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::path::Path;

use bsp::mask::numbers;
use bsp::{ChannelId, Outcome, Profile, Webhook, registry};
use bytes::Bytes;
use serde_json::Value;

/// Mutants of every JSON fixture.
const MUTANTS: usize = 2_000;
const SEED: u64 = 0x0011_2026;

fn json_fixtures() -> Vec<(&'static Profile, String, Vec<u8>)> {
    let mut found = Vec::new();
    for profile in registry::REGISTRY.iter().map(|bsp| bsp.profile()) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(profile.id.as_str());
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let body = std::fs::read(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !name.ends_with(".expected.json") && serde_json::from_slice::<Value>(&body).is_ok() {
                found.push((profile, name, body));
            }
        }
    }
    found.sort_by(|one, other| one.1.cmp(&other.1));
    assert!(found.len() > 60, "{} bodies", found.len());
    found
}

fn scalars(value: &Value, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => members.values().for_each(|value| scalars(value, all)),
        Value::Array(items) => items.iter().for_each(|value| scalars(value, all)),
        Value::String(text) => {
            all.insert(text.clone());
        }
        Value::Number(number) => {
            all.insert(number.to_string());
        }
        Value::Bool(_) | Value::Null => {}
    }
}

fn mutate(body: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    const SIGNS: &[u8] = b"\"\\{}[]:,0n ";
    let mut mutant = body.to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(0..mutant.len());
        let to = (at + random.usize(1..40)).min(mutant.len());
        match random.u8(0..7) {
            0 => mutant[at] = random.u8(..),
            1 => mutant[at] = SIGNS[random.usize(0..SIGNS.len())],
            2 => mutant.insert(at, SIGNS[random.usize(0..SIGNS.len())]),
            3 => drop(mutant.remove(at)),
            4 => drop(mutant.drain(at..to)),
            5 => {
                let piece = mutant[at..to].to_vec();
                let place = random.usize(0..mutant.len());
                mutant.splice(place..place, piece);
            }
            _ => mutant.truncate(at.max(1)),
        }
        if mutant.is_empty() {
            mutant.push(b'{');
        }
    }
    mutant
}

#[test]
fn damaged_json_shows_no_value() {
    let mut random = fastrand::Rng::with_seed(SEED);
    let (mut damaged, mut shown) = (0_u32, Vec::new());
    for (profile, name, body) in json_fixtures() {
        let mut secrets = BTreeSet::new();
        scalars(&serde_json::from_slice(&body).unwrap(), &mut secrets);
        let whole = profile.masked(&body);
        secrets.retain(|secret| secret.len() > 4 && !whole.contains(secret.as_str()));
        for _ in 0..MUTANTS {
            let mutant = mutate(&body, &mut random);
            if serde_json::from_slice::<Value>(&mutant).is_ok() {
                continue;
            }
            damaged += 1;
            let line = profile.masked(&mutant);
            shown.extend(
                secrets.iter().filter(|secret| line.contains(*secret)).map(|_| (name.clone(), line.clone())),
            );
        }
    }
    assert!(damaged > 50_000, "{damaged} mutants are not JSON");
    assert!(shown.is_empty(), "{} of {damaged} show a value, such as {:?}", shown.len(), shown[0]);
}

/// The parser has read every byte of a body that it calls JSON, so masking need not read it again.
#[test]
fn what_a_parser_calls_json_is_masked_as_if_it_had_not_been_read() {
    let channel = ChannelId::parse("c-1").unwrap();
    let received_at = "2026-03-01T12:00:00Z".parse().unwrap();
    let mut random = fastrand::Rng::with_seed(SEED);
    let (mut known, mut unknown) = (0_u32, 0_u32);
    for (profile, name, body) in json_fixtures() {
        for number in 0..MUTANTS / 10 {
            let body = Bytes::from(if number == 0 { body.clone() } else { mutate(&body, &mut random) });
            let webhook = Webhook { channel: &channel, body: &body, received_at, sequence: 1 };
            if registry::get(profile.id).parse(&webhook).is_json {
                known += 1;
                let text = std::str::from_utf8(&body).unwrap();
                assert_eq!(profile.masked_json(text), profile.masked(&body), "{name}");
            } else {
                unknown += 1;
            }
        }
    }
    assert!(known > 2_000 && unknown > 2_000, "{known} are JSON, {unknown} are not");
}

/// The statuses and errors of an event.
fn said(outcome: Outcome) -> Vec<String> {
    let (mut said, errors) = match outcome {
        Outcome::Report(report) => {
            let status = report.provider_status.unwrap_or_default();
            (vec![status.name, status.description, status.raw], report.errors)
        }
        Outcome::Account(event) => {
            let template = event.template.unwrap_or_default();
            // Gupshup's version 2 uses a bare description also for the rows that customers select, which are
            // texts of messages.
            let errors =
                event.errors.into_iter().filter(|error| !error.name.is_empty() || !error.code.is_empty());
            (vec![template.status, template.reason, event.decision], errors.collect())
        }
        Outcome::Customer(event) => {
            let payment = event.payment.unwrap_or_default();
            (vec![payment.status], payment.error.into_iter().collect())
        }
        _ => return Vec::new(),
    };
    for error in errors {
        // The parser itself writes the end of a restriction.
        let description = error.description.strip_prefix("until ").unwrap_or(&error.description).to_owned();
        said.extend([error.code, error.name, description]);
    }
    said
}

/// Operators need the reason in the log to find out why messages fail.
#[test]
fn the_texts_of_statuses_and_errors_are_shown() {
    let channel = ChannelId::parse("c-1").unwrap();
    let received_at = "2026-03-01T12:00:00Z".parse().unwrap();
    let mut seen = 0;
    for bsp in registry::REGISTRY {
        let profile = bsp.profile();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(profile.id.as_str());
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with(".expected.json") {
                continue;
            }
            let body = Bytes::from(std::fs::read(&path).unwrap());
            if std::str::from_utf8(&body).is_err() {
                continue;
            }
            let line = profile.masked(&body);
            for item in bsp.parse(&Webhook { channel: &channel, body: &body, received_at, sequence: 1 }).items
            {
                for text in said(item.outcome).iter().filter(|text| !text.is_empty()) {
                    let shown = numbers(text);
                    let escaped = serde_json::to_string(&shown).unwrap();
                    let escaped = &escaped[1..escaped.len() - 1];
                    assert!(
                        line.contains(&shown) || line.contains(escaped),
                        "{}: {text}: {line}",
                        path.display()
                    );
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 100, "{seen} words");
}
