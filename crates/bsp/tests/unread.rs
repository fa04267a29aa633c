//! Checks that no data of a BSP is lost silently. Every fixture is sent with an unknown member at every
//! position where an object has members, and the output contains that member.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::path::Path;

use bsp::unread::{OTHER_PATHS, OUTER_PATH, UNREAD_JSON_BYTES_MAX};
use bsp::{Bsp, ChannelId, Outcome, Parsed, Webhook, registry};
use bytes::Bytes;
use proto::v1::inbound_message::Content;
use serde_json::{Value, json};

/// The key of the added member, and the beginning of its value.
const KEY: &str = "unheardOf";
const VALUE: &str = "news-";

fn parse(bsp: &dyn Bsp, body: &[u8]) -> Parsed {
    let channel = ChannelId::parse("c-1").unwrap();
    let body = Bytes::copy_from_slice(body);
    let received_at = "2026-03-01T12:00:00Z".parse().unwrap();
    bsp.parse(&Webhook { channel: &channel, body: &body, received_at, sequence: 7 })
}

fn of(bsp: &str, body: &Value) -> Parsed {
    parse(registry::find(bsp).unwrap(), body.to_string().as_bytes())
}

fn fixtures(bsp: &dyn Bsp) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(bsp.profile().id.as_str());
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let bodies = files.filter(|path| !path.to_string_lossy().ends_with(".expected.json"));
    let mut found: Vec<(String, Vec<u8>)> = bodies
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    found.sort();
    found
}

/// `unread_json` and `unread_cut` of an event.
fn unread(outcome: &Outcome) -> Option<(&str, bool)> {
    match outcome {
        Outcome::Report(event) => Some((&event.unread_json, event.unread_cut)),
        Outcome::Message(event) => Some((&event.unread_json, event.unread_cut)),
        Outcome::Account(event) => Some((&event.unread_json, event.unread_cut)),
        Outcome::Customer(event) => Some((&event.unread_json, event.unread_cut)),
        Outcome::Ignored(_) | Outcome::Rejected(_) => None,
    }
}

/// The parts of an item that are passed on unchanged.
fn whole(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Account(event) => event.raw_json.clone(),
        Outcome::Customer(event) => event.raw_json.clone(),
        Outcome::Message(event) => match &event.content {
            Some(Content::Unsupported(unsupported)) => unsupported.raw_json.clone(),
            Some(Content::FormReply(form)) => form.response_json.clone(),
            _ => String::new(),
        },
        Outcome::Rejected(reject) => String::from_utf8_lossy(&reject.raw).into_owned(),
        Outcome::Report(_) | Outcome::Ignored(_) => String::new(),
    }
}

/// The unread JSON of the events, as JSON.
fn unread_of(parsed: &Parsed) -> Vec<Value> {
    let events = parsed.items.iter().filter_map(|item| unread(&item.outcome));
    events
        .map(|(json, _)| if json.is_empty() { Value::Null } else { serde_json::from_str(json).unwrap() })
        .collect()
}

/// JSON pointers to every object.
fn objects(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.push(at.to_owned());
            for (key, value) in members {
                objects(value, &format!("{at}/{key}"), found);
            }
        }
        Value::Array(elements) => {
            for (place, value) in elements.iter().enumerate() {
                objects(value, &format!("{at}/{place}"), found);
            }
        }
        _ => {}
    }
}

/// The JSON pointer to a text.
fn find(value: &Value, wanted: &str) -> Option<String> {
    match value {
        Value::String(text) => (text == wanted).then(String::new),
        Value::Object(members) => {
            members.iter().find_map(|(key, value)| find(value, wanted).map(|rest| format!("/{key}{rest}")))
        }
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .find_map(|(place, value)| find(value, wanted).map(|rest| format!("/{place}{rest}"))),
        _ => None,
    }
}

/// Whether the value that was added at `pointer` is in the output: as unread, at the same position in its
/// item or around the items, and counted; or in a value that is passed on unchanged. Around items without any
/// event it is only counted.
fn comes_out(parsed: &Parsed, pointer: &str, value: &str) -> bool {
    let place = format!("{pointer}/{KEY}");
    let in_item = |found: &str| place.ends_with(found) || found == format!("/{OUTER_PATH}{place}");
    let is_unread =
        unread_of(parsed).iter().filter_map(|json| find(json, value)).any(|found| in_item(&found));
    let path = format!(".{}.", path(&place));
    let is_counted = parsed.unread.keys().any(|counted| path.contains(&format!(".{counted}")));
    let is_whole = parsed.items.iter().any(|item| whole(&item.outcome).contains(value));
    let has_event = parsed.items.iter().any(|item| unread(&item.outcome).is_some());
    ((is_unread || !has_event) && is_counted) || is_whole
}

/// A JSON pointer in the form of a metric label.
fn path(pointer: &str) -> String {
    let mut path = String::new();
    for step in pointer.split('/').skip(1) {
        let is_index = step.bytes().all(|byte| byte.is_ascii_digit());
        path.push_str(if is_index { "[]" } else { "." });
        path.push_str(if is_index { "" } else { step });
    }
    path.trim_start_matches('.').to_owned()
}

#[test]
fn an_unknown_member_of_any_object_of_any_fixture_is_kept() {
    let (mut places, mut ignored) = (0, BTreeSet::new());
    for bsp in registry::REGISTRY {
        for (name, body) in fixtures(*bsp) {
            let Ok(body) = serde_json::from_slice::<Value>(&body) else { continue };
            let mut pointers = Vec::new();
            objects(&body, "", &mut pointers);
            let before = parse(*bsp, body.to_string().as_bytes());
            for (number, pointer) in pointers.iter().enumerate() {
                let value = format!("{VALUE}{number}-");
                let mut changed = body.clone();
                changed.pointer_mut(pointer).unwrap()[KEY] = value.as_str().into();
                let parsed = parse(*bsp, changed.to_string().as_bytes());
                assert_eq!(parsed.items.len(), before.items.len(), "{name} {pointer}");
                places += 1;
                if comes_out(&parsed, pointer, &value) {
                    continue;
                }
                // An ignored item is counted as a whole, under its own name.
                let is_ignored = parsed.items.iter().any(|item| matches!(item.outcome, Outcome::Ignored(_)));
                assert!(is_ignored, "{}/{name}: lost at '{pointer}': {parsed:?}", bsp.profile().id);
                ignored.insert(format!("{}/{name}", bsp.profile().id));
            }
        }
    }
    assert!(places > 1_000, "only {places} positions");
    let known = [
        "gupshup/ignored_billing_event",
        "gupshup/ignored_preference_event",
        "gupshup/ignored_user_event",
        "gupshup/report_mismatch",
        "gupshup/v3_account_more",
        "gupshup/v3_connectivity_check",
        "gupshup/v3_customer_changes",
        "gupshup/v3_ignored",
        "infobip/identity_changed",
        "infobip/message_messages_api",
        "infobip/notification_echo",
        "infobip/notifications_among_results",
    ];
    assert_eq!(ignored, known.map(str::to_owned).into());
}

#[test]
fn an_unknown_field_of_any_form_is_kept() {
    let bsp = registry::find("twilio").unwrap();
    let mut events = 0;
    for (name, body) in fixtures(bsp) {
        let parsed = parse(bsp, &[&body[..], b"&UnheardOf=a+%22new%22%0Aword%C3%A9&Empty="].concat());
        for (outcome, json) in parsed.items.iter().zip(unread_of(&parsed)) {
            events += 1;
            let said = "a \"new\"\nwordé";
            let is_whole = whole(&outcome.outcome).contains("UnheardOf");
            assert!(json["UnheardOf"] == said || is_whole, "{name}: {json}");
            assert!(json.get("Empty").is_none() && json.get("AccountSid").is_none(), "{name}: {json}");
            assert!(is_whole || parsed.unread["UnheardOf"] == 1, "{name}");
        }
    }
    assert!(events > 40, "only {events} events");
}

/// A body of an Infobip message with these additional members.
fn infobip(members: &Value) -> Value {
    let mut message = json!({
        "messageId": "m", "from": "4915112345", "to": "4930", "receivedAt": "2026-03-01T10:00:00.000+0000",
        "message": { "type": "TEXT", "text": "hi" },
    });
    for (key, value) in members.as_object().unwrap() {
        message[key] = value.clone();
    }
    json!({ "results": [message] })
}

/// A body of Gupshup's version 3 with one status or message.
fn meta(list: &str, item: &Value) -> Value {
    json!({ "entry": [{ "changes": [{ "field": "messages", "value": { list: [item] } }] }] })
}

#[test]
fn members_without_an_event_field_are_kept() {
    let location = json!({ "latitude": 1, "longitude": 2, "url": "https://example.com/here" });
    let status = json!({
        "id": "m", "status": "failed", "recipient_id": "1", "recipient_parent_user_id": "IN.ENT.1",
        "errors": [{ "code": 1 }, { "code": 2, "href": "https://example.com/e", "new": null }],
    });
    let report = json!({
        "results": [{ "messageId": "m", "seenAt": "2026-03-01T10:00:00Z", "contact": { "name": "N" } }],
    });
    for (bsp, body, unread, paths) in [
        (
            "infobip",
            infobip(&json!({ "keyword": "JOIN", "pairedMessageId": "p", "callbackData": 7, "bulk": null })),
            json!({ "keyword": "JOIN", "pairedMessageId": "p", "callbackData": 7 }),
            &["callbackData", "keyword", "pairedMessageId"][..],
        ),
        ("infobip", report, json!({ "contact": { "name": "N" } }), &["contact"]),
        (
            "infobip",
            infobip(&json!({ "message": { "type": "LOCATION", "latitude": 1, "longitude": 2, "url": "u" } })),
            json!({ "message": { "url": "u" } }),
            &["message.url"],
        ),
        (
            "gupshup",
            meta("messages", &json!({ "id": "m", "type": "location", "location": location })),
            json!({ "location": { "url": "https://example.com/here" } }),
            &["location.url"],
        ),
        // A list contains `null` for read elements, up to the last unread element.
        (
            "gupshup",
            meta("statuses", &status),
            json!({ "recipient_parent_user_id": "IN.ENT.1", "errors": [null, { "href": "https://example.com/e" }] }),
            &["errors[].href", "recipient_parent_user_id"],
        ),
        // Members with another shape than the readers expect.
        (
            "infobip",
            infobip(&json!({ "contact": "Noor", "integrationType": { "a": [1] } })),
            json!({ "contact": "Noor", "integrationType": { "a": [1] } }),
            &["contact", "integrationType"],
        ),
        // A second content beside the one that the type names.
        (
            "gupshup",
            meta(
                "messages",
                &json!({ "id": "m", "type": "text", "text": { "body": "a" }, "image": { "id": "i" } }),
            ),
            json!({ "image": { "id": "i" } }),
            &["image"],
        ),
        (
            "koomessage",
            json!({ "message_id": "m", "message_type": "text", "message": { "text": "a", "url": "u" }, "n": [] }),
            json!({ "message": { "url": "u" }, "n": [] }),
            &["message.url", "n"],
        ),
    ] {
        let parsed = of(bsp, &body);
        assert_eq!(unread_of(&parsed), [unread], "{body}");
        assert_eq!(parsed.unread.keys().collect::<Vec<_>>(), paths, "{body}");
        assert!(parsed.unread.values().all(|times| *times == 1), "{body}");
    }
    let form = b"MessageSid=m&From=whatsapp%3A%2B49151&Body=Hi&ReferralHeadline=H&ReferralMediaId=990001";
    let parsed = parse(registry::find("twilio").unwrap(), form);
    assert_eq!(unread_of(&parsed), [json!({ "ReferralMediaId": "990001" })]);
}

#[test]
fn members_that_were_read_or_passed_on_are_not_repeated() {
    let flow = json!({ "type": "INTERACTIVE_FLOW_REPLY", "response": { "any": [{ "thing": 1 }] } });
    for body in [
        infobip(&json!({})),
        infobip(&json!({ "message": { "type": "HOLOGRAM", "beam": { "color": "green" } } })),
        infobip(&json!({ "message": flow })),
    ] {
        let parsed = of("infobip", &body);
        assert_eq!((unread_of(&parsed), parsed.unread.len()), (vec![Value::Null], 0), "{body}");
    }
}

#[test]
fn members_around_the_items_are_in_the_first_event() {
    let mut body = infobip(&json!({ "keyword": "JOIN" }));
    let second = body["results"][0].clone();
    body["results"].as_array_mut().unwrap().push(second);
    body["cursor"] = json!({ "next": "c-2" });
    let parsed = of("infobip", &body);
    let around = json!({ "keyword": "JOIN", OUTER_PATH: { "cursor": { "next": "c-2" } } });
    assert_eq!(unread_of(&parsed), [around, json!({ "keyword": "JOIN" })]);
    assert_eq!(parsed.unread, [("cursor".to_owned(), 1), ("keyword".to_owned(), 2)].into());

    // Without an event it is only counted.
    let parsed = of("infobip", &json!({ "results": [], "cursor": 1 }));
    assert_eq!(parsed.unread, [("cursor".to_owned(), 1)].into());
}

#[test]
fn unread_json_is_cut_on_whole_members() {
    let members: serde_json::Map<String, Value> =
        (0..40).map(|number| (format!("a{}", "b".repeat(number)), json!("x".repeat(number * 40)))).collect();
    let mut body = infobip(&Value::Object(members.clone()));
    body["results"][0]["message"]["last"] = json!(1);
    let parsed = of("infobip", &body);
    let (text, is_cut) = unread(&parsed.items[0].outcome).unwrap();
    let told: Value = serde_json::from_str(text).unwrap();
    assert!(is_cut && text.len() <= UNREAD_JSON_BYTES_MAX && text.len() > UNREAD_JSON_BYTES_MAX / 2);
    let mut count = 0;
    for (key, value) in told.as_object().unwrap() {
        let is_whole =
            members.get(key) == Some(value) || (key == "message" && *value == json!({ "last": 1 }));
        assert!(is_whole, "{key}: {value}");
        count += 1;
    }
    assert!((10..40).contains(&count), "{count} members");
    assert_eq!(parsed.unread.len(), 41, "each is counted anyway");
}

#[test]
fn unread_json_is_filled_to_the_last_byte() {
    let room = UNREAD_JSON_BYTES_MAX - r#"{"a":""}"#.len();
    for (length, is_cut) in [(room, false), (room + 1, true)] {
        let text = "x".repeat(length);
        let form = format!("MessageSid=m&From=1&Body=b&a={text}");
        for parsed in [
            of("infobip", &infobip(&json!({ "a": text }))),
            of("koomessage", &json!({ "message_id": "m", "status": "read", "a": text })),
            parse(registry::find("twilio").unwrap(), form.as_bytes()),
        ] {
            let json = if is_cut { String::new() } else { json!({ "a": text }).to_string() };
            assert_eq!(unread(&parsed.items[0].outcome).unwrap(), (json.as_str(), is_cut));
        }
    }
}

#[test]
fn members_that_are_nested_too_deep_are_cut() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    for (depth, is_cut) in [(63, false), (64, true), (4_000, true)] {
        let body = format!(r#"{{"message_id":"m","status":"read","a":{},"z":1}}"#, nested(depth));
        let parsed = parse(registry::find("koomessage").unwrap(), body.as_bytes());
        let (json, was_cut) = unread(&parsed.items[0].outcome).unwrap();
        assert_eq!(was_cut, is_cut, "{depth}");
        let told: Value = serde_json::from_str(json).unwrap();
        assert!(told["z"] == 1 && told.get("a").is_some() != is_cut, "{told}");
    }
}

#[test]
fn far_elements_of_a_long_list_are_cut() {
    let mut errors = vec![json!({ "code": 1 }); 3_000];
    errors[10]["href"] = "near".into();
    errors[2_999]["href"] = "far".into();
    let status = json!({ "id": "m", "status": "failed", "errors": errors });
    let parsed = of("gupshup", &meta("statuses", &status));
    let (json, is_cut) = unread(&parsed.items[0].outcome).unwrap();
    let told: Value = serde_json::from_str(json).unwrap();
    assert!(is_cut && told["errors"][10]["href"] == "near" && told["errors"].as_array().unwrap().len() == 11);
    assert_eq!(parsed.unread["errors[].href"], 2);
}

#[test]
fn paths_hold_no_data_and_are_at_most_200() {
    let members: serde_json::Map<String, Value> =
        (0..300).map(|number| (format!("k{}", letters(number)), json!(1))).collect();
    let parsed = of("infobip", &infobip(&Value::Object(members)));
    assert_eq!((parsed.unread.len(), parsed.unread[OTHER_PATHS]), (201, 100));

    let told = json!({
        "by": { "4915112345": { "name": "Jane Doe" } }, "4915112345": 1, "Jane Doe": 1, "a".repeat(80): 1, "x1y2z3": 1,
        "m2": { "n": 1 },
    });
    let parsed = of("infobip", &infobip(&told));
    let paths: Vec<&str> = parsed.unread.keys().map(String::as_str).collect();
    assert_eq!(paths, ["*", &"a".repeat(64), "by", "m2", "x1y2z3"]);
    assert_eq!(parsed.unread["*"], 2);
}

/// A number written with letters: digits would make a path look like data.
fn letters(mut number: usize) -> String {
    let mut word = String::new();
    for _ in 0..3 {
        word.push(char::from(b'a' + u8::try_from(number % 10).unwrap()));
        number /= 10;
    }
    word
}

#[test]
fn an_unread_member_with_invalid_utf8_is_counted_and_omitted() {
    let body = b"{\"message_id\":\"m\",\"message_type\":\"text\",\"message\":{\"text\":\"a\",\"title\":\"caf\xe9\"}}";
    let parsed = parse(registry::find("koomessage").unwrap(), body);
    assert_eq!(unread(&parsed.items[0].outcome), Some(("", true)));
    assert_eq!(parsed.unread["message.title"], 1);
}
