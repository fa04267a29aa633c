//! Commands of back ends: which are decoded, and the faults of the others.

#![allow(clippy::unwrap_used, reason = "a test may")]

use bsp::command::{Encoding, Undecodable, decode};
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use proto::v1::outbound_media::Source;
use proto::v1::send_command::Content;
use proto::v1::{OutboundText, SendCommand};
use serde_json::{Value, json};

fn json(text: &str) -> Result<SendCommand, Undecodable> {
    decode(Some("application/json"), &Bytes::copy_from_slice(text.as_bytes()))
}

/// The field and the text of the fault.
fn fault(text: &str) -> (String, String) {
    let fault = json(text).unwrap_err().fault;
    (fault.field, fault.rule)
}

fn text(body: &str) -> SendCommand {
    SendCommand {
        command_id: "c".to_owned(),
        content: Some(Content::Text(OutboundText { body: body.to_owned(), preview_url: false })),
        ..SendCommand::default()
    }
}

#[test]
fn an_explicit_null_is_an_absent_field_in_any_position() {
    let all = [
        r#"{"commandId":"c","notAfter":null,"context":null,"text":{"body":"hi","previewUrl":null},"image":null}"#,
        r#"{"image":null,"template":null,"text":{"previewUrl":null,"body":"hi"},"not_after":null,"commandId":"c"}"#,
        r#"{"text":null,"commandId":"c","text":{"body":"hi"},"contacts":null,"recipient":null}"#,
        "{\"commandId\":\"c\",\n \"text\" : {\"body\":\"hi\"} ,\"video\" :\tnull }",
    ];
    for source in all {
        assert_eq!(json(source).unwrap(), text("hi"), "{source}");
    }
    let image = r#"{"image":{"data":null,"url":"https://a.example/a.png","mediaId":null,"caption":null,"fileName":null}}"#;
    let Some(Content::Image(image)) = json(image).unwrap().content else { panic!("not an image") };
    assert_eq!(image.source, Some(Source::Url("https://a.example/a.png".to_owned())));
    let template = r#"{"template":{"name":"t","language":"en","namespace":null,"placeholders":null,
        "header":{"text":null,"image":{"mediaId":"m","url":null}},"buttons":[{"quickReplyPayload":null,"urlPlaceholder":"u"}]}}"#;
    let Some(Content::Template(template)) = json(template).unwrap().content else { panic!("not a template") };
    assert_eq!((template.placeholders.len(), template.buttons.len()), (0, 1));
    assert!(template.header.unwrap().content.is_some() && template.buttons[0].content.is_some());
    // A null in a list is an error.
    let (field, rule) = fault(r#"{"template":{"placeholders":["a",null]}}"#);
    assert_eq!(
        (field.as_str(), rule.as_str()),
        ("template.placeholders[1]", "must be a string; line 1, column 34")
    );
}

#[test]
fn json_is_detected_by_its_header_or_by_its_first_brace() {
    let payload = |lead: &str| Bytes::from([lead, r#"{"commandId":"c","text":{"body":"hi"}}"#].concat());
    for declared in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/protobuf+json",
        "application/vnd.shop.command+JSON;v=1",
        "application/cloudevents+json",
    ] {
        assert_eq!(decode(Some(declared), &payload("")).unwrap(), text("hi"), "{declared}");
    }
    for lead in ["", "\u{feff}", " \r\n\t", "\u{feff}\n", "\n\u{feff} "] {
        for declared in [None, Some(""), Some("application/json")] {
            assert_eq!(decode(declared, &payload(lead)).unwrap(), text("hi"), "{lead:?} {declared:?}");
        }
    }
    let protobuf = Bytes::from(text("{").encode_to_vec());
    for declared in [None, Some("application/protobuf"), Some("application/x-protobuf"), Some("text/plain")] {
        assert_eq!(decode(declared, &protobuf).unwrap(), text("{"), "{declared:?}");
    }
    for declared in ["text/json", "application/+json", "json", "application/json5", "application/protobuf"] {
        assert_eq!(Encoding::of(Some(declared), b"{"), Encoding::Protobuf, "{declared}");
    }
}

#[test]
fn a_fault_names_the_field_the_expected_value_and_the_position() {
    for (source, field, rule) in [
        (
            r#"{"commandId":"c","notAfter":"2030-01-01T08:00:00","text":{"body":"hi"}}"#,
            "not_after",
            "must be a time with its offset from UTC, such as 2026-03-01T18:00:00Z (RFC 3339); line 1, column 29",
        ),
        (
            "{\"commandId\":\"c\",\n \"text\":{\"body\":\"ü\", \"previewUrl\":\"yes\"}}",
            "text.preview_url",
            "must be true or false; line 2, column 35",
        ),
        (
            r#"{"text":{"body":"hi"},"image":{"url":"u"}}"#,
            "image",
            "is set twice, or together with a field that excludes it; line 1, column 23",
        ),
        (r#"{"text":{"body":["hi"]}}"#, "text.body", "must be a string; line 1, column 17"),
        (r#"{"text":[1,2,3]}"#, "text", "must be an object; line 1, column 9"),
        ("[1]", "command", "must be an object; line 1, column 1"),
        ("\u{feff}\n 7", "command", "must be an object; line 2, column 2"),
        (
            r#"{"commandId":"c""#,
            "command",
            "is not valid JSON: EOF while parsing an object; line 1, column 16",
        ),
        (
            "{\"commandId\":\"c\",\n\"text\":}",
            "command",
            "is not valid JSON: expected value; line 2, column 8",
        ),
    ] {
        assert_eq!(fault(source), (field.to_owned(), rule.to_owned()), "{source}");
    }
    let (field, rule) = fault(r#"{"commandId":"c","text":{"body":"hi"},"callbackData":"x"}"#);
    assert_eq!(field, "callback_data");
    assert!(
        rule.starts_with("is not a known field; use one of command_id, channel_id, recipient, "),
        "{rule}"
    );
    assert!(rule.ends_with("; line 1, column 39") && !rule.contains("commandId"), "{rule}");
    let fault = decode(Some("application/json"), &Bytes::from_static(b"{\"commandId\":\"c\xff\"}"))
        .unwrap_err()
        .fault;
    assert_eq!((fault.field.as_str(), fault.rule.as_str()), ("command", "is not valid UTF-8 (byte 16)"));
    let mut protobuf = text("hi").encode_to_vec();
    protobuf.extend([0xaa, 0x06, 0x01]);
    let undecodable = decode(None, &Bytes::from(protobuf)).unwrap_err();
    assert_eq!((undecodable.command_id.as_str(), undecodable.encoding), ("c", Encoding::Protobuf));
    assert_eq!(undecodable.fault.field, "command");
    assert!(
        undecodable.fault.rule.starts_with("is not a valid SendCommand in protobuf: "),
        "{:?}",
        undecodable.fault
    );
}

#[test]
fn the_id_of_an_unreadable_command_is_reported_if_present() {
    for (source, id) in [
        (r#"{"commandId":"c","text":7}"#, "c"),
        ("\u{feff} {\"command_id\":\"c\",\"x\":1}", "c"),
        (r#"{"commandId":7,"text":{}}"#, ""),
        (r#"{"commandId":"c","text""#, ""),
        ("[]", ""),
    ] {
        assert_eq!(json(source).unwrap_err().command_id, id, "{source}");
    }
}

/// An invalid value of a field, and the beginning of the error.
fn wrong(field: &FieldDescriptor) -> (Value, &'static str) {
    if field.is_list() {
        return (json!("4915112345678"), "must be a list");
    }
    match field.kind() {
        Kind::String => (json!(4_915_112_345_678_u64), "must be a string;"),
        Kind::Bytes => (json!("4915112345678!"), "must be a string in Base64"),
        Kind::Bool => (json!("4915112345678"), "must be true or false"),
        Kind::Double => (json!("4915112345678x"), "must be a number"),
        Kind::Message(message) if message.full_name() == "google.protobuf.Timestamp" => {
            (json!("4915112345678"), "must be a time with its offset")
        }
        Kind::Message(_) => (json!("4915112345678"), "must be an object"),
        other => panic!("add an invalid value of {other:?} here"),
    }
}

/// Checks every field of a message and of its inner messages. `wrap` puts a value at `path`. Returns their number.
fn every_field(message: &MessageDescriptor, path: &str, wrap: &dyn Fn(Value) -> Value) -> usize {
    let mut count = 0;
    for field in message.fields() {
        let name = field.json_name().to_owned();
        let at = if path.is_empty() { field.name().to_owned() } else { format!("{path}.{}", field.name()) };
        let put = |value: Value| wrap(json!({ &name: value }));
        let (value, begin) = wrong(&field);
        let source = put(value).to_string();
        let (found, rule) = fault(&source);
        assert_eq!(found, at, "{source}");
        assert!(rule.starts_with(begin) && rule.contains("line 1, column "), "{at}: {rule}");
        assert!(!rule.contains("49151"), "{at} quotes its value: {rule}");
        count += 1;
        let Kind::Message(inner) = field.kind() else { continue };
        if inner.full_name() == "google.protobuf.Timestamp" {
            continue;
        }
        count += if field.is_list() {
            every_field(&inner, &format!("{at}[0]"), &|value| put(json!([value])))
        } else {
            every_field(&inner, &at, &put)
        };
    }
    count
}

#[test]
fn the_error_of_every_field_contains_the_expected_value() {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let command = pool.get_message_by_name("imchannel.v1.SendCommand").unwrap();
    let count = every_field(&command, "", &|value| value);
    assert!(count > 80, "{count} fields");
}

#[test]
fn a_name_that_may_be_a_value_is_not_shown() {
    for key in ["4915112345678", "Anna Doe", "a4915", &"x".repeat(65)] {
        let (field, rule) = fault(&json!({ "text": { key: 1 } }).to_string());
        assert_eq!(field, "text.*");
        assert!(!rule.contains(key), "{rule}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Nulls change nothing, and damage rejects the command without a panic.
    #[test]
    fn nulls_change_nothing_and_no_damage_panics(
        nulls in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let names = ["image", "notAfter", "context", "template", "not_after"];
        let mut source = r#"{"commandId":"c","text":{"body":"hi"}"#.to_owned();
        for null in &nulls {
            source.push_str(&format!(",\"{}\":null", null.get(&names)));
        }
        source.push('}');
        prop_assert_eq!(json(&source).unwrap(), text("hi"));
        let mut damaged = source.into_bytes();
        for (at, byte) in &edits {
            let at = at.index(damaged.len());
            damaged[at] = *byte;
        }
        for declared in [None, Some("application/json")] {
            let _ = decode(declared, &Bytes::from(damaged.clone()));
        }
    }
}

/// The command line reads `--template` with this function.
#[test]
fn a_part_of_a_command_is_read_by_the_same_rules() {
    let template = r#"{"name":"t","language":"en","header":null,"placeholders":["a"]}"#;
    let read = bsp::command::read_json::<proto::v1::Template>(template).unwrap();
    assert_eq!((read.name.as_str(), read.header.is_none()), ("t", true));
    let fault =
        bsp::command::read_json::<proto::v1::Template>(r#"{"name":"t","placeholders":"a"}"#).unwrap_err();
    assert_eq!(
        (fault.field.as_str(), fault.rule.as_str()),
        ("placeholders", "must be a list; line 1, column 28")
    );
}
