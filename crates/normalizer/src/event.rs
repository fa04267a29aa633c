//! An event on the bus: protobuf bytes with the headers of CloudEvents 1.0 (binary mode).

use std::borrow::Cow;

use bsp::{BspId, ChannelId, Item, Outcome};
use bus::headers::EventIds;
use bus::replay::ReplayRun;
use bus::{EventKind, Headers, headers};
use bytes::Bytes;
use prost::Message;
use proto::Timestamp;
use proto::v1::{AccountEvent, CustomerEvent, InboundMessage, ReportEvent};

/// An encoded event.
#[derive(Debug)]
pub struct Event<'m> {
    /// Its kind.
    pub kind: EventKind,
    /// Its payload, as protobuf.
    pub payload: Bytes,
    event_id: &'m str,
    time: Option<Timestamp>,
    replay: Option<&'m ReplayRun>,
}

/// The event of a parsed item; `None` if the item has no event.
pub fn of_item(item: &Item) -> Option<Event<'_>> {
    match &item.outcome {
        Outcome::Report(report) => Some(from_report(report)),
        Outcome::Message(message) => Some(from_message(message)),
        Outcome::Account(event) => Some(from_account(event)),
        Outcome::Customer(event) => Some(from_customer(event)),
        Outcome::Ignored(_) | Outcome::Rejected(_) => None,
    }
}

fn from_report(report: &ReportEvent) -> Event<'_> {
    Event {
        kind: EventKind::Report,
        payload: report.encode_to_vec().into(),
        event_id: &report.event_id,
        time: report.occurred_at.or(report.received_at),
        replay: None,
    }
}

fn from_message(message: &InboundMessage) -> Event<'_> {
    Event {
        kind: EventKind::Message,
        payload: message.encode_to_vec().into(),
        event_id: &message.event_id,
        time: message.sent_at.or(message.received_at),
        replay: None,
    }
}

fn from_account(event: &AccountEvent) -> Event<'_> {
    Event {
        kind: EventKind::Account,
        payload: event.encode_to_vec().into(),
        event_id: &event.event_id,
        time: event.occurred_at.or(event.received_at),
        replay: None,
    }
}

fn from_customer(event: &CustomerEvent) -> Event<'_> {
    Event {
        kind: EventKind::Customer,
        payload: event.encode_to_vec().into(),
        event_id: &event.event_id,
        time: event.occurred_at.or(event.received_at),
        replay: None,
    }
}

impl<'m> Event<'m> {
    /// The same event as part of a replay. It has the same `event_id`, but a different deduplication id, so
    /// that JetStream does not drop it as a duplicate.
    #[must_use]
    pub fn replayed(self, run: &'m ReplayRun) -> Self {
        Self { replay: Some(run), ..self }
    }

    /// Its headers.
    pub fn headers(&self, bsp: BspId, channel: &ChannelId, traceparent: Option<&str>) -> Headers {
        let message_id = match self.replay {
            Some(run) => Cow::Owned(run.message_id(self.event_id)),
            None => Cow::Borrowed(self.event_id),
        };
        let time = self.time.and_then(|time| jiff::Timestamp::new(time.seconds, time.nanos).ok());
        Headers::event(self.kind, EventIds { publish: &message_id, event: self.event_id }, bsp, channel, time)
            .with_optional(headers::TRACEPARENT, traceparent)
            .with_replay(self.replay)
    }
}
