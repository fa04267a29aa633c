//! An event as it goes onto the bus: protobuf bytes under the headers of CloudEvents 1.0 (binary mode).

use bsp::{BspId, ChannelId};
use bus::{EventKind, Headers, headers};
use bytes::Bytes;
use prost::Message;
use proto::Timestamp;
use proto::v1::{InboundMessage, ReportEvent};

/// Media type of every event.
const PROTOBUF: &str = "application/protobuf";

/// An event, encoded.
#[derive(Debug)]
pub(crate) struct Event<'m> {
    pub(crate) kind: EventKind,
    pub(crate) payload: Bytes,
    event_id: &'m str,
    time: Option<Timestamp>,
}

pub(crate) fn from_report(report: &ReportEvent) -> Event<'_> {
    Event {
        kind: EventKind::Report,
        payload: report.encode_to_vec().into(),
        event_id: &report.event_id,
        time: report.occurred_at.or(report.received_at),
    }
}

pub(crate) fn from_message(message: &InboundMessage) -> Event<'_> {
    Event {
        kind: EventKind::Message,
        payload: message.encode_to_vec().into(),
        event_id: &message.event_id,
        time: message.sent_at.or(message.received_at),
    }
}

impl Event<'_> {
    pub(crate) fn headers(&self, bsp: BspId, channel: &ChannelId, traceparent: Option<&str>) -> Headers {
        let time = self.time.and_then(|time| jiff::Timestamp::new(time.seconds, time.nanos).ok());
        Headers::new()
            .with(headers::MESSAGE_ID, self.event_id)
            .with(headers::CE_SPECVERSION, "1.0")
            .with(headers::CE_ID, self.event_id)
            .with(headers::CE_TYPE, self.kind.type_name())
            .with(headers::CE_SOURCE, &format!("/{bsp}/{channel}"))
            .with_optional(headers::CE_TIME, time.map(|time| time.to_string()).as_deref())
            .with(headers::CE_DATACONTENTTYPE, PROTOBUF)
            .with_optional(headers::TRACEPARENT, traceparent)
    }
}
