//! The entries of Infobip's bodies: reports and messages, each with the expected event.

use proto::v1::inbound_message::Content as ProtoContent;
use proto::v1::{InboundMessage, Media, ProviderStatus, ReportError, ReportEvent, Unsupported};
use serde_json::{Value, json};

use crate::endpoint::Endpoint;
use crate::event::{Content, Event, Message, Report, Step};
use crate::expected::{self, Expected};

struct Group {
    id: u32,
    name: &'static str,
}

struct Status {
    group: Group,
    id: u32,
    name: &'static str,
    description: &'static str,
    error: Option<(u32, &'static str, bool)>,
}

const fn status(group: Group, id: u32, name: &'static str, description: &'static str) -> Status {
    Status { group, id, name, description, error: None }
}

static PENDING: Status =
    status(Group { id: 1, name: "PENDING" }, 7, "PENDING_ENROUTE", "Message sent to next instance");
static SENT: Status =
    status(Group { id: 3, name: "DELIVERED" }, 2, "DELIVERED_TO_OPERATOR", "Message delivered to operator");
static DELIVERED: Status =
    status(Group { id: 3, name: "DELIVERED" }, 5, "DELIVERED_TO_HANDSET", "Message delivered to handset");
static UNKNOWN: Status =
    status(Group { id: 9, name: "QUARANTINED" }, 990, "QUARANTINED_BY_REVIEW", "Message waits for a review");
static FAILED: [Status; 3] = [
    Status {
        error: Some((7010, "EC_NO_SESSION", true)),
        ..status(
            Group { id: 2, name: "UNDELIVERABLE" },
            9,
            "UNDELIVERABLE_NOT_DELIVERED",
            "Message sent not delivered",
        )
    },
    Status {
        error: Some((4101, "EC_VALIDITY_EXPIRED", false)),
        ..status(Group { id: 4, name: "EXPIRED" }, 15, "EXPIRED_EXPIRED", "Message expired")
    },
    status(Group { id: 5, name: "REJECTED" }, 12, "REJECTED_NOT_ENOUGH_CREDITS", "Not enough credits"),
];

/// An entry of `results` and the expected event.
pub(super) fn entry(endpoint: &Endpoint, event: &Event) -> (String, Expected) {
    match event {
        Event::Report(report) => {
            let (entry, event) = report_entry(endpoint, report);
            (entry.to_string(), Expected::Report(Box::new(event)))
        }
        Event::Message(message) => {
            let (entry, event) = message_entry(endpoint, message);
            (entry.to_string(), Expected::Message(Box::new(event)))
        }
        Event::Broken(mark) => {
            let entry = json!({ "messageId": mark, "price": { "pricePerMessage": 0 } }).to_string();
            let expected = expected::dead_letter(endpoint, &entry);
            (entry, expected)
        }
    }
}

fn report_entry(endpoint: &Endpoint, report: &Report) -> (Value, ReportEvent) {
    let status = match report.step {
        Step::Read => return timed_entry(endpoint, report, "seenAt", "seen"),
        Step::Deleted => return timed_entry(endpoint, report, "deletedAt", "deleted"),
        Step::Pending => &PENDING,
        Step::Sent => &SENT,
        Step::Delivered => &DELIVERED,
        Step::Unknown => &UNKNOWN,
        Step::Failed(reason) => &FAILED[reason % FAILED.len()],
    };
    let bulk_id = format!("bulk-{}", report.ids.message);
    let (code, error_name, permanent) = status.error.unwrap_or((0, "NO_ERROR", false));
    let entry = json!({
        "bulkId": bulk_id,
        "messageId": report.ids.message,
        "to": report.customer,
        "from": report.business,
        "channel": "WHATSAPP",
        "sentAt": time(report),
        "doneAt": time(report),
        "messageCount": 1,
        "callbackData": report.callback_data,
        "price": { "pricePerMessage": 0.01, "currency": "EUR" },
        "status": {
            "groupId": status.group.id, "groupName": status.group.name,
            "id": status.id, "name": status.name, "description": status.description,
        },
        "error": {
            "groupId": u32::from(code != 0), "groupName": if code == 0 { "OK" } else { "HANDSET_ERRORS" },
            "id": code, "name": error_name, "description": "what happened", "permanent": permanent,
        },
    });
    let mut unread = json!({
        "sentAt": entry["sentAt"], "messageCount": entry["messageCount"], "price": entry["price"],
    });
    if code != 0 {
        unread["error"] = json!({ "groupId": 1, "groupName": "HANDSET_ERRORS" });
    }
    let error = status.error.map(|(code, name, permanent)| ReportError {
        code: code.to_string(),
        name: name.to_owned(),
        description: "what happened".to_owned(),
        permanent: Some(permanent),
    });
    let event = ReportEvent {
        bulk_id,
        callback_data: report.callback_data.clone(),
        provider_channel: "WHATSAPP".to_owned(),
        command_id: command_id(&report.ids.message),
        occurred_at: expected::time(report.at),
        // The AICC uses the status group.
        aicc_status: if report.step == Step::Sent {
            Some(0)
        } else {
            expected::report(endpoint, report, "").aicc_status
        },
        provider_status: Some(ProviderStatus {
            group_id: status.group.id.to_string(),
            group_name: status.group.name.to_owned(),
            id: status.id.to_string(),
            name: status.name.to_owned(),
            description: status.description.to_owned(),
            raw: status.name.to_owned(),
        }),
        errors: error.iter().cloned().collect(),
        error,
        unread_json: unread.to_string(),
        ..expected::report(endpoint, report, status.name)
    };
    (entry, event)
}

/// Reports of a reading and of a deletion have a time instead of a status.
fn timed_entry(endpoint: &Endpoint, report: &Report, key: &str, raw: &str) -> (Value, ReportEvent) {
    let entry = json!({
        "messageId": report.ids.message, "to": report.customer, "from": report.business,
        "sentAt": time(report), key: time(report), "callbackData": report.callback_data,
    });
    let event = ReportEvent {
        callback_data: report.callback_data.clone(),
        command_id: command_id(&report.ids.message),
        occurred_at: expected::time(report.at),
        unread_json: json!({ "sentAt": entry["sentAt"] }).to_string(),
        ..expected::report(endpoint, report, raw)
    };
    (entry, event)
}

fn message_entry(endpoint: &Endpoint, message: &Message) -> (Value, InboundMessage) {
    let (body, content) = content(&message.content);
    message_entry_of(endpoint, message, &body, content)
}

/// The entry of a message with this body, and the expected event.
pub(super) fn message_entry_of(
    endpoint: &Endpoint,
    message: &Message,
    body: &Value,
    content: ProtoContent,
) -> (Value, InboundMessage) {
    // Infobip chooses the ids of customers' messages.
    let message_id = message.ids.message.trim_start_matches("imc-");
    let user_id = expected::user_id(&message.customer);
    let entry = json!({
        "messageId": message_id,
        "from": message.customer,
        "to": message.business,
        "integrationType": "WHATSAPP",
        "receivedAt": offset_time(message.at),
        "keyword": null,
        "pairedMessageId": null,
        "callbackData": null,
        "contact": {
            "name": message.name, "phoneNumber": message.customer, "userId": user_id,
            "parentUserId": null, "username": null,
        },
        "message": body,
        "price": { "pricePerMessage": 0.0, "currency": "EUR" },
    });
    let event = InboundMessage {
        message_id: message_id.to_owned(),
        sent_at: expected::time(message.at),
        unread_json: json!({ "price": entry["price"] }).to_string(),
        ..expected::with_user_id(expected::message(endpoint, message, content), &user_id)
    };
    (entry, event)
}

fn content(content: &Content) -> (Value, ProtoContent) {
    let file = |url: &str| Media { url: url.to_owned(), requires_auth: true, ..Media::default() };
    let body = match content {
        Content::Text(text) => json!({ "type": "TEXT", "text": text }),
        Content::Place { latitude, longitude, name } => {
            json!({ "type": "LOCATION", "latitude": latitude, "longitude": longitude, "name": name })
        }
        Content::Button { id, title } => {
            json!({ "type": "INTERACTIVE_BUTTON_REPLY", "id": id, "title": title })
        }
        Content::Image { url, caption } => {
            let body = json!({ "type": "IMAGE", "url": url, "caption": caption });
            return (body, ProtoContent::Image(Media { caption: caption.clone(), ..file(url) }));
        }
        // The name of a document is in its caption.
        Content::Document { url, name } => {
            let body = json!({ "type": "DOCUMENT", "url": url, "caption": name });
            let media = Media { caption: name.clone(), file_name: name.clone(), ..file(url) };
            return (body, ProtoContent::Document(media));
        }
        Content::Unknown => json!({ "type": "HOLOGRAM", "beam": { "color": "green" } }),
    };
    let plain = expected::content(content).unwrap_or_else(|| {
        ProtoContent::Unsupported(Unsupported { r#type: "HOLOGRAM".to_owned(), raw_json: body.to_string() })
    });
    (body, plain)
}

/// The id of the command, if the message was sent through the gateway.
fn command_id(message_id: &str) -> String {
    message_id.strip_prefix("imc-").unwrap_or_default().to_owned()
}

fn time(report: &Report) -> String {
    offset_time(report.at)
}

/// Infobip writes the offset without a colon.
pub(super) fn offset_time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string()
}
