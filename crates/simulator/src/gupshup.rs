//! Gupshup: one event per body on the `message` URL, a timeout of ten seconds, and a check of the connection before the
//! first event.
//!
//! Sources: Gupshup's documents on message events, inbound messages, the webhook's key points and the connectivity
//! check (read 2026-11). The number of retries is not published.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::v1::inbound_message::Content as ProtoContent;
use proto::v1::{
    AccountEvent, AccountEventKind, AccountNumber, AccountTemplate, Conversation, Customer, CustomerEvent,
    CustomerEventKind, InboundMessage, Media, Payment, Pricing, ReportError, ReportEvent, Unsupported,
};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::bsp_client::{self, Body, BspClient, Failure};
use crate::endpoint::Endpoint;
use crate::event::{Content, Event, Ids, Message, Notice, NoticeKind, Report, Step};
use crate::expected::{self, Expected};
use crate::plan::{Plan, RunTag};

#[derive(Debug)]
pub(crate) struct Gupshup;

/// Timeout of one webhook. A response other than 2xx with an empty body is retried.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Delay before a retry. The vendor says "after a brief interval": the value is assumed.
const RETRY_DELAY: Duration = Duration::from_secs(5);
/// Most retries of one webhook. Not published: assumed.
const RETRIES_MAX: u32 = 3;

/// Code, reason, and whether Gupshup refused the message itself, before WhatsApp had it.
const FAILED: [(u32, &str, bool); 3] = [
    (470, "More than 24 hours have passed since the customer last replied", false),
    (1008, "User is not Opted in and Inactive", true),
    (131_026, "Message undeliverable", false),
];

impl BspClient for Gupshup {
    fn reports(&self, _step: Step) -> bool {
        true
    }

    fn ids(&self, run: RunTag, number: u64, random: &mut fastrand::Rng) -> Ids {
        let message = bsp_client::uuid(run, number, random);
        Ids { message, whatsapp: format!("gBEGk{run}{:08x}{number:012x}", random.u32(..)) }
    }

    fn body(&self, endpoint: &Endpoint, events: &[Event]) -> Body {
        let (bytes, expected) = match &events[0] {
            Event::Report(report) => report_body(endpoint, report),
            Event::Message(message) => message_body(endpoint, message),
            // A truncated body.
            Event::Broken(mark) => {
                let cut = format!(
                    "{{\"app\":\"Demo\",\"version\":2,\"type\":\"message-event\",\"payload\":{{\"id\":\"{mark}"
                );
                let expected = expected::dead_letter(endpoint, &cut);
                (cut, expected)
            }
        };
        Body { route: "message", bytes: Bytes::from(bytes), expected: [expected].into() }
    }

    fn notice(&self, endpoint: &Endpoint, notice: &Notice) -> Option<Body> {
        let (bytes, expected) = match notice.what {
            NoticeKind::TemplatePaused => template_body(endpoint, notice),
            NoticeKind::PaymentFailed => payment_body(endpoint, notice),
            NoticeKind::OptedOut => preference_body(endpoint, notice, "stop", CustomerEventKind::OptedOut),
            NoticeKind::OptedIn => preference_body(endpoint, notice, "resume", CustomerEventKind::OptedIn),
            _ => return None,
        };
        Some(Body { route: "message", bytes: Bytes::from(bytes), expected: [expected].into() })
    }

    fn greetings(&self) -> Vec<Body> {
        let check = json!({
            "gs_app_id": "demo", "object": "whatsapp_business_account",
            "entry": [{ "id": "1", "changes": [{
                "field": "platform-event", "value": { "type": "connectivity-check", "initiator": "gupshup" },
            }] }],
        });
        let first = json!({
            "app": "Demo", "version": 2, "type": "user-event",
            "payload": { "phone": "callbackSetPhone", "type": "sandbox-start" },
        });
        let body = |value: Value| Body {
            route: "message",
            bytes: value.to_string().into(),
            expected: Arc::default(),
        };
        vec![body(first), body(check)]
    }

    /// Any 2xx with an empty body.
    fn is_success(&self, status: StatusCode, body: &[u8]) -> bool {
        status.is_success() && body.is_empty()
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn retry_delay(&self, repeat: u32, _failure: Failure, _plan: &Plan) -> Option<Duration> {
        (repeat < RETRIES_MAX).then_some(RETRY_DELAY)
    }

    fn headers(&self, endpoint: &Endpoint, _body: &Body) -> HeaderMap {
        bsp_client::headers(&[
            ("authorization", &endpoint.password),
            ("content-type", "application/json; charset=utf-8"),
        ])
    }
}

fn report_body(endpoint: &Endpoint, report: &Report) -> (String, Expected) {
    let raw = match report.step {
        Step::Pending => "enqueued",
        Step::Sent => "sent",
        Step::Delivered => "delivered",
        Step::Read => "read",
        Step::Deleted => "deleted",
        Step::Failed(_) => "failed",
        Step::Unknown => "teleported",
    };
    let Ids { message, whatsapp } = &report.ids;
    let both = json!({ "id": whatsapp, "gsId": message });
    let mut event =
        ReportEvent { provider_message_id: whatsapp.clone(), ..expected::report(endpoint, report, raw) };
    event.occurred_at = expected::whole_seconds(report.at);
    let (mut payload, details) = match report.step {
        Step::Pending => {
            event.occurred_at = expected::time(report.at);
            event.unread_json = json!({ "payload": { "payload": { "type": "session" } } }).to_string();
            (json!({ "id": message }), json!({ "whatsappMessageId": whatsapp, "type": "session" }))
        }
        Step::Failed(reason) => {
            let (code, text, by_gupshup) = FAILED[reason % FAILED.len()];
            event.occurred_at = expected::time(report.at);
            let error = ReportError {
                code: code.to_string(),
                description: text.to_owned(),
                ..ReportError::default()
            };
            event.errors = vec![error.clone()];
            event.error = Some(error);
            if by_gupshup {
                event.provider_message_id = String::new();
            }
            let ids = if by_gupshup { json!({ "id": message }) } else { both };
            (ids, json!({ "code": code, "reason": text }))
        }
        // Only WhatsApp's id.
        Step::Deleted => {
            event.message_id = std::mem::take(&mut event.provider_message_id);
            (json!({ "id": whatsapp }), json!({ "ts": report.at.as_second() }))
        }
        _ => (both, json!({ "ts": report.at.as_second() })),
    };
    if report.step == Step::Sent {
        price(&mut payload, &mut event);
    }
    payload["type"] = raw.into();
    payload["destination"] = report.customer.as_str().into();
    payload["payload"] = details;
    let body = envelope("message-event", report.at, &report.business, payload);
    (body, Expected::Report(Box::new(event)))
}

/// The first report of a message contains its price, and the conversation that it belongs to.
fn price(payload: &mut Value, event: &mut ReportEvent) {
    payload["conversation"] =
        json!({ "id": "conversation-1", "expiresAt": 1_900_000_000, "type": "utility" });
    payload["pricing"] = json!({ "policy": "PMP", "category": "utility", "type": "regular" });
    event.conversation = Some(Conversation {
        id: "conversation-1".to_owned(),
        origin: "utility".to_owned(),
        expires_at: Some(proto::Timestamp { seconds: 1_900_000_000, nanos: 0 }),
    });
    event.pricing = Some(Pricing {
        billable: None,
        model: "PMP".to_owned(),
        category: "utility".to_owned(),
        r#type: "regular".to_owned(),
    });
}

fn message_body(endpoint: &Endpoint, message: &Message) -> (String, Expected) {
    let (kind, content, expected) = content(&message.content);
    let user_id = expected::user_id(&message.customer);
    let payload = json!({
        "id": message.ids.message, "source": message.customer, "type": kind, "payload": content,
        "sender": { "phone": message.customer, "name": message.name, "country_code": "91", "userId": user_id },
    });
    let event = InboundMessage {
        sent_at: expected::time(message.at),
        unread_json: unread(&message.content),
        ..expected::with_user_id(expected::message(endpoint, message, expected), &user_id)
    };
    (envelope("message", message.at, &message.business, payload), Expected::Message(Box::new(event)))
}

/// Members of a content for which events have no field.
fn unread(content: &Content) -> String {
    let unread = match content {
        Content::Button { title, .. } => json!({ "reply": title }),
        Content::Image { .. } => json!({ "urlExpiry": 0 }),
        _ => return String::new(),
    };
    json!({ "payload": { "payload": unread } }).to_string()
}

fn template_body(endpoint: &Endpoint, notice: &Notice) -> (String, Expected) {
    let payload = json!({
        "type": "status-update", "id": notice.id, "status": "paused", "elementName": "order_shipped",
        "languageCode": "en", "description": "It had issues.",
    });
    let event = AccountEvent {
        occurred_at: expected::time(notice.at),
        template: Some(AccountTemplate {
            id: notice.id.clone(),
            name: "order_shipped".to_owned(),
            language: "en".to_owned(),
            status: "paused".to_owned(),
            ..AccountTemplate::default()
        }),
        number: Some(AccountNumber { display: notice.business.clone(), ..AccountNumber::default() }),
        errors: vec![ReportError { description: "It had issues.".to_owned(), ..ReportError::default() }],
        ..expected::account(endpoint, AccountEventKind::TemplateStatus, &payload)
    };
    let body = envelope("template-event", notice.at, &notice.business, payload);
    (body, Expected::Account(Box::new(event)))
}

/// Only version 3 reports payments.
fn payment_body(endpoint: &Endpoint, notice: &Notice) -> (String, Expected) {
    let status = json!({
        "id": format!("wamid.{}", notice.id), "gs_id": notice.id, "type": "payment", "status": "failed",
        "timestamp": notice.at.as_second().to_string(), "recipient_id": notice.customer,
        "payment": { "reference_id": notice.id, "transaction": {
            "id": "t-1", "status": "failed", "error": { "code": "U30", "reason": "debit failed" },
        } },
    });
    let error = ReportError {
        code: "U30".to_owned(),
        description: "debit failed".to_owned(),
        ..ReportError::default()
    };
    let customer = Customer { number: notice.customer.clone(), ..Customer::default() };
    let event = CustomerEvent {
        occurred_at: expected::whole_seconds(notice.at),
        payment: Some(Payment {
            reference: notice.id.clone(),
            status: "failed".to_owned(),
            error: Some(error),
        }),
        raw_json: status.to_string(),
        ..expected::customer(endpoint, CustomerEventKind::Payment, customer)
    };
    let body = version_3(
        "messages",
        json!({
            "metadata": { "display_phone_number": notice.business }, "statuses": [status],
        }),
    );
    (body, Expected::Customer(Box::new(event)))
}

/// A preference of a customer. Version 3 sends it with the customer's user id.
fn preference_body(
    endpoint: &Endpoint,
    notice: &Notice,
    value: &str,
    kind: CustomerEventKind,
) -> (String, Expected) {
    let customer = expected::preference_customer(notice);
    let entry = json!({
        "wa_id": customer.number, "user_id": customer.user_id, "category": "marketing_messages", "value": value,
        "timestamp": notice.at.as_second().to_string(),
    });
    let event = CustomerEvent {
        occurred_at: expected::whole_seconds(notice.at),
        raw_json: entry.to_string(),
        ..expected::customer(endpoint, kind, customer)
    };
    let body = version_3(
        "user_preferences",
        json!({
            "metadata": { "display_phone_number": notice.business }, "user_preferences": [entry],
        }),
    );
    (body, Expected::Customer(Box::new(event)))
}

fn version_3(field: &str, value: Value) -> String {
    json!({
        "gs_app_id": "demo", "object": "whatsapp_business_account",
        "entry": [{ "id": "1", "changes": [{ "field": field, "value": value }] }],
    })
    .to_string()
}

fn envelope(kind: &str, at: jiff::Timestamp, business: &str, payload: Value) -> String {
    json!({
        "app": "Demo", "timestamp": at.as_millisecond(), "version": 2, "type": kind, "phone": business,
        "payload": payload,
    })
    .to_string()
}

fn content(content: &Content) -> (&'static str, Value, ProtoContent) {
    let (kind, body) = match content {
        Content::Text(text) => ("text", json!({ "text": text })),
        // Degrees are texts here.
        Content::Place { latitude, longitude, name } => (
            "location",
            json!({ "latitude": latitude.to_string(), "longitude": longitude.to_string(), "name": name }),
        ),
        Content::Button { id, title } => {
            ("button_reply", json!({ "id": id, "title": title, "reply": title }))
        }
        Content::Image { url, caption } => {
            let body = json!({ "url": url, "caption": caption, "contentType": "image/jpeg", "urlExpiry": 0 });
            let media = Media {
                url: url.clone(),
                caption: caption.clone(),
                content_type: "image/jpeg".to_owned(),
                ..Media::default()
            };
            return ("image", body, ProtoContent::Image(media));
        }
        Content::Document { url, name } => {
            let body = json!({ "url": url, "name": name, "contentType": "application/pdf" });
            let media = Media {
                url: url.clone(),
                file_name: name.clone(),
                content_type: "application/pdf".to_owned(),
                ..Media::default()
            };
            return ("file", body, ProtoContent::Document(media));
        }
        Content::Unknown => ("hologram", json!({ "beam": "green" })),
    };
    let plain = expected::content(content).unwrap_or_else(|| {
        ProtoContent::Unsupported(Unsupported { r#type: kind.to_owned(), raw_json: body.to_string() })
    });
    (kind, body, plain)
}
