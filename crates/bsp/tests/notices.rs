//! Checks the inputs of the ids of account and customer events, and how much of the BSP's own object they
//! contain.

#![allow(clippy::unwrap_used, reason = "a test may")]

use bsp::{ChannelId, Outcome, Webhook, registry};
use bytes::Bytes;
use proto::v1::{AccountEvent, CustomerEvent};
use serde_json::{Value, json};

fn outcomes(bsp: &str, body: &Value) -> Vec<Outcome> {
    let channel = ChannelId::parse("c-1").unwrap();
    let body = Bytes::from(body.to_string());
    let received_at = "2026-03-01T12:00:00Z".parse().unwrap();
    let webhook = Webhook { channel: &channel, body: &body, received_at, sequence: 7 };
    let items = registry::find(bsp).unwrap().parse(&webhook).items;
    items.into_iter().map(|item| item.outcome).collect()
}

fn change(time: u64, field: &str, value: Value) -> Value {
    json!({ "entry": [{ "id": "waba", "time": time, "changes": [{ "field": field, "value": value }] }] })
}

fn account(body: &Value) -> AccountEvent {
    match outcomes("gupshup", body).pop() {
        Some(Outcome::Account(event)) => *event,
        other => panic!("{other:?}"),
    }
}

fn customer(bsp: &str, body: &Value) -> CustomerEvent {
    match outcomes(bsp, body).pop() {
        Some(Outcome::Customer(event)) => *event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_time_gives_another_event_and_a_retry_gives_the_same() {
    let paused = |time| {
        let value = json!({ "event": "PAUSED", "message_template_id": 1, "message_template_name": "promo" });
        account(&change(time, "message_template_status_update", value))
    };
    assert_eq!(paused(1_782_000_007), paused(1_782_000_007));
    assert_ne!(paused(1_782_000_007).event_id, paused(1_782_000_008).event_id);
    let other = json!({ "event": "PAUSED", "message_template_id": 2, "message_template_name": "promo" });
    let other = account(&change(1_782_000_007, "message_template_status_update", other));
    assert_ne!(paused(1_782_000_007).event_id, other.event_id);

    let opted_out = |time| {
        let payload = json!({ "phone": "918000000042", "type": "opted-out" });
        customer("gupshup", &json!({ "type": "user-event", "timestamp": time, "payload": payload }))
    };
    assert_eq!(opted_out(1_782_000_007_500_u64), opted_out(1_782_000_007_500));
    assert_ne!(opted_out(1_782_000_007_500).event_id, opted_out(1_782_000_008_500).event_id);
}

#[test]
fn both_versions_of_a_preference_are_one_event() {
    let wish = json!({ "wa_id": "918000000042", "category": "marketing_messages", "value": "stop", "timestamp": 1_782_000_009 });
    let wishes = json!({ "user_preferences": [wish] });
    let payload = json!({ "type": "user_preferences", "payload": wishes });
    let second =
        json!({ "type": "preference-event", "timestamp": 1_782_000_010_500_u64, "payload": payload });
    let third = change(1_782_000_011, "user_preferences", wishes);
    assert_eq!(customer("gupshup", &second), customer("gupshup", &third));
}

#[test]
fn an_event_contains_at_most_64_kib_of_its_object() {
    let value = json!({ "event": "SOMETHING", "more": "é".repeat(50_000) });
    let event = account(&change(1_782_000_007, "account_update", value.clone()));
    assert!(event.raw_json.len() <= 64 * 1024, "{} bytes", event.raw_json.len());
    assert!(event.raw_json.len() > 64 * 1024 - 4 && value.to_string().starts_with(&event.raw_json));
}

#[test]
fn a_payment_message_without_a_status_is_not_a_payment_event() {
    let confirmation = |more: Value| {
        let mut message = json!({ "type": "INTERACTIVE_PAYMENT_CONFIRMATION", "referenceId": "r" });
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let result = json!({ "from": "49151", "to": "4930", "messageId": "m", "message": message });
        outcomes("infobip", &json!({ "results": [result] }))
    };
    assert!(matches!(confirmation(json!({}))[..], [Outcome::Message(_)]));
    assert!(matches!(
        confirmation(json!({ "status": "FAILED" }))[..],
        [Outcome::Message(_), Outcome::Customer(_)]
    ));
}
