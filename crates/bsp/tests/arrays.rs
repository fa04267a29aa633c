//! Checks that no parser reads a JSON array as an object. Every object of every fixture, at every level, is
//! replaced by arrays of every length that a derived reader could read field by field.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;

use bsp::{Bsp, ChannelId, Outcome, Parsed, Webhook, registry};
use bytes::Bytes;
use proto::v1::inbound_message::Content;
use serde_json::{Map, Value};

/// More than the number of fields of any struct.
const LENGTH_MAX: usize = 40;
/// The beginning of every element of the arrays. No output may contain it.
const SENTINEL: &str = "sentinel";

fn parse(bsp: &dyn Bsp, body: &Value) -> Parsed {
    let channel = ChannelId::parse("c-1").unwrap();
    let body = Bytes::from(body.to_string());
    let received_at = "2026-03-01T12:00:00Z".parse().unwrap();
    bsp.parse(&Webhook { channel: &channel, body: &body, received_at, sequence: 7 })
}

/// Every fixture that is JSON and contains an object.
fn fixtures(bsp: &dyn Bsp) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(bsp.profile().id.as_str());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if let Ok(body) = serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap())
            && !name.ends_with(".expected.json")
        {
            found.push((name, body));
        }
    }
    found
}

/// JSON pointers of every object, from the body itself to the innermost.
fn objects(value: &Value, pointer: String, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                objects(member, format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
            found.push(pointer);
        }
        Value::Array(elements) => {
            for (position, element) in elements.iter().enumerate() {
                objects(element, format!("{pointer}/{position}"), found);
            }
        }
        _ => {}
    }
}

/// The output without the JSON that an event passes on unchanged, which may contain the array.
fn shown(parsed: Parsed) -> String {
    let items = parsed.items.into_iter().map(|item| match item.outcome {
        Outcome::Report(mut report) => {
            report.unread_json.clear();
            serde_json::to_string(&report).unwrap()
        }
        Outcome::Message(mut message) => {
            message.unread_json.clear();
            match &mut message.content {
                Some(Content::Unsupported(unsupported)) => unsupported.raw_json.clear(),
                Some(Content::FormReply(form)) => form.response_json.clear(),
                _ => {}
            }
            serde_json::to_string(&message).unwrap()
        }
        Outcome::Account(mut event) => {
            event.raw_json.clear();
            event.unread_json.clear();
            serde_json::to_string(&event).unwrap()
        }
        Outcome::Customer(mut event) => {
            event.raw_json.clear();
            event.unread_json.clear();
            serde_json::to_string(&event).unwrap()
        }
        Outcome::Ignored(_) | Outcome::Rejected(_) => String::new(),
    });
    items.collect::<Vec<_>>().join("\n") + &format!("{:?}", parsed.unrecognized)
}

#[test]
fn no_array_is_read_as_an_object_in_any_position_of_any_fixture() {
    let mut replaced = 0;
    for bsp in registry::REGISTRY.iter().filter(|bsp| bsp.profile().media_type == "application/json") {
        for (name, body) in fixtures(*bsp) {
            let mut pointers = Vec::new();
            objects(&body, String::new(), &mut pointers);
            for pointer in pointers {
                for length in 0..=LENGTH_MAX {
                    let mut changed = body.clone();
                    let array = (0..length).map(|number| format!("{SENTINEL}-{number}"));
                    *changed.pointer_mut(&pointer).unwrap() = array.collect();
                    let shown = shown(parse(*bsp, &changed));
                    assert!(!shown.contains(SENTINEL), "{name} {pointer} {length}: {shown}");
                }
                replaced += 1;
            }
        }
    }
    assert!(replaced > 500, "only {replaced} objects were replaced");
}

#[test]
fn the_contents_of_an_array_in_place_of_an_object_change_nothing() {
    // A list of contents is an array, not a replaced object.
    let lists = |pointer: &str| pointer.ends_with("/content") || pointer.ends_with("/contacts");
    for bsp in registry::REGISTRY.iter().filter(|bsp| bsp.profile().media_type == "application/json") {
        for (name, body) in fixtures(*bsp) {
            let mut pointers = Vec::new();
            objects(&body, String::new(), &mut pointers);
            for pointer in pointers.into_iter().filter(|pointer| !lists(pointer)) {
                let replaced_by = |value: Value| {
                    let mut changed = body.clone();
                    *changed.pointer_mut(&pointer).unwrap() = value;
                    let kinds: Vec<String> = parse(*bsp, &changed).items.into_iter().map(kind).collect();
                    kinds
                };
                let Some(Value::Object(members)) = body.pointer(&pointer) else { unreachable!() };
                let values: Vec<Value> = members.values().cloned().collect();
                let own_values = replaced_by(Value::Array(values));
                for element in
                    [Value::Null, Value::from(7), Value::Array(Vec::new()), Value::Object(Map::new())]
                {
                    let others = replaced_by(vec![element; members.len()].into());
                    assert_eq!(others, own_values, "{name} {pointer}");
                }
            }
        }
    }
}

/// The kind of an item and the id of its message.
fn kind(item: bsp::Item) -> String {
    match item.outcome {
        Outcome::Report(report) => format!("report {} {}", report.event_id, report.status().as_str_name()),
        Outcome::Message(message) => {
            let content = serde_json::to_value(&message).unwrap();
            let known: Vec<_> = content.as_object().map(Map::keys).into_iter().flatten().collect();
            format!("message {} {known:?}", message.event_id)
        }
        // Their ids depend on all values of the BSP.
        Outcome::Account(event) => format!("account {}", event.kind().as_str_name()),
        Outcome::Customer(event) => format!("customer {}", event.kind().as_str_name()),
        Outcome::Ignored(kind) => format!("ignored {kind}"),
        Outcome::Rejected(reject) => format!("rejected {}", reject.kind),
    }
}

/// Bodies that became events before.
#[test]
fn arrays_in_place_of_objects_are_dead_letters_or_unread_members() {
    let outcome = |name: &str, body: &str| {
        let bsp = registry::find(name).unwrap();
        let items = parse(bsp, &serde_json::from_str(body).unwrap()).items;
        let [item] = <[bsp::Item; 1]>::try_from(items).unwrap();
        item.outcome
    };
    for (name, body) in [
        ("koomessage", r#"[1,2,3]"#),
        ("koomessage", r#"["delivered","text",{"text":"hi"}]"#),
        ("infobip", r#"[[{"messageId":"m","status":{"groupName":"DELIVERED"}}],null]"#),
        (
            "infobip",
            r#"{"results":[{"messageId":"m","status":["3","DELIVERED","5","DELIVERED_TO_HANDSET","words",""]}]}"#,
        ),
        ("infobip", r#"{"results":[{"messageId":"m","from":"1","message":["TEXT","hi"]}]}"#),
        ("gupshup", r#"["message","1","2",{"id":"m","type":"text","payload":{"text":"hi"}},null]"#),
        ("gupshup", r#"{"type":"message-event","payload":["m","g","read","49","",null,null,null]}"#),
        ("gupshup", r#"{"entry":[{"changes":[["messages",{"statuses":[{"id":"m","status":"read"}]}]]}]}"#),
    ] {
        let outcome = outcome(name, body);
        assert!(
            matches!(&outcome, Outcome::Rejected(reject) if reject.kind == "wrong_shape"),
            "{body}: {outcome:?}"
        );
    }
    let koo = outcome("koomessage", r#"{"message_id":"m","message_type":"text","message":["hi"]}"#);
    let Outcome::Message(message) = koo else { panic!("{koo:?}") };
    let Some(Content::Unsupported(unsupported)) = message.content else { panic!("{message:?}") };
    assert_eq!(unsupported.raw_json, r#"["hi"]"#);

    let error = r#"{"results":[{"messageId":"m","status":{"groupName":"REJECTED"},"error":["1","GROUP","7","NAME","words","true"]}]}"#;
    let Outcome::Report(report) = outcome("infobip", error) else { panic!() };
    assert_eq!((report.error, report.errors.len()), (None, 0));

    let v2 = r#"{"type":"message","payload":{"id":"m","source":"49","type":"text","payload":{"text":"hi"},
        "sender":["Noor","48","u","p","n"],"context":["a","g","1"]}}"#;
    let Outcome::Message(message) = outcome("gupshup", v2) else { panic!() };
    assert_eq!((message.profile_name.as_str(), message.context), ("", None));
}
