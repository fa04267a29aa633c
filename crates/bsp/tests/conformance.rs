//! Checks the rules that the gateway relies on for every BSP in the registry and every body, and that no
//! input makes a parser panic.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::HashMap;
use std::path::Path;

use bsp::{Bsp, ChannelId, CredentialForm, Outcome, Parsed, Webhook, registry};
use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;

fn parse(bsp: &dyn Bsp, body: &[u8], sequence: u64) -> Parsed {
    let channel = ChannelId::parse("c-1").unwrap();
    let body = Bytes::copy_from_slice(body);
    let received_at = "2026-03-01T12:00:00Z".parse().unwrap();
    bsp.parse(&Webhook { channel: &channel, body: &body, received_at, sequence })
}

fn fixtures(bsp: &dyn Bsp) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(bsp.profile().id.as_str());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".expected.json") {
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
    assert!(found.len() > 10, "{} has too few fixtures", folder.display());
    found
}

fn event_ids(parsed: &Parsed) -> Vec<String> {
    let ids = parsed.items.iter().filter_map(|item| match &item.outcome {
        Outcome::Report(report) => Some(report.event_id.clone()),
        Outcome::Message(message) => Some(message.event_id.clone()),
        Outcome::Account(event) => Some(event.event_id.clone()),
        Outcome::Customer(event) => Some(event.event_id.clone()),
        Outcome::Ignored(_) | Outcome::Rejected(_) => None,
    });
    ids.collect()
}

#[test]
fn every_event_is_complete() {
    for bsp in registry::REGISTRY {
        let id = bsp.profile().id.as_str();
        for (name, body) in fixtures(*bsp) {
            let parsed = parse(*bsp, &body, 7);
            assert!(!parsed.items.is_empty(), "{id}/{name} has no items");
            for (position, item) in parsed.items.iter().enumerate() {
                assert_eq!(item.index as usize, position, "{id}/{name}");
                let (event_id, from, source, message_id) = match &item.outcome {
                    Outcome::Report(r) => (&r.event_id, (&r.bsp, &r.channel_id), r.source, &r.message_id),
                    Outcome::Message(m) => {
                        assert!(m.content.is_some(), "{id}/{name} has no content");
                        (&m.event_id, (&m.bsp, &m.channel_id), m.source, &m.message_id)
                    }
                    // These events have no message id; they have a kind instead.
                    Outcome::Account(a) => {
                        assert_ne!(a.kind, 0, "{id}/{name}");
                        (&a.event_id, (&a.bsp, &a.channel_id), a.source, &a.event_id)
                    }
                    Outcome::Customer(c) => {
                        assert_ne!(c.kind, 0, "{id}/{name}");
                        (&c.event_id, (&c.bsp, &c.channel_id), c.source, &c.event_id)
                    }
                    Outcome::Ignored(_) | Outcome::Rejected(_) => continue,
                };
                assert_eq!(event_id.len(), 32, "{id}/{name}");
                assert_eq!((from.0.as_str(), from.1.as_str()), (id, "c-1"), "{id}/{name}");
                assert!(!message_id.is_empty(), "{id}/{name}");
                let source = source.unwrap();
                assert_eq!(
                    (source.stream_sequence, source.item_index as usize),
                    (7, position),
                    "{id}/{name}"
                );
            }
        }
    }
}

#[test]
fn an_item_that_is_rejected_alone_is_rejected_in_a_separate_body_too() {
    for bsp in registry::REGISTRY {
        for (name, body) in fixtures(*bsp) {
            for item in parse(*bsp, &body, 7).items {
                let Outcome::Rejected(refused) = item.outcome else { continue };
                if refused.raw.len() == body.len() {
                    continue;
                }
                let again = parse(*bsp, &bsp.wrap_item(&refused.raw), 7).items;
                let Some(Outcome::Rejected(second)) = again.first().map(|item| &item.outcome) else {
                    panic!("{name}: {again:?}");
                };
                assert_eq!(
                    (again.len(), second.kind, &second.raw),
                    (1, refused.kind, &refused.raw),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn the_same_body_has_the_same_ids_in_every_stored_message() {
    for bsp in registry::REGISTRY {
        for (name, body) in fixtures(*bsp) {
            let (first, second) = (parse(*bsp, &body, 1), parse(*bsp, &body, 99));
            assert_eq!(event_ids(&first), event_ids(&second), "{name}");
        }
    }
}

#[test]
fn no_two_different_events_share_an_id() {
    let mut seen: HashMap<String, (String, String)> = HashMap::new();
    for bsp in registry::REGISTRY {
        for (name, body) in fixtures(*bsp) {
            for item in parse(*bsp, &body, 1).items {
                let (id, content) = match item.outcome {
                    Outcome::Report(mut report) => {
                        report.source = None;
                        (report.event_id.clone(), format!("{report:?}"))
                    }
                    Outcome::Message(mut message) => {
                        message.source = None;
                        (message.event_id.clone(), format!("{message:?}"))
                    }
                    Outcome::Account(mut event) => {
                        event.source = None;
                        (event.event_id.clone(), format!("{event:?}"))
                    }
                    Outcome::Customer(mut event) => {
                        event.source = None;
                        (event.event_id.clone(), format!("{event:?}"))
                    }
                    Outcome::Ignored(_) | Outcome::Rejected(_) => continue,
                };
                if let Some((other, other_content)) = seen.insert(id, (name.clone(), content.clone())) {
                    assert_eq!(content, other_content, "{name} and {other} share an id");
                }
            }
        }
    }
}

#[test]
fn the_expected_credential_equals_the_presented_one() {
    for bsp in registry::REGISTRY {
        let profile = bsp.profile();
        assert_eq!(bsp.presented_credential(&HeaderMap::new()), None, "{}", profile.id);
        let user = (profile.credential == CredentialForm::UserAndPassword).then_some("user");
        assert_ne!(bsp.expected_credential(user, "a"), bsp.expected_credential(user, "b"));
        // A challenge makes a BSP send a user and a password.
        assert_eq!(profile.challenge.is_some(), user.is_some(), "{}", profile.id);
    }
}

#[test]
fn a_truncated_body_is_rejected_as_a_whole() {
    for bsp in registry::REGISTRY.iter().filter(|bsp| bsp.profile().media_type == "application/json") {
        for (name, body) in fixtures(*bsp).into_iter().filter(|(name, _)| name.starts_with("report")) {
            let end = body.iter().rposition(|byte| *byte == b'}').unwrap();
            for length in 0..end {
                let parsed = parse(*bsp, &body[..length], 1);
                let [item] = parsed.items.as_slice() else { panic!("{name} cut to {length}") };
                let Outcome::Rejected(reject) = &item.outcome else { panic!("{name} cut to {length}") };
                assert_eq!(&reject.raw[..], &body[..length], "the dead letter contains the exact bytes");
            }
        }
    }
}

#[test]
fn deep_nesting_rejects_at_most_the_item() {
    let depth = 100_000;
    for bsp in registry::REGISTRY {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let inner = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            for body in [
                inner.clone(),
                format!(r#"{{"results":[{{"messageId":"m","status":{inner}}}]}}"#),
                format!(r#"{{"results":[{inner},{{"messageId":"m","status":{{"groupName":"PENDING"}}}}]}}"#),
                format!(r#"{{"message_id":"m","status":"read","extra":{inner}}}"#),
                format!(
                    r#"{{"type":"message-event","payload":{{"id":"m","type":"read","payload":{inner}}}}}"#
                ),
                format!("MessageSid=m&MessageStatus=read&Body={inner}"),
            ] {
                let parsed = parse(*bsp, body.as_bytes(), 1);
                assert!(!parsed.items.is_empty());
            }
        }
    }
}

#[test]
fn a_body_of_too_many_items_is_rejected_as_a_whole() {
    let body = format!(r#"{{"results":[{}1]}}"#, "1,".repeat(bsp::parsed::ITEMS_MAX));
    let parsed = parse(registry::find("infobip").unwrap(), body.as_bytes(), 1);
    let [item] = parsed.items.as_slice() else { panic!("{} items", parsed.items.len()) };
    let Outcome::Rejected(reject) = &item.outcome else { panic!("{item:?}") };
    assert_eq!((reject.kind, &reject.raw[..]), ("too_many_items", body.as_bytes()));
}

#[test]
fn masked_lines_hide_every_number_and_text_of_the_fixtures() {
    let personal = [
        "49151",
        "86186",
        "86187",
        "91800",
        "3912345",
        "Username1",
        "Asha",
        "Zo",
        "Oh well",
        "Hello",
        "Li\"",
        "noor.w",
        "Noor",
        "Winter sale",
        "boots",
        "Which size",
        "CLID-",
        "ENT.",
        "excellent",
        "Pune",
        "Better said",
        "campaign-1",
        "ticket 7",
        "order-1",
    ];
    for bsp in registry::REGISTRY {
        let profile = bsp.profile();
        for (name, body) in fixtures(*bsp) {
            let line = profile.masked(&body);
            assert!(!line.contains('\n'), "{name}");
            for secret in personal {
                assert!(!line.contains(secret), "{name} shows {secret}: {line}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_make_a_parser_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        for bsp in registry::REGISTRY {
            parse(*bsp, &body, 1);
            bsp.profile().masked(&body);
        }
    }

    #[test]
    fn no_change_of_a_real_body_makes_a_parser_panic(
        pick in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        for bsp in registry::REGISTRY {
            let all = fixtures(*bsp);
            let mut body = pick.get(&all).1.clone();
            for (at, byte) in &edits {
                if !body.is_empty() {
                    let at = at.index(body.len());
                    body[at] = *byte;
                }
            }
            parse(*bsp, &body, 1);
            bsp.profile().masked(&body);
        }
    }
}

#[test]
fn the_sample_report_is_one_report_without_anything_unknown() {
    for bsp in registry::REGISTRY {
        let profile = bsp.profile();
        let id = profile.id.as_str();
        let parsed = parse(*bsp, profile.sample_report.as_bytes(), 7);
        assert!(
            matches!(parsed.items[..], [bsp::Item { outcome: Outcome::Report(_), .. }]),
            "{id}: {parsed:?}"
        );
        assert!(parsed.unrecognized.is_empty() && parsed.unread.is_empty(), "{id}: {parsed:?}");
        // It is printed inside single quotes for a shell.
        assert!(!profile.sample_report.contains('\''), "{id}");
        assert!(profile.credential_hint.contains("PASSWORD"), "{id}: the hint has a place for the password");
    }
}
