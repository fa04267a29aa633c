//! The content of a message as it is, with numbers, names and texts: for those who may see them. It is never stored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bsp::command;
use bus::{Delivery, EventKind, Origin, headers};
use prost::Message;
use proto::v1::{AccountEvent, CustomerEvent, InboundMessage, MediaFetched, ReportEvent, SendResult};
use serde::Serialize;
use serde_json::{Value, json};

use crate::extract::address::Address;
use crate::row::StreamNumber;

/// The content of a message: what was decoded as JSON, a webhook as the BSP sent it, and anything else as a text or in base64.
pub fn whole(stream: StreamNumber, delivery: &Delivery) -> Value {
    let decoded = match Address::of(stream, &delivery.subject) {
        Some(Address::Event { kind, .. }) => event(kind, delivery),
        Some(Address::Command { .. } | Address::DeadLetter { origin: Origin::Command, .. }) => {
            let content_type = delivery.headers.get(headers::CONTENT_TYPE);
            command::decode(content_type, &delivery.payload).ok().and_then(json_of)
        }
        Some(Address::Webhook { .. } | Address::DeadLetter { origin: Origin::Webhook, .. }) | None => None,
    };
    decoded.unwrap_or_else(|| as_sent(&delivery.payload))
}

fn event(kind: EventKind, delivery: &Delivery) -> Option<Value> {
    fn of<T: Message + Default + Serialize>(delivery: &Delivery) -> Option<Value> {
        T::decode(delivery.payload.clone()).ok().and_then(json_of)
    }
    match kind {
        EventKind::Report => of::<ReportEvent>(delivery),
        EventKind::Message => of::<InboundMessage>(delivery),
        EventKind::SendResult => of::<SendResult>(delivery),
        EventKind::Media => of::<MediaFetched>(delivery),
        EventKind::Account => of::<AccountEvent>(delivery),
        EventKind::Customer => of::<CustomerEvent>(delivery),
    }
}

/// `None` for what cannot be JSON: a number of an enum that this version does not know.
fn json_of(message: impl Serialize) -> Option<Value> {
    serde_json::to_value(message).ok()
}

fn as_sent(payload: &[u8]) -> Value {
    match (serde_json::from_slice(payload), std::str::from_utf8(payload)) {
        (Ok(value), _) => value,
        (Err(_), Ok(text)) => text.into(),
        (Err(_), Err(_)) => json!({ "base64": STANDARD.encode(payload) }),
    }
}

#[cfg(test)]
mod tests {
    use bus::headers::Headers;
    use bytes::Bytes;
    use jiff::Timestamp;
    use proto::v1::{ReportStatus, SendCommand};

    use super::*;

    fn delivery(subject: &str, payload: impl Into<Bytes>) -> Delivery {
        Delivery {
            subject: subject.to_owned(),
            headers: Headers::default(),
            payload: payload.into(),
            sequence: 1,
            attempt: 1,
            stored_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_message_is_shown_as_it_is() {
        let recipient = "4915112345678".to_owned();
        let command = SendCommand { recipient: recipient.clone(), ..SendCommand::default() };
        let of = |stream, subject, payload: Vec<u8>| whole(stream, &delivery(subject, payload));
        let subject = "imchannel.command.send.sales";
        assert_eq!(
            of(StreamNumber::Commands, subject, command.encode_to_vec())["recipient"],
            "4915112345678"
        );
        let report = ReportEvent { recipient, status: ReportStatus::Read.into(), ..ReportEvent::default() };
        let subject = "imchannel.event.report.infobip.sales";
        let shown = of(StreamNumber::Events, subject, report.encode_to_vec());
        assert_eq!(
            (&shown["recipient"], shown.to_string().contains("READ")),
            (&"4915112345678".into(), true)
        );
        let subject = "imchannel.webhook.infobip.sales";
        let webhook = |payload: &[u8]| of(StreamNumber::Webhooks, subject, payload.to_vec());
        assert_eq!(webhook(br#"{"results":[1]}"#), json!({"results": [1]}));
        assert_eq!(webhook(b"a=b&c=d"), json!("a=b&c=d"));
        assert_eq!(webhook(&[0xff, 0]), json!({"base64": "/wA="}));
        // What cannot be decoded is shown too.
        assert_eq!(
            of(StreamNumber::Events, "imchannel.event.report.infobip.sales", vec![0xff]),
            json!({"base64": "/w=="})
        );
    }
}
