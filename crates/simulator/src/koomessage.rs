//! KooMessage: one object per body, a password, and unknown retries.
//!
//! Source: the AICC's pages on KooMessage's reports and messages (2025-11). No retry is published, so none is made: a
//! refused webhook is lost, which is the worst case for the gateway.

use std::time::Duration;

use bytes::Bytes;
use proto::v1::inbound_message::Content as ProtoContent;
use proto::v1::{InboundMessage, Media, Unsupported};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::bsp_client::{self, Body, BspClient, Failure};
use crate::endpoint::Endpoint;
use crate::event::{Content, Event, Ids, Message, Report, Step};
use crate::expected::{self, Expected};
use crate::plan::{Plan, RunTag};

#[derive(Debug)]
pub(crate) struct KooMessage;

/// Timeout of one webhook. Not published: assumed.
const TIMEOUT: Duration = Duration::from_secs(5);

impl BspClient for KooMessage {
    fn reports(&self, step: Step) -> bool {
        !matches!(step, Step::Pending | Step::Sent | Step::Deleted)
    }

    /// The example of the AICC's page has 33 digits.
    fn ids(&self, run: RunTag, number: u64, random: &mut fastrand::Rng) -> Ids {
        let message = format!("{run}{:08x}{:05x}{number:012x}", random.u32(..), random.u32(..0x10_0000));
        Ids { message, whatsapp: String::new() }
    }

    fn body(&self, endpoint: &Endpoint, events: &[Event]) -> Body {
        let (route, bytes, expected) = match &events[0] {
            Event::Report(report) => report_body(endpoint, report),
            Event::Message(message) => message_body(endpoint, message),
            Event::Broken(mark) => {
                let bytes = json!({ "sender": mark, "user_number": "", "status": "delivered" }).to_string();
                let expected = expected::dead_letter(endpoint, &bytes);
                ("report", bytes, expected)
            }
        };
        Body { route, bytes: Bytes::from(bytes), expected: [expected].into() }
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn retry_delay(&self, _repeat: u32, _failure: Failure, _plan: &Plan) -> Option<Duration> {
        None
    }

    fn headers(&self, endpoint: &Endpoint, _body: &Body) -> HeaderMap {
        bsp_client::headers(&[
            ("authorization", &endpoint.password),
            ("content-type", "application/json; charset=UTF-8"),
        ])
    }
}

fn report_body(endpoint: &Endpoint, report: &Report) -> (&'static str, String, Expected) {
    let status = match report.step {
        Step::Delivered => "delivered",
        Step::Read => "read",
        Step::Failed(_) => "failed",
        _ => "teleported",
    };
    let body = json!({
        "message_id": report.ids.message, "sender": report.business, "user_number": report.customer,
        "status": status,
    });
    let event = expected::report(endpoint, report, status);
    ("report", body.to_string(), Expected::Report(Box::new(event)))
}

fn message_body(endpoint: &Endpoint, message: &Message) -> (&'static str, String, Expected) {
    let (kind, content, expected) = content(&message.content);
    let body = json!({
        "message_id": message.ids.message, "sender": message.business, "user_number": message.customer,
        "user_name": message.name, "timestamp": message.at.as_second().to_string(), "message_type": kind,
        "message": content,
    });
    let event = InboundMessage {
        sent_at: expected::whole_seconds(message.at),
        ..expected::message(endpoint, message, expected)
    };
    ("message", body.to_string(), Expected::Message(Box::new(event)))
}

fn content(content: &Content) -> (&'static str, Value, ProtoContent) {
    let (kind, body) = match content {
        Content::Text(text) => ("text", json!({ "text": text })),
        Content::Place { latitude, longitude, name } => {
            ("location", json!({ "latitude": latitude, "longitude": longitude, "name": name }))
        }
        Content::Button { id, title } => ("interactive_button_reply", json!({ "id": id, "title": title })),
        Content::Image { url, caption } => {
            let media = Media { url: url.clone(), caption: caption.clone(), ..Media::default() };
            return ("image", json!({ "url": url, "caption": caption }), ProtoContent::Image(media));
        }
        Content::Document { url, name } => {
            let media = Media { url: url.clone(), file_name: name.clone(), ..Media::default() };
            return ("document", json!({ "url": url, "filename": name }), ProtoContent::Document(media));
        }
        Content::Unknown => ("hologram", json!({ "beam": "green" })),
    };
    let plain = expected::content(content).unwrap_or_else(|| {
        ProtoContent::Unsupported(Unsupported { r#type: kind.to_owned(), raw_json: body.to_string() })
    });
    (kind, body, plain)
}
