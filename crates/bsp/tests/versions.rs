//! Checks that Gupshup's two versions of one message become equal events. An app that subscribes to both
//! receives both, under one `event_id`, and a back end keeps the first.

#![allow(clippy::unwrap_used, reason = "a test may")]

use bsp::{ChannelId, Outcome, Webhook, registry};
use bytes::Bytes;
use proto::v1::InboundMessage;
use proto::v1::inbound_message::Content;
use serde_json::{Value, json};

const CUSTOMER: &str = "918000000001";
const OUR_NUMBER: &str = "919000000000";

fn parse(body: &Value) -> InboundMessage {
    let channel = ChannelId::parse("c-1").unwrap();
    let body = Bytes::from(body.to_string());
    let received_at = "2026-03-01T12:00:00Z".parse().unwrap();
    let webhook = Webhook { channel: &channel, body: &body, received_at, sequence: 7 };
    let parsed = registry::find("gupshup").unwrap().parse(&webhook);
    let [item] = parsed.items.as_slice() else { panic!("{parsed:?}") };
    let Outcome::Message(message) = &item.outcome else { panic!("{item:?}") };
    (**message).clone()
}

/// A message in the form of version 2; `context` and `content` are the version's own.
fn version_2(kind: &str, content: &Value, context: &Value) -> InboundMessage {
    let payload = json!({
        "id": "wamid.in", "source": CUSTOMER, "type": kind, "payload": content, "context": context,
        "sender": { "phone": CUSTOMER, "name": "Asha", "country_code": "91" },
    });
    let timestamp = 1_772_359_200_500_u64;
    parse(&json!({
        "app": "Demo", "timestamp": timestamp, "version": 2, "type": "message", "phone": OUR_NUMBER, "payload": payload,
    }))
}

/// The same message in the form of version 3.
fn version_3(kind: &str, content: &Value, context: &Value) -> InboundMessage {
    let message = json!({
        "from": CUSTOMER, "id": "wamid.in", "timestamp": "1772359199", "type": kind, kind: content, "context": context,
    });
    let value = json!({
        "messaging_product": "whatsapp", "metadata": { "display_phone_number": OUR_NUMBER },
        "contacts": [{ "profile": { "name": "Asha" }, "wa_id": CUSTOMER }], "messages": [message],
    });
    parse(&json!({ "gs_app_id": "a", "entry": [{ "changes": [{ "field": "messages", "value": value }] }] }))
}

fn same(first: &InboundMessage, second: &InboundMessage) {
    assert_eq!(first.event_id, second.event_id);
    assert_eq!(first.context, second.context);
    assert_eq!(first.content, second.content);
    assert_eq!(first.customer, second.customer);
    assert_eq!(
        (&first.sender, &first.recipient, &first.profile_name),
        (&second.sender, &second.recipient, &second.profile_name)
    );
}

#[test]
fn a_reply_names_the_answered_message_by_gupshups_own_id_in_both_versions() {
    let second = version_2("text", &json!({ "text": "Yes" }), &json!({ "id": "031AGD", "gsId": "gs-1" }));
    let context = json!({ "from": OUR_NUMBER, "id": "031AGD", "gs_id": "gs-1", "meta_msg_id": "wamid.out" });
    let third = version_3("text", &json!({ "body": "Yes" }), &context);
    same(&second, &third);
    // The reports of that message use the same id.
    let context = third.context.unwrap();
    assert_eq!((context.message_id.as_str(), context.sender.as_str()), ("gs-1", OUR_NUMBER));
}

#[test]
fn a_reply_to_a_message_from_elsewhere_has_whatsapps_id_in_both_versions() {
    let second = version_2("text", &json!({ "text": "Yes" }), &json!({ "id": "wamid.old", "gsId": null }));
    let third = version_3("text", &json!({ "body": "Yes" }), &json!({ "id": "wamid.old", "gs_id": null }));
    same(&second, &third);
    assert_eq!(third.context.unwrap().message_id, "wamid.old");
}

#[test]
fn a_reaction_refers_to_the_id_of_reports_in_both_versions() {
    let context = json!({ "from": OUR_NUMBER, "id": "031AGD", "gs_id": "gs-1" });
    let reaction = json!({ "emoji": "👍", "message_id": "wamid.out" });
    let third = version_3("reaction", &reaction, &context);
    let second = version_2("reaction", &json!({ "emoji": "👍" }), &json!({ "id": "031AGD", "gsId": "gs-1" }));
    same(&second, &third);
    let Some(Content::Reaction(reaction)) = third.content else { panic!("{:?}", third.content) };
    assert_eq!(reaction.message_id, "gs-1");
}

#[test]
fn a_forwarding_is_the_same_in_both_versions() {
    let context = json!({ "forwarded": true });
    let second = version_2("text", &json!({ "text": "Hi" }), &context);
    let third = version_3("text", &json!({ "body": "Hi" }), &context);
    same(&second, &third);
    assert!(third.context.unwrap().forwarded);
}
