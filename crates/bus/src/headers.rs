//! The headers of our messages, by name.
//!
//! NATS compares header names byte by byte, so each stands here once. Events follow the NATS binding of
//! CloudEvents 1.0 in binary mode.

use async_nats::{HeaderMap, HeaderName};
use bsp::{BspId, ChannelId, NO_BSP, UNKNOWN_CHANNEL};

use crate::subject::EventKind;

/// The name of a header, made before any message is: the client would look every name up in its list.
#[derive(Debug, Clone)]
pub struct Name {
    text: &'static str,
    header: HeaderName,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text)
    }
}

impl Name {
    const fn new(text: &'static str) -> Self {
        Self { text, header: HeaderName::from_static(text) }
    }

    /// As it is written.
    pub const fn as_str(&self) -> &'static str {
        self.text
    }
}

/// JetStream's de-duplication id.
pub const MESSAGE_ID: Name = Name::new("Nats-Msg-Id");
/// `report` or `message`: the route that the webhook was posted to.
pub const ROUTE: Name = Name::new("Imchannel-Route");
/// When ingress received the webhook, RFC 3339 in UTC with microseconds.
pub const RECEIVED_AT: Name = Name::new("Imchannel-Received-At");
/// Media type of the payload.
pub const CONTENT_TYPE: Name = Name::new("Content-Type");
/// W3C trace context.
pub const TRACEPARENT: Name = Name::new("traceparent");
/// Why a dead letter is one: a word out of a fixed set.
pub const REASON_KIND: Name = Name::new("Imchannel-Reason-Kind");
/// Why a dead letter is one: a sentence without a value of the body.
pub const REASON: Name = Name::new("Imchannel-Reason");
/// Stream, sequence and item that a dead letter comes from, as `WEBHOOKS/17/0`.
pub const ORIGIN: Name = Name::new("Imchannel-Origin");
/// The subject that a command was published to, on its dead letter: the queue, and where no lane reads it, all of it.
pub const SUBJECT: Name = Name::new("Imchannel-Subject");
/// Whether a dead letter is a whole body (`body`) or one of its items (`item`).
pub const PART: Name = Name::new("Imchannel-Part");
/// `true` on an event that an operator had published again.
pub const REPLAYED: Name = Name::new("Imchannel-Replayed");
/// The BSP of a dead letter.
pub const BSP: Name = Name::new("Imchannel-Bsp");
/// When a dead letter was written, RFC 3339.
pub const TIME: Name = Name::new("Imchannel-Time");
/// JetStream: the message is stored only while the last one of its subject has this sequence, 0 for none.
pub const EXPECTED_LAST_SUBJECT_SEQUENCE: Name = Name::new("Nats-Expected-Last-Subject-Sequence");
/// Names the lease that a write to the bucket of leases belongs to.
pub const LEASE_TOKEN: Name = Name::new("Imchannel-Lease");
/// JetStream's key-value stores: what was done to the key, where it was not written.
pub const KV_OPERATION: Name = Name::new("KV-Operation");
/// The server's own: which account and client a message came from that an import let into this account. It says nothing about
/// the message, and no reader looks at it: a command with it and one without it are the same.
pub const REQUEST_INFO: Name = Name::new("Nats-Request-Info");
/// CloudEvents: version of the specification.
pub const CE_SPECVERSION: Name = Name::new("ce-specversion");
/// CloudEvents: id of the event.
pub const CE_ID: Name = Name::new("ce-id");
/// CloudEvents: type of the event.
pub const CE_TYPE: Name = Name::new("ce-type");
/// CloudEvents: where the event comes from, `/{bsp}/{channel}`; `/none/{channel or unknown}` where there is no channel.
pub const CE_SOURCE: Name = Name::new("ce-source");
/// CloudEvents: when it happened.
pub const CE_TIME: Name = Name::new("ce-time");
/// CloudEvents: media type of the payload.
pub const CE_DATACONTENTTYPE: Name = Name::new("ce-datacontenttype");

/// Media type of every event.
pub const PROTOBUF: &str = "application/protobuf";

/// Headers of a message.
#[derive(Debug, Clone, Default)]
pub struct Headers(pub(crate) HeaderMap);

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// The headers of an event, as the NATS binding of CloudEvents 1.0 has them in binary mode. `publish_id` is JetStream's
    /// de-duplication id: the event's own, but for a replay.
    pub fn event(
        kind: EventKind,
        (publish_id, event_id): (&str, &str),
        bsp: BspId,
        channel: &ChannelId,
        time: Option<jiff::Timestamp>,
    ) -> Self {
        Self::cloud_event(kind, (publish_id, event_id), &format!("/{bsp}/{channel}"), time)
    }

    /// The same of the result of a command for a channel that is not known.
    pub fn result_of_none(
        event_id: &str,
        channel: Option<&ChannelId>,
        time: Option<jiff::Timestamp>,
    ) -> Self {
        let source = format!("/{NO_BSP}/{}", channel.map_or(UNKNOWN_CHANNEL, ChannelId::as_str));
        Self::cloud_event(EventKind::Send, (event_id, event_id), &source, time)
    }

    fn cloud_event(
        kind: EventKind,
        (publish_id, event_id): (&str, &str),
        source: &str,
        time: Option<jiff::Timestamp>,
    ) -> Self {
        Self::new()
            .with(MESSAGE_ID, publish_id)
            .with(CE_SPECVERSION, "1.0")
            .with(CE_ID, event_id)
            .with(CE_TYPE, kind.type_name())
            .with(CE_SOURCE, source)
            .with_optional(CE_TIME, time.map(|time| time.to_string()).as_deref())
            .with(CE_DATACONTENTTYPE, PROTOBUF)
    }

    /// Adds a header. A value that no header can carry (a line break) is left out: none of ours has one, but a
    /// webhook's content type comes from outside.
    #[must_use]
    pub fn with(mut self, name: Name, value: &str) -> Self {
        if !value.contains(['\r', '\n']) {
            self.0.insert(name.header, value);
        }
        self
    }

    /// Adds a header if there is a value.
    #[must_use]
    pub fn with_optional(self, name: Name, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The value of a header.
    pub fn get(&self, name: Name) -> Option<&str> {
        self.0.get(name.header).map(async_nats::HeaderValue::as_str)
    }

    /// All names with their first values, sorted by name.
    pub fn sorted(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> = self
            .0
            .iter()
            .filter_map(|(name, values)| Some((name.to_string(), values.first()?.as_str().to_owned())))
            .collect();
        all.sort();
        all
    }
}
