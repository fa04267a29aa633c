//! The headers of our messages, by name.
//!
//! NATS compares header names byte by byte, so each stands here once. Events follow the NATS binding of
//! CloudEvents 1.0 in binary mode.

use async_nats::HeaderMap;

/// JetStream's de-duplication id.
pub const MESSAGE_ID: &str = "Nats-Msg-Id";
/// `report` or `message`: the route that the webhook was posted to.
pub const ROUTE: &str = "Imchannel-Route";
/// When ingress received the webhook, RFC 3339 in UTC with microseconds.
pub const RECEIVED_AT: &str = "Imchannel-Received-At";
/// Media type of the payload.
pub const CONTENT_TYPE: &str = "Content-Type";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// Why a dead letter is one: a word out of a fixed set.
pub const REASON_KIND: &str = "Imchannel-Reason-Kind";
/// Why a dead letter is one: a sentence without a value of the body.
pub const REASON: &str = "Imchannel-Reason";
/// Stream, sequence and item that a dead letter comes from, as `WEBHOOKS/17/0`.
pub const ORIGIN: &str = "Imchannel-Origin";
/// Whether a dead letter is a whole body (`body`) or one of its items (`item`).
pub const PART: &str = "Imchannel-Part";
/// `true` on an event that an operator had published again.
pub const REPLAYED: &str = "Imchannel-Replayed";
/// The BSP of a dead letter.
pub const BSP: &str = "Imchannel-Bsp";
/// When a dead letter was written, RFC 3339.
pub const TIME: &str = "Imchannel-Time";
/// CloudEvents: version of the specification.
pub const CE_SPECVERSION: &str = "ce-specversion";
/// CloudEvents: id of the event.
pub const CE_ID: &str = "ce-id";
/// CloudEvents: type of the event.
pub const CE_TYPE: &str = "ce-type";
/// CloudEvents: where the event comes from, `/{bsp}/{channel}`.
pub const CE_SOURCE: &str = "ce-source";
/// CloudEvents: when it happened.
pub const CE_TIME: &str = "ce-time";
/// CloudEvents: media type of the payload.
pub const CE_DATACONTENTTYPE: &str = "ce-datacontenttype";

/// Headers of a message.
#[derive(Debug, Clone, Default)]
pub struct Headers(pub(crate) HeaderMap);

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header. A value that no header can carry (a line break) is left out: none of ours has one, but a
    /// webhook's content type comes from outside.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        if !value.contains(['\r', '\n']) {
            self.0.insert(name, value);
        }
        self
    }

    /// Adds a header if there is a value.
    #[must_use]
    pub fn with_optional(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The value of a header.
    pub fn get(&self, name: &'static str) -> Option<&str> {
        self.0.get(name).map(async_nats::HeaderValue::as_str)
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
