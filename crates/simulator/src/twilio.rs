//! Twilio: forms without a time, a first call without a credential, a signature, and few retries.
//!
//! Sources: Twilio's pages on security, connection overrides, status callbacks and inbound messages (read 2026-11). The
//! delay between its retries is not published.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use proto::v1::inbound_message::Content as ProtoContent;
use proto::v1::{CustomerEventKind, FormReply, InboundMessage, Media, ReportError, ReportEvent};
use reqwest::header::HeaderMap;
use serde_json::json;
use sha1::Sha1;

use crate::bsp_client::{self, Body, BspClient, Failure};
use crate::endpoint::{Endpoint, Signing};
use crate::event::{Content, Event, Ids, Message, Notice, NoticeKind, Report, Step};
use crate::expected::{self, Expected};
use crate::plan::{Plan, RunTag, TwilioRetries};

#[derive(Debug)]
pub(crate) struct Twilio;

/// Timeout of one webhook, from the connection to the end of the response.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Delay before a retry. Not published: assumed.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Most retries of one webhook: with `rc=5`, the most that can be configured.
const RETRIES_MAX: u32 = 5;

/// Error code, the channel's text, and whether retries cannot help (Twilio's error dictionary).
const FAILED: [(&str, &str, Option<bool>); 3] = [
    ("63016", "Failed to send freeform message because you are outside the allowed window", None),
    ("63024", "Invalid message recipient", Some(true)),
    ("63018", "Rate limit exceeded for Channel", None),
];

impl BspClient for Twilio {
    fn reports(&self, step: Step) -> bool {
        step != Step::Deleted
    }

    fn ids(&self, run: RunTag, number: u64, random: &mut fastrand::Rng) -> Ids {
        let message = format!("SM{run}{:012x}{number:012x}", random.u64(..1 << 48));
        Ids { message, whatsapp: String::new() }
    }

    fn body(&self, endpoint: &Endpoint, events: &[Event]) -> Body {
        let (route, form, expected) = match &events[0] {
            Event::Report(report) => report_form(endpoint, report),
            Event::Message(message) => {
                let (form, event) = message_form(endpoint, message);
                ("message", form, Expected::Message(Box::new(event)))
            }
            Event::Broken(mark) => {
                let form = encode(&[("MessageStatus", "delivered"), ("Mark", mark)]);
                let expected = expected::dead_letter(endpoint, &form);
                ("report", form, expected)
            }
        };
        Body { route, bytes: Bytes::from(form), expected: [expected].into() }
    }

    /// Twilio reports nothing about the account by webhook: Event Streams report its templates and numbers, which the
    /// gateway does not support.
    fn notice(&self, endpoint: &Endpoint, notice: &Notice) -> Option<Body> {
        match notice.what {
            NoticeKind::OptedOut => {
                Some(preference_body(endpoint, notice, "STOP", CustomerEventKind::OptedOut))
            }
            NoticeKind::OptedIn => {
                Some(preference_body(endpoint, notice, "START", CustomerEventKind::OptedIn))
            }
            _ => None,
        }
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    /// Unless the URL requests more, Twilio retries only a failed connection, once.
    fn retry_delay(&self, repeat: u32, failure: Failure, plan: &Plan) -> Option<Duration> {
        let goes_on = match plan.twilio_retries {
            TwilioRetries::Default => repeat == 0 && failure == Failure::NotConnected,
            TwilioRetries::All => repeat < RETRIES_MAX,
        };
        goes_on.then_some(RETRY_DELAY)
    }

    fn headers(&self, endpoint: &Endpoint, body: &Body) -> HeaderMap {
        let mut headers = bsp_client::headers(&[
            ("content-type", "application/x-www-form-urlencoded; charset=UTF-8"),
            ("user-agent", "TwilioProxy/1.1"),
        ]);
        if let Some(signing) = &endpoint.signing
            && let Ok(value) = sign(signing, &endpoint.path(body.route), &body.bytes).parse()
        {
            headers.insert("x-twilio-signature", value);
        }
        headers
    }

    fn answer_challenge(&self, endpoint: &Endpoint, challenge: &str) -> Option<HeaderMap> {
        if !challenge.to_ascii_lowercase().starts_with("basic") {
            return None;
        }
        let login = STANDARD.encode(format!("{}:{}", endpoint.user, endpoint.password));
        Some(bsp_client::headers(&[("authorization", &format!("Basic {login}"))]))
    }
}

/// HMAC-SHA1 over the URL and the decoded fields, sorted by name.
fn sign(signing: &Signing, path: &str, form: &[u8]) -> String {
    let form = String::from_utf8_lossy(form);
    let mut fields: Vec<(String, String)> = form.split('&').filter_map(decode_field).collect();
    fields.sort();
    let mut mac = Hmac::<Sha1>::new_from_slice(&signing.key).expect("HMAC accepts a key of any length");
    mac.update(signing.public_url.as_bytes());
    mac.update(path.as_bytes());
    for (name, value) in fields {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

fn decode_field(field: &str) -> Option<(String, String)> {
    let (name, value) = field.split_once('=')?;
    Some((name.to_owned(), percent_decode_str(value).decode_utf8_lossy().into_owned()))
}

fn encode(fields: &[(&str, &str)]) -> String {
    let encoded =
        fields.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    encoded.collect::<Vec<_>>().join("&")
}

fn address(number: &str) -> String {
    format!("whatsapp:+{number}")
}

fn report_form(endpoint: &Endpoint, report: &Report) -> (&'static str, String, Expected) {
    let (status, event_type) = match report.step {
        Step::Pending => ("queued", ""),
        Step::Sent => ("sent", ""),
        Step::Delivered => ("delivered", "DELIVERED"),
        Step::Read => ("read", "READ"),
        Step::Failed(_) => ("undelivered", "UNDELIVERED"),
        Step::Deleted | Step::Unknown => ("teleported", ""),
    };
    let (to, from) = (address(&report.customer), address(&report.business));
    let mut fields = vec![
        ("ApiVersion", "2010-04-01"),
        ("AccountSid", "AC00000000000000000000000000000000"),
        ("ChannelPrefix", "whatsapp"),
        ("ChannelInstallSid", "XE00000000000000000000000000000000"),
        ("MessageSid", &report.ids.message),
        ("SmsSid", &report.ids.message),
        ("MessageStatus", status),
        ("SmsStatus", status),
        ("To", &to),
        ("From", &from),
    ];
    if !event_type.is_empty() {
        fields.push(("EventType", event_type));
    }
    let mut event = expected::report(endpoint, report, status);
    if !event_type.is_empty() {
        event.unread_json = json!({ "EventType": event_type }).to_string();
    }
    if let Step::Failed(reason) = report.step {
        let (code, text, permanent) = FAILED[reason % FAILED.len()];
        fields.extend([("ErrorCode", code), ("ChannelStatusMessage", text)]);
        let error = ReportError {
            code: code.to_owned(),
            name: String::new(),
            description: text.to_owned(),
            permanent,
        };
        event = ReportEvent { errors: vec![error.clone()], error: Some(error), ..event };
    }
    ("report", encode(&fields), Expected::Report(Box::new(event)))
}

/// A message by which a customer opts out or in: `OptOutType` contains it (Twilio, "Advanced Opt-Out"). It is a message
/// too.
fn preference_body(endpoint: &Endpoint, notice: &Notice, word: &str, kind: CustomerEventKind) -> Body {
    let message = Message {
        ids: Ids { message: notice.id.clone(), whatsapp: String::new() },
        customer: notice.customer.clone(),
        name: "Asha".to_owned(),
        business: notice.business.clone(),
        at: notice.at,
        content: Content::Text(word.to_owned()),
    };
    let (form, event) = message_form(endpoint, &message);
    let customer = expected::preference_customer(notice);
    let more = encode(&[("OptOutType", word), ("ExternalUserId", &customer.user_id)]);
    let event = InboundMessage { customer: Some(customer.clone()), ..event };
    let preference = expected::customer(endpoint, kind, customer);
    Body {
        route: "message",
        bytes: Bytes::from(format!("{form}&{more}")),
        expected: [Expected::Message(Box::new(event)), Expected::Customer(Box::new(preference))].into(),
    }
}

fn message_form(endpoint: &Endpoint, message: &Message) -> (String, InboundMessage) {
    let (to, from) = (address(&message.business), address(&message.customer));
    let mut fields = vec![
        ("ApiVersion", "2010-04-01"),
        ("AccountSid", "AC00000000000000000000000000000000"),
        ("MessageSid", &message.ids.message),
        ("SmsSid", &message.ids.message),
        ("SmsMessageSid", &message.ids.message),
        ("SmsStatus", "received"),
        ("NumSegments", "1"),
        ("ProfileName", &message.name),
        ("WaId", &message.customer),
        ("To", &to),
        ("From", &from),
    ];
    let (more, content) = content(&message.content);
    fields.extend(more.iter().map(|(name, value)| (*name, value.as_str())));
    let mut event = expected::message(endpoint, message, content);
    if matches!(message.content, Content::Button { .. }) {
        event.unread_json = json!({ "ButtonType": "REPLY" }).to_string();
    }
    (encode(&fields), event)
}

type Fields = Vec<(&'static str, String)>;

/// What a customer filled into a form.
const FORM: &str = "{\"beam\":\"green\"}";

fn content(content: &Content) -> (Fields, ProtoContent) {
    let field = |name, value: &str| (name, value.to_owned());
    let media = |url: &str, content_type: &str, caption: &str| {
        let fields = vec![
            field("NumMedia", "1"),
            field("MediaUrl0", url),
            field("MediaContentType0", content_type),
            field("Body", caption),
        ];
        let media = Media {
            url: url.to_owned(),
            content_type: content_type.to_owned(),
            caption: caption.to_owned(),
            requires_auth: true,
            ..Media::default()
        };
        (fields, media)
    };
    let mut fields = vec![field("NumMedia", "0")];
    match content {
        Content::Text(text) => fields.push(field("Body", text)),
        Content::Place { latitude, longitude, name } => fields.extend([
            field("Body", ""),
            field("Latitude", &latitude.to_string()),
            field("Longitude", &longitude.to_string()),
            field("Label", name),
        ]),
        Content::Button { id, title } => fields.extend([
            field("Body", title),
            field("ButtonText", title),
            field("ButtonPayload", id),
            field("ButtonType", "REPLY"),
        ]),
        Content::Image { url, caption } => {
            let (fields, media) = media(url, "image/jpeg", caption);
            return (fields, ProtoContent::Image(media));
        }
        // The name of a document is not sent.
        Content::Document { url, name: _ } => {
            let (fields, media) = media(url, "application/pdf", "");
            return (fields, ProtoContent::Document(media));
        }
        // Twilio has no kind that the gateway does not know, so the response to a form is used instead.
        Content::Unknown => fields.extend([field("Body", "Sent"), field("FlowData", FORM)]),
    }
    let plain = expected::content(content).unwrap_or_else(|| {
        ProtoContent::FormReply(FormReply {
            name: "flow".to_owned(),
            body: "Sent".to_owned(),
            response_json: FORM.to_owned(),
        })
    });
    (fields, plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vector of Twilio's own client library (twilio-python, request validator).
    #[test]
    fn a_request_is_signed_as_twilio_signs() {
        let signing = Signing { key: b"12345".to_vec(), public_url: "https://mycompany.com".to_owned() };
        let form = b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";
        assert_eq!(sign(&signing, "/myapp.php?foo=1&bar=2", form), "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    }
}
