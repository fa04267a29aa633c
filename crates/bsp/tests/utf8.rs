//! Checks the handling of invalid UTF-8 in any position of a body, and of a byte order mark before a body.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::path::Path;

use bsp::{Bsp, ChannelId, Outcome, Parsed, Webhook, registry};
use bytes::Bytes;
use proto::v1::inbound_message::Content;
use serde_json::{Value, json};

const FORM: &str = "application/x-www-form-urlencoded";
const MARK: &[u8] = b"\xef\xbb\xbf";

fn parse(bsp: &dyn Bsp, body: &[u8]) -> Parsed {
    let channel = ChannelId::parse("c-1").unwrap();
    let body = Bytes::copy_from_slice(body);
    let received_at = "2026-03-01T12:00:00Z".parse().unwrap();
    bsp.parse(&Webhook { channel: &channel, body: &body, received_at, sequence: 7 })
}

/// Every fixture that is UTF-8.
fn fixtures(bsp: &dyn Bsp) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(bsp.profile().id.as_str());
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let bodies = entries.filter(|path| !path.to_string_lossy().ends_with(".expected.json"));
    let named = bodies.map(|path| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
    });
    named.filter(|(_, body)| std::str::from_utf8(body).is_ok()).collect()
}

/// An event as JSON; `None` if the item is not an event.
fn event(outcome: &Outcome) -> Option<Value> {
    match outcome {
        Outcome::Report(report) => Some(serde_json::to_value(report).unwrap()),
        Outcome::Message(message) => Some(serde_json::to_value(message).unwrap()),
        Outcome::Account(event) => Some(serde_json::to_value(event).unwrap()),
        Outcome::Customer(event) => Some(serde_json::to_value(event).unwrap()),
        Outcome::Ignored(_) | Outcome::Rejected(_) => None,
    }
}

fn events(parsed: &Parsed) -> Vec<Value> {
    parsed.items.iter().filter_map(|item| event(&item.outcome)).collect()
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Report(_) => "report",
        Outcome::Message(_) => "message",
        Outcome::Account(_) => "account",
        Outcome::Customer(_) => "customer",
        Outcome::Ignored(_) => "ignored",
        Outcome::Rejected(_) => "rejected",
    }
}

fn ids(events: &[Value]) -> BTreeSet<String> {
    events.iter().map(|event| event["eventId"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_byte_order_mark_before_a_body_changes_nothing() {
    for bsp in registry::REGISTRY {
        for (name, body) in fixtures(*bsp).into_iter().filter(|(_, body)| !body.starts_with(MARK)) {
            let plain = parse(*bsp, &body);
            let marks: &[&[u8]] =
                if bsp.profile().media_type == FORM { &[MARK, b"%EF%BB%BF"] } else { &[MARK] };
            for mark in marks {
                let marked_body = [mark, &body[..]].concat();
                let marked = parse(*bsp, &marked_body);
                assert_eq!(events(&marked), events(&plain), "{name}");
                assert_eq!(marked.items.len(), plain.items.len(), "{name}");
                for (item, plain) in marked.items.iter().zip(&plain.items) {
                    let (Outcome::Rejected(reject), Outcome::Rejected(plain)) =
                        (&item.outcome, &plain.outcome)
                    else {
                        continue;
                    };
                    assert_eq!(reject.kind, plain.kind, "{name}");
                    // A dead letter contains the original bytes.
                    let is_body = plain.raw.len() == body.len();
                    assert_eq!(
                        &reject.raw[..],
                        if is_body { &marked_body } else { &plain.raw[..] },
                        "{name}"
                    );
                }
            }
        }
    }
}

/// The positions in a body at which a byte can be added to a value: before each closing quote, and at the end
/// of each field.
fn places(media_type: &str, body: &[u8]) -> Vec<usize> {
    let ends: Vec<usize> =
        (1..body.len()).filter(|at| body[*at] == if media_type == FORM { b'&' } else { b'"' }).collect();
    if media_type == FORM { [ends, vec![body.len()]].concat() } else { ends }
}

/// Event fields, by their JSON names, in which a byte may be replaced.
const WORDS: [&str; 25] = [
    "profileName",
    "body",
    "caption",
    "fileName",
    "name",
    "address",
    "title",
    "description",
    "headline",
    "welcomeMessage",
    "emoji",
    "text",
    "formattedName",
    "firstName",
    "middleName",
    "lastName",
    "prefix",
    "suffix",
    "organization",
    "department",
    "street",
    "city",
    "state",
    "country",
    "title",
];

/// Names of the fields whose value contains the text.
fn holders(value: &Value, text: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if member.as_str().is_some_and(|member| member.contains(text)) {
                    found.insert(name.clone());
                }
                holders(member, text, found);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| holders(element, text, found)),
        _ => {}
    }
}

#[test]
fn invalid_bytes_are_replaced_only_in_text_for_people() {
    let (mut replaced, mut refused) = (0, 0);
    for bsp in registry::REGISTRY {
        let media_type = bsp.profile().media_type;
        for (name, body) in fixtures(*bsp).into_iter().filter(|(name, _)| name != "half_surrogate.json") {
            let plain = events(&parse(*bsp, &body));
            for at in places(media_type, &body) {
                let bad: &[u8] = if media_type == FORM { b"%FF" } else { b"\xff" };
                let parsed = parse(*bsp, &[&body[..at], bad, &body[at..]].concat());
                let damaged = events(&parsed);
                assert!(ids(&damaged).is_subset(&ids(&plain)), "{name} at {at}: an id of a replaced value");
                let mut in_fields = BTreeSet::new();
                damaged.iter().for_each(|event| holders(event, "\u{fffd}", &mut in_fields));
                assert_eq!(in_fields.is_empty(), parsed.replaced.is_empty(), "{name} at {at}: {in_fields:?}");
                for field in in_fields {
                    assert!(WORDS.contains(&field.as_str()), "{name} at {at}: {field} has a replaced value");
                }
                let all = serde_json::to_string(&damaged).unwrap();
                assert!(!all.contains('\u{7f}'), "{name} at {at}: {all}");
                replaced += parsed.replaced.len();
                let is_letter = |item: &bsp::Item| matches!(&item.outcome, Outcome::Rejected(reject) if reject.kind == "no_utf8");
                refused += parsed.items.iter().filter(|item| is_letter(item)).count();
                for unrecognized in &parsed.unrecognized {
                    assert!(!unrecognized.value.contains('\u{7f}'), "{name} at {at}: {unrecognized:?}");
                }
            }
        }
    }
    assert!(replaced > 200 && refused > 500, "{replaced} texts replaced, {refused} items refused");
}

/// The item of a body with one item, in which `~` is replaced by an invalid byte.
fn one(bsp: &str, body: &str) -> (Outcome, Vec<&'static str>) {
    let bsp = registry::find(bsp).unwrap();
    let bad: &[u8] = if bsp.profile().media_type == FORM { b"%E9" } else { b"\xe9" };
    let body: Vec<u8> =
        body.bytes().flat_map(|byte| if byte == b'~' { bad.to_vec() } else { vec![byte] }).collect();
    let parsed = parse(bsp, &body);
    let [item] = <[bsp::Item; 1]>::try_from(parsed.items).unwrap();
    (item.outcome, parsed.replaced)
}

#[test]
fn text_for_people_is_replaced_and_counted() {
    let message = |bsp, body| match one(bsp, body) {
        (Outcome::Message(message), replaced) => (*message, replaced),
        other => panic!("{body}: {other:?}"),
    };
    let texts = [
        (
            "infobip",
            r#"{"results":[{"messageId":"m","from":"49","contact":{"name":"Zo~"},"message":{"type":"TEXT","text":"caf~"}}]}"#,
        ),
        (
            "koomessage",
            r#"{"message_id":"m","user_number":"49","user_name":"Zo~","message_type":"text","message":{"text":"caf~"}}"#,
        ),
        (
            "gupshup",
            r#"{"type":"message","payload":{"id":"m","source":"49","type":"text","payload":{"text":"caf~"},"sender":{"name":"Zo~"}}}"#,
        ),
        (
            "gupshup",
            r#"{"entry":[{"changes":[{"field":"messages","value":{"contacts":[{"wa_id":"49","profile":{"name":"Zo~"}}],"messages":[{"id":"m","from":"49","type":"text","text":{"body":"caf~"}}]}}]}]}"#,
        ),
        ("twilio", "MessageSid=m&From=49&ProfileName=Zo~&Body=caf~"),
    ];
    for (bsp, body) in texts {
        let (message, replaced) = message(bsp, body);
        let Some(Content::Text(text)) = &message.content else { panic!("{message:?}") };
        assert_eq!(
            (message.profile_name.as_str(), text.body.as_str()),
            ("Zo\u{fffd}", "caf\u{fffd}"),
            "{body}"
        );
        assert_eq!(replaced, ["profile_name", "text"], "{body}");
        let (undamaged, _) = self::one(bsp, &body.replace('~', ""));
        assert_eq!(event(&undamaged).unwrap()["eventId"], json!(message.event_id), "{body}");
    }
    let image = r#"{"results":[{"messageId":"m","message":{"type":"IMAGE","url":"https://x.example/1","caption":"a ~~ b"}}]}"#;
    let (image, replaced) = message("infobip", image);
    let Some(Content::Image(media)) = image.content else { panic!() };
    assert_eq!((media.caption.as_str(), replaced), ("a \u{fffd}\u{fffd} b", vec!["media.caption"]));

    let status = r#"{"results":[{"messageId":"m","status":{"groupName":"REJECTED","description":"abgelehnt f~r"},"error":{"id":7,"description":"gesch~tzt"}}]}"#;
    let (Outcome::Report(report), replaced) = one("infobip", status) else { panic!() };
    assert_eq!(report.provider_status.unwrap().description, "abgelehnt f\u{fffd}r");
    assert_eq!(report.error.as_ref().unwrap().description, "gesch\u{fffd}tzt");
    assert_eq!(
        (report.errors, replaced),
        (vec![report.error.unwrap()], vec!["provider_status.description", "error.description"])
    );
}

#[test]
fn an_invalid_id_type_status_number_code_or_time_is_a_dead_letter() {
    let meta = |item: &str| format!(r#"{{"entry":[{{"changes":[{{"field":"messages","value":{item}}}]}}]}}"#);
    let cases = [
        ("infobip", r#"{"results":[{"messageId":"m~","status":{"groupName":"DELIVERED"}}]}"#.to_owned()),
        ("infobip", r#"{"results":[{"messageId":"m","to":"49~","status":{"groupName":"DELIVERED"}}]}"#.to_owned()),
        ("infobip", r#"{"results":[{"messageId":"m","status":{"groupName":"DELIVERED~"}}]}"#.to_owned()),
        ("infobip", r#"{"results":[{"messageId":"m","status":{"groupName":"DELIVERED","name":"X~"}}]}"#.to_owned()),
        ("infobip", r#"{"results":[{"messageId":"m","doneAt":"2026~","status":{"groupName":"DELIVERED"}}]}"#.to_owned()),
        ("infobip", r#"{"results":[{"messageId":"m","seenAt":"2026-03-01T10:00:00Z~"}]}"#.to_owned()),
        ("infobip", r#"{"results":[{"messageId":"m","status":{"groupName":"REJECTED"},"error":{"id":"7~"}}]}"#.to_owned()),
        ("infobip", r#"{"results":[{"messageId":"m","message":{"type":"TEXT~","text":"hi"}}]}"#.to_owned()),
        ("infobip", r#"{"results":[{"messageId":"m","message":{"type":"TEXT","text":"hi","context":{"id":"c~"}}}]}"#.to_owned()),
        ("infobip", r#"{"results":[{"messageId":"m","message":{"type":"IMAGE","url":"https://x.example/~"}}]}"#.to_owned()),
        ("infobip", r#"{"results":[{"messageId":"m","message":{"type":"NEW","words":"caf~"}}]}"#.to_owned()),
        ("koomessage", r#"{"message_id":"m","user_number":"49","status":"read~"}"#.to_owned()),
        ("koomessage", r#"{"message_id":"m","message_type":"text","timestamp":"17~","message":{"text":"hi"}}"#.to_owned()),
        ("gupshup", r#"{"type":"message","timestamp":"17~","payload":{"id":"m","type":"text","payload":{"text":"hi"}}}"#.to_owned()),
        ("gupshup", r#"{"type":"message-event","payload":{"id":"m","type":"failed","payload":{"code":"10~"}}}"#.to_owned()),
        ("gupshup", r#"{"type":"message-event","payload":{"id":"m","type":"sent","conversation":{"id":"c","expiresAt":"17~"}}}"#.to_owned()),
        ("gupshup", meta(r#"{"statuses":[{"id":"m","status":"read","recipient_id":"49~"}]}"#)),
        ("gupshup", meta(r#"{"statuses":[{"id":"m","status":"sent","conversation":{"id":"c","expiration_timestamp":"17~"}}]}"#)),
        ("gupshup", meta(r#"{"messages":[{"id":"m","from":"49","type":"location","location":{"latitude":"1~","longitude":"2"}}]}"#)),
        ("twilio", "MessageSid=SM~&MessageStatus=read".to_owned()),
        ("twilio", "MessageSid=SM&MessageStatus=read~".to_owned()),
        ("twilio", "MessageSid=SM&MessageStatus=failed&ErrorCode=6~".to_owned()),
        ("twilio", "MessageSid=SM&From=whatsapp:%2B49~&Body=hi".to_owned()),
    ];
    // An event omits an address that is too long, but the event id includes it.
    let long = format!(
        r#"{{"results":[{{"messageId":"m","to":"{}~","status":{{"groupName":"DELIVERED"}}}}]}}"#,
        "4".repeat(300)
    );
    for (bsp, body) in cases.into_iter().chain([("infobip", long)]) {
        let (outcome, replaced) = one(bsp, &body);
        assert!(
            matches!(&outcome, Outcome::Rejected(reject) if reject.kind == "no_utf8"),
            "{body}: {outcome:?}"
        );
        assert_eq!(replaced, Vec::<&str>::new(), "{body}");
        let (undamaged, _) = one(bsp, &body.replace('~', ""));
        assert!(event(&undamaged).is_some(), "{body}: {undamaged:?}");
    }
}

/// They contain the BSP's object, and most ids are computed from all of it, so they have no value that is
/// only text for people.
#[test]
fn an_invalid_byte_in_an_account_or_customer_event_is_a_dead_letter() {
    let meta = |field: &str, value: &str| {
        format!(r#"{{"entry":[{{"id":"1","time":17,"changes":[{{"field":"{field}","value":{value}}}]}}]}}"#)
    };
    // Text beyond the 64 KiB that an event contains.
    let long = format!(r#"{{"decision":"APPROVED","more":"{}","title":"f~r"}}"#, "x".repeat(70_000));
    let update = r#"{"event":"REJECTED","message_template_id":7,"reason":"NONE"}"#;
    let cases = [
        ("gupshup", meta("message_template_status_update", r#"{"event":"REJECTED~","message_template_id":7}"#)),
        ("gupshup", meta("message_template_status_update", r#"{"event":"REJECTED","message_template_name":"n~"}"#)),
        ("gupshup", meta("message_template_status_update", r#"{"event":"REJECTED","reason":"f~r"}"#)),
        ("gupshup", meta("account_update", r#"{"event":"X","ban_info":{"waba_ban_date":"May~"}}"#)),
        ("gupshup", meta("account_review_update", &long)),
        ("gupshup", meta("message_template_status_update", update).replace(r#""id":"1""#, r#""id":"1~""#)),
        ("gupshup", meta("message_template_status_update", update).replace(":17,", r#":"17~","#)),
        ("gupshup", meta("message_template_status_update", update).replace(r#"[{"id""#, r#"[{"id~""#)),
        ("gupshup", meta("message_template_status_update", update).replace("time", "time~")),
        ("gupshup", meta("messages", r#"{"statuses":[{"id":"m","status":"read"}],"messages~":[]}"#)),
        ("gupshup", meta("user_preferences", r#"{"user_preferences":[{"wa_id":"49~","value":"stop"}]}"#)),
        ("gupshup", meta("user_preferences", r#"{"user_preferences":[{"wa_id":"49","value":"stop~"}]}"#)),
        ("gupshup", meta("user_preferences", r#"{"user_preferences~":[{"wa_id":"49","value":"stop"}]}"#)),
        ("gupshup", meta("user_id_update", r#"{"user_id_update~":[{"wa_id":"49"}]}"#)),
        ("gupshup", meta("messages", r#"{"errors":[{"code":"1~","title":"t"}]}"#)),
        ("gupshup", meta("messages", r#"{"errors":[{"code~":"1"}]}"#)),
        ("gupshup", meta("messages", r#"{"statuses":[{"id":"m","type":"payment","status":"failed","payment":{"transaction":{"error":{"code":1,"reason":"f~r"}}}}]}"#)),
        ("gupshup", r#"{"type":"user-event","timestamp":17,"payload":{"phone":"49","type":"opted-out~"}}"#.to_owned()),
        ("gupshup", r#"{"type":"user-event","timestamp":17,"payload":{"phone":"49","type~":"opted-out"}}"#.to_owned()),
        ("gupshup", r#"{"type":"template-event","app":"a~","payload":{"id":"7","type":"status-update","status":"APPROVED"}}"#.to_owned()),
        ("infobip", r#"{"createdAt":"2026-03-01T10:00:00Z","content":{"type":"TEMPLATE_UPDATE","templateName":"n~"}}"#.to_owned()),
        ("infobip", r#"{"type":"TEMPLATE_UPDATE","templateName":"n","reason":"f~r"}"#.to_owned()),
        ("infobip", r#"{"type~":"TEMPLATE_UPDATE"}"#.to_owned()),
        ("infobip", r#"{"results":[{"content":{"type":"PAYMENT_STATUS","paymentId":"p","status":"FAILED","error":{"description":"f~r"}}}]}"#.to_owned()),
        ("twilio", "MessageSid=SM&From=49&Body=stop&OptOutType=STOP~".to_owned()),
    ];
    for (bsp, body) in cases {
        let (outcome, replaced) = one(bsp, &body);
        assert!(
            matches!(&outcome, Outcome::Rejected(reject) if reject.kind == "no_utf8"),
            "{body}: {outcome:?}"
        );
        assert_eq!(replaced, Vec::<&str>::new(), "{body}");
    }
}

/// An ignored item stays ignored, and an invalid byte beside an item does not reject it.
#[test]
fn an_invalid_byte_does_not_affect_other_items() {
    for (bsp, body) in [
        ("gupshup", r#"{"type":"billing-event","payload":{"x":"~"}}"#),
        ("gupshup", r#"{"entry":[{"changes":[{"field":"smb_message_echoes","value":{"x":"~"}}]}]}"#),
        ("infobip", r#"{"type":"BILLING","x":"~"}"#),
    ] {
        let (outcome, _) = one(bsp, body);
        assert!(matches!(outcome, Outcome::Ignored(_)), "{body}: {outcome:?}");
    }
    let body = r#"{"entry":[{"id":"1","time":17,"changes":[
        {"field":"messages","value":{"messages":[{"id":"m","from":"49","type":"text","text":{"body":"caf~"}}],"errors":[{"code":"1~"}]}},
        {"field":"account_review_update","value":{"decision":"~"}},
        {"field":"account_review_update","value":{"decision":"APPROVED"}}]}]}"#;
    let body: Vec<u8> = body.bytes().map(|byte| if byte == b'~' { 0xe9 } else { byte }).collect();
    let parsed = parse(registry::find("gupshup").unwrap(), &body);
    let kinds: Vec<&str> = parsed.items.iter().map(|item| name(&item.outcome)).collect();
    assert_eq!(kinds, ["message", "rejected", "rejected", "account"]);
    assert_eq!(parsed.replaced, ["text"]);
    // Twilio's bodies are forms, so their events contain no object, and an invalid byte in a text does not
    // affect them.
    let body = b"MessageSid=SM&From=whatsapp%3A%2B49&Body=stop+%E9&OptOutType=STOP";
    let parsed = parse(registry::find("twilio").unwrap(), body);
    assert!(matches!(parsed.items[1].outcome, Outcome::Customer(_)), "{parsed:?}");
    assert_eq!(parsed.replaced, ["text"]);
}

/// DEL replaces an invalid byte while a body is read. In a valid body it stays unchanged.
#[test]
fn a_control_character_of_the_bsp_stays() {
    let body =
        "{\"results\":[{\"messageId\":\"m\u{7f}\",\"message\":{\"type\":\"TEXT\",\"text\":\"a\u{7f}b\"}}]}";
    let (Outcome::Message(message), replaced) = one("infobip", body) else { panic!() };
    assert_eq!((message.message_id.as_str(), replaced.len()), ("m\u{7f}", 0));
    assert!(matches!(message.content, Some(Content::Text(text)) if text.body == "a\u{7f}b"));
}

#[test]
fn an_answer_with_a_byte_order_mark_and_bad_bytes_is_read() {
    use bsp::sending::{Response, SendResponse};
    let infobip = registry::find("infobip").unwrap().sending().unwrap();
    let body = br#"{"messages":[{"messageId":"m","status":{"groupId":5,"groupName":"REJECTED","id":12,"name":"NO","description":"caf~"}}]}"#;
    let body: Vec<u8> = body.iter().map(|byte| if *byte == b'~' { 0xe9 } else { *byte }).collect();
    let body = [MARK, &body].concat();
    let answer = infobip.answer(Response { status: 200, retry_after: None, body: &body }, "m");
    let SendResponse::Rejected { error, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(error.description, "caf\u{fffd}");

    let body =
        b"{\"messages\":[{\"messageId\":\"m\xe9\",\"status\":{\"groupId\":1,\"groupName\":\"PENDING\"}}]}";
    let answer = infobip.answer(Response { status: 200, retry_after: None, body }, "m");
    assert!(matches!(&answer, SendResponse::Accepted { message_id, .. } if message_id == "m"), "{answer:?}");
}
