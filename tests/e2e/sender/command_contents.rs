//! Commands by their content: what WhatsApp would refuse is rejected before any call, and accepted content arrives
//! unchanged.

use bsp::CommandId;
use bus::ledger::{LedgerKey, Revision};
use bus::{Priority, headers};
use prost::Message;
use proto::v1::{SendOutcome, SendResult};
use serde_json::json;

use crate::harness::TIMEOUT;
use crate::harness::outbound::{Outbound, channel, outcome, text};

/// Publishes a command as proto3 JSON.
async fn publish_json(outbound: &Outbound, command: &serde_json::Value) {
    let json_header = (headers::CONTENT_TYPE, "application/json");
    let payload = command.to_string().into_bytes();
    outbound.publish_raw(Priority::Interactive, &channel(0), payload, &[json_header]).await;
}

#[tokio::test]
async fn a_template_that_whatsapp_would_refuse_is_never_sent() {
    let outbound = Outbound::start(&[100]).await;
    let _sender = outbound.sender().await;
    let template = |id: &str, more: serde_json::Value| {
        let mut template = json!({ "name": "visit", "language": "en" });
        template.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "commandId": id, "channelId": "channel-0", "recipient": "4915112345", "template": template })
    };
    for (id, more, field) in [
        ("line", json!({ "placeholders": ["Jo", "two\nlines"] }), "template.placeholders[1]"),
        ("tab", json!({ "placeholders": ["Jo", "a\ttab"] }), "template.placeholders[1]"),
        ("spaces", json!({ "placeholders": ["Jo", "a     b"] }), "template.placeholders[1]"),
        ("long", json!({ "placeholders": ["x".repeat(600), "x".repeat(600)] }), "template.placeholders[1]"),
        ("header", json!({ "header": { "text": "x".repeat(61) } }), "template.header.text"),
        ("header-line", json!({ "header": { "text": "a\nb" } }), "template.header.text"),
        ("button", json!({ "buttons": [{ "urlPlaceholder": "a\nb" }] }), "template.buttons[0]"),
    ] {
        publish_json(&outbound, &template(id, more)).await;
        let result = outbound.result(id).await;
        assert_eq!(outcome(&result), SendOutcome::Rejected, "{id}");
        assert_eq!(result.attempts, 0, "{id}");
        let fields: Vec<_> = result.faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, [field], "{id}");
    }
    let place = json!({ "latitude": 52.5, "longitude": 13.4, "name": "Office", "address": "Am Platz 1" });
    let good = json!({ "placeholders": ["Jo", "a    b"], "header": { "location": place } });
    publish_json(&outbound, &template("good", good)).await;
    assert_eq!(outcome(&outbound.result("good").await), SendOutcome::Accepted);
    let received = outbound.account.received();
    assert_eq!(received.len(), 1, "what was refused cost no call");
    let content = &received[0].content;
    assert_eq!(&content["locationName"], &json!("Office"));
    assert_eq!(&content["address"], &json!("Am Platz 1"));
}

#[tokio::test]
async fn a_business_card_arrives_with_all_that_stands_on_it() {
    let outbound = Outbound::start(&[100]).await;
    let _sender = outbound.sender().await;
    let card = json!({
        "formattedName": "Dr. Jo Doe", "firstName": "Jo", "prefix": "Dr.", "birthday": "1990-01-31",
        "organization": "X", "title": "Head", "phones": ["old"],
        "phoneNumbers": [{ "number": "+49 1", "type": "cell", "waId": "491" }],
        "emailAddresses": [{ "email": "jo@x.example", "type": "work" }], "urls": ["https://x.example"],
        "addresses": [{ "street": "1 Hill Rd", "city": "Pune", "countryCode": "IN", "type": "HOME" }],
    });
    let command = |id: &str, card: serde_json::Value| {
        json!({ "commandId": id, "channelId": "channel-0", "recipient": "4915112345",
                "contacts": { "contacts": [card] } })
    };
    let mut wrong = card.clone();
    wrong["phoneNumbers"][0]["type"] = json!("fax");
    publish_json(&outbound, &command("wrong", wrong)).await;
    let faults = outbound.result("wrong").await.faults;
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].field, "contacts.contacts[0].phone_numbers[0].type");
    publish_json(&outbound, &command("card", card)).await;
    assert_eq!(outcome(&outbound.result("card").await), SendOutcome::Accepted);
    let received = outbound.account.received();
    let expected = json!({
        "name": { "formattedName": "Dr. Jo Doe", "firstName": "Jo", "namePrefix": "Dr." },
        "birthday": "1990-01-31", "org": { "company": "X", "title": "Head" },
        "phones": [{ "phone": "+49 1", "type": "CELL", "waId": "491" }],
        "emails": [{ "email": "jo@x.example", "type": "WORK" }], "urls": [{ "url": "https://x.example" }],
        "addresses": [{ "street": "1 Hill Rd", "city": "Pune", "countryCode": "IN", "type": "HOME" }],
    });
    assert_eq!(received.len(), 1, "what was refused cost no call");
    assert_eq!(received[0].content["contacts"], json!([expected]));
}

#[tokio::test]
async fn recipients_are_numbers_as_people_dial_them_and_user_ids() {
    let outbound = Outbound::start(&[100]).await;
    let _sender = outbound.sender().await;
    for (id, recipient, reached) in [
        ("dialed", "004915112345", "4915112345"),
        ("plus", "+4915112345", "4915112345"),
        ("user", "US.13491208655302741918", "US.13491208655302741918"),
        ("parent", "US.ENT.11815799212886844830", "US.ENT.11815799212886844830"),
    ] {
        outbound.publish(Priority::Interactive, &text(0, id, recipient, "Hello")).await;
        assert_eq!(outcome(&outbound.result(id).await), SendOutcome::Accepted, "{id}");
        assert_eq!(outbound.account.received().last().unwrap().recipient, reached);
    }
    outbound.publish(Priority::Interactive, &text(0, "trunk", "015112345", "Hello")).await;
    let faults = outbound.result("trunk").await.faults;
    assert_eq!(faults.iter().map(|fault| fault.field.as_str()).collect::<Vec<_>>(), ["recipient"]);
    assert_eq!(outbound.account.received_count(), 4);
}

#[tokio::test]
async fn what_another_version_has_begun_is_not_called_unsent_by_the_rules_of_this_one() {
    let outbound = Outbound::start(&[100]).await;
    let refused = |id: &str| text(0, id, "015112345", "a number that this version refuses");
    let mut sequences = Vec::new();
    for id in ["begun", "accepted", "not-sent"] {
        sequences.push(outbound.publish(Priority::Interactive, &refused(id)).await);
    }
    let accepted = SendResult {
        event_id: "0123456789abcdef0123456789abcdef".to_owned(),
        bsp: "infobip".to_owned(),
        channel_id: channel(0).to_string(),
        command_id: "accepted".to_owned(),
        message_id: "imc-accepted".to_owned(),
        outcome: SendOutcome::Accepted.into(),
        attempts: 1,
        ..SendResult::default()
    };
    let accepted = hex::encode(accepted.encode_to_vec());
    let states = [
        json!({ "intent": { "at_ms": 1, "unknown_since_ms": 1, "is_resent": false } }),
        json!({ "done": { "result": accepted, "is_answered": false } }),
        json!("not_sent"),
    ];
    for ((id, sequence), state) in ["begun", "accepted", "not-sent"].into_iter().zip(sequences).zip(states) {
        let entry = json!({ "version": 1, "sequence": sequence, "digest": "d", "attempts": 1, "token": "t", "state": state });
        let key = LedgerKey::new(&channel(0), &CommandId::parse(id).unwrap());
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        let written =
            outbound.installation.bus.ledger_write(&key, Revision::NONE, entry.to_string().into(), deadline);
        written.await.unwrap();
    }
    let _sender = outbound.sender().await;
    for (id, expected, faults) in [
        ("begun", SendOutcome::Unknown, 0),
        ("accepted", SendOutcome::Accepted, 0),
        ("not-sent", SendOutcome::Rejected, 1),
    ] {
        let result = outbound.result(id).await;
        assert_eq!(outcome(&result), expected, "{id}");
        assert_eq!(result.attempts, 1, "{id}");
        assert_eq!(result.faults.len(), faults, "{id}");
    }
    assert_eq!(outbound.account.received_count(), 0);
}

/// JSON as back ends in other languages write it: nulls for absent fields, a byte order mark, media types with a
/// suffix.
#[tokio::test]
async fn json_is_read_as_back_ends_write_it_and_a_fault_says_where_it_is() {
    let outbound = Outbound::start(&[100]).await;
    let _sender = outbound.sender().await;
    let head = |id: &str| format!(r#""commandId":"{id}","channelId":"channel-0","recipient":"4915112345""#);
    let taken = [
        ("null", r#""notAfter":null,"context":null,"text":{"body":"hi","previewUrl":null},"image":null"#),
        ("null-first", r#""image":null,"template":null,"text":{"body":"hi"}"#),
        ("null-caption", r#""image":{"url":"https://cdn.example/a.png","caption":null,"fileName":null}"#),
        (
            "null-template",
            r#""template":{"name":"t","language":"en","namespace":null,"placeholders":null,"header":null,"buttons":null}"#,
        ),
    ];
    let types =
        [None, Some("application/json"), Some("application/protobuf+json"), Some("application/x.y+json")];
    for ((id, content), content_type) in taken.into_iter().zip(types) {
        for (more, lead) in [("", ""), ("-mark", "\u{feff}\r\n")] {
            let id = format!("{id}{more}");
            let payload = format!("{lead}{{{},{content}}}", head(&id)).into_bytes();
            let fields: Vec<_> =
                content_type.map(|value| (headers::CONTENT_TYPE, value)).into_iter().collect();
            outbound.publish_raw(Priority::Interactive, &channel(0), payload, &fields).await;
            let result = outbound.result(&id).await;
            assert_eq!(outcome(&result), SendOutcome::Accepted, "{id}: {result:?}");
        }
    }
    assert_eq!(outbound.account.received_count(), 2 * taken.len());
    for (id, content, field, rule) in [
        (
            "no-zone",
            r#""notAfter":"2030-01-01T08:00:00","text":{"body":"hi"}"#,
            "not_after",
            "must be a time with its offset",
        ),
        (
            "two",
            r#""text":{"body":"hi"},"image":{"url":"https://cdn.example/a.png"}"#,
            "image",
            "is set twice",
        ),
        (
            "typo",
            r#""text":{"body":"hi"},"callbackData":"x""#,
            "callback_data",
            "is not a known field; use one of command_id,",
        ),
    ] {
        let payload = format!("{{{},\n{content}}}", head(id)).into_bytes();
        let sequence = outbound.publish_raw(Priority::Interactive, &channel(0), payload, &[]).await;
        let result = outbound.result(id).await;
        let [fault] = result.faults.as_slice() else { panic!("{id}: {result:?}") };
        assert_eq!(outcome(&result), SendOutcome::Rejected, "{id}");
        assert_eq!(fault.field.as_str(), field, "{id}");
        assert!(
            fault.rule.starts_with(rule) && fault.rule.contains("; line 2, column "),
            "{id}: {}",
            fault.rule
        );
        let letters = outbound.installation.dead_letters().await;
        let origin = format!("COMMANDS/{sequence}/0");
        let its = letters.iter().find(|letter| letter.headers.get(headers::ORIGIN) == Some(&origin)).unwrap();
        assert_eq!(its.headers.get(headers::REASON_KIND), Some("malformed"));
        let reason = its.headers.get(headers::REASON).unwrap();
        assert!(reason.ends_with(&format!("{field} {}", fault.rule)), "{id}: {reason}");
    }
}
