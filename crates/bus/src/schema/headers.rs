//! The headers of our messages, by name.
//!
//! NATS compares header names byte by byte, so each is defined once, here. Events follow the NATS binding of
//! CloudEvents 1.0 in binary mode.

use std::sync::LazyLock;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bsp::{BspId, ChannelId, NO_BSP, UNKNOWN_CHANNEL};

use crate::schema::subject::EventKind;

/// The name of a header, parsed once. Otherwise the client would search its list for each name.
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

    /// The name as text.
    pub const fn as_str(&self) -> &'static str {
        self.text
    }
}

/// Deduplication id of JetStream.
pub const MESSAGE_ID: Name = Name::new("Nats-Msg-Id");
/// `report` or `message`: the route that the webhook was posted to.
pub const ROUTE: Name = Name::new("Imchannel-Route");
/// When ingress received the webhook, RFC 3339 in UTC with microseconds.
pub const RECEIVED_AT: Name = Name::new("Imchannel-Received-At");
/// Media type of the payload.
pub const CONTENT_TYPE: Name = Name::new("Content-Type");
/// W3C trace context.
pub const TRACEPARENT: Name = Name::new("traceparent");
/// Error code of a dead letter: a word from a fixed set.
pub const REASON_KIND: Name = Name::new("Imchannel-Reason-Kind");
/// Reason of a dead letter: a sentence without any value of the body.
pub const REASON: Name = Name::new("Imchannel-Reason");
/// Stream, sequence and item of the source of a dead letter, as `WEBHOOKS/17/0`.
pub const ORIGIN: Name = Name::new("Imchannel-Origin");
/// Subject of a command, on its dead letter: the queue, or the whole subject if no lane reads it.
pub const SUBJECT: Name = Name::new("Imchannel-Subject");
/// Scope of a dead letter: a whole body (`body`), one of its items (`item`), or a command whose end was cut off
/// (`cut`).
pub const PART: Name = Name::new("Imchannel-Part");
/// [`PART`]: a whole body or command.
pub const PART_BODY: &str = "body";
/// [`PART`]: an item.
pub const PART_ITEM: &str = "item";
/// [`PART`]: a command whose end was cut off.
pub const PART_CUT: &str = "cut";
/// Items of a dead letter of several items, as `8-97,99`: their positions, from 0.
pub const ITEMS: Name = Name::new("Imchannel-Items");
/// Number and bytes of the letters that were written under the subject of a dead letter, including it, as `17/9342`
/// ([`crate::publish::dead_letters`]).
pub const WRITTEN: Name = Name::new("Imchannel-Written");
/// `true` on the dead letter of a command that may have been sent anyway. It is not published again.
pub const MAY_BE_SENT: Name = Name::new("Imchannel-May-Be-Sent");
/// `true` on an event or command that an operator published again.
pub const REPLAYED: Name = Name::new("Imchannel-Replayed");
/// Number of the run of a replay, beside [`REPLAYED`]: everything that one call of `imchannel` published again has the same.
pub const REPLAY_RUN: Name = Name::new("Imchannel-Replay-Run");
/// Who published again, as that person named themselves, beside [`REPLAYED`]. NATS does not check it.
pub const REPLAYED_BY: Name = Name::new("Imchannel-Replayed-By");
/// Why it was published again, beside [`REPLAYED`].
pub const REPLAY_REASON: Name = Name::new("Imchannel-Replay-Reason");
/// The BSP of a dead letter.
pub const BSP: Name = Name::new("Imchannel-Bsp");
/// When a dead letter was written, RFC 3339.
pub const TIME: Name = Name::new("Imchannel-Time");
/// JetStream: the message is stored only if the last message of its subject has this sequence; 0 for none.
pub const EXPECTED_LAST_SUBJECT_SEQUENCE: Name = Name::new("Nats-Expected-Last-Subject-Sequence");
/// Identifies the acquisition of a lease to which a write belongs.
pub const LEASE_TOKEN: Name = Name::new("Imchannel-Lease");
/// JetStream's key-value stores: the operation on the key, if it was not a put.
pub const KV_OPERATION: Name = Name::new("KV-Operation");
/// Set by the server on a message that was imported from another account: its account and client. It says nothing about
/// the message and is ignored: a command with it and one without it are the same.
pub const REQUEST_INFO: Name = Name::new("Nats-Request-Info");
/// JetStream: bytes of the payload, in a message that is delivered without it (a consumer of headers only).
pub const PAYLOAD_SIZE: Name = Name::new("Nats-Msg-Size");
/// CloudEvents: version of the specification.
pub const CE_SPECVERSION: Name = Name::new("ce-specversion");
/// CloudEvents: id of the event.
pub const CE_ID: Name = Name::new("ce-id");
/// CloudEvents: type of the event.
pub const CE_TYPE: Name = Name::new("ce-type");
/// CloudEvents: source of the event, `/{bsp}/{channel}`; `/none/{channel or unknown}` without a configured channel.
pub const CE_SOURCE: Name = Name::new("ce-source");
/// CloudEvents: time of the event.
pub const CE_TIME: Name = Name::new("ce-time");
/// CloudEvents: media type of the payload.
pub const CE_DATACONTENTTYPE: Name = Name::new("ce-datacontenttype");

/// Media type of every event.
pub const PROTOBUF: &str = "application/protobuf";

/// Longest value, in bytes, that a dead letter copies from the headers of its webhook or command, and that ingress
/// copies from a request.
pub const COPIED_LENGTH_MAX: usize = 512;

/// Beginnings of the names of headers that say how a message is to be stored. Servers store them with the message. On another message
/// they would make it a duplicate, a conflict, or a part of a batch that never ends: a server that takes batches refuses it or, if it
/// is like the first of a batch, answers without storing it.
const OF_PUBLISH: [&str; 3] = ["Nats-Msg-Id", "Nats-Expected-", "Nats-Batch-"];

fn is_of_publish(name: &str) -> bool {
    OF_PUBLISH.iter().any(|start| name.starts_with(start))
}

/// Headers of a message. Those of a message that was read are without the headers of its publish (`Nats-Msg-Id`, `Nats-Expected-*`,
/// `Nats-Batch-*`), so that no copy of them has any.
///
/// # Examples
/// ```
/// use bus::{Headers, headers};
///
/// let headers = Headers::new().with(headers::MESSAGE_ID, "sales.c-1").with(headers::CONTENT_TYPE, "application/json");
/// assert_eq!(headers.get(headers::MESSAGE_ID), Some("sales.c-1"));
/// assert_eq!(headers.get(headers::TRACEPARENT), None);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Headers {
    map: HeaderMap,
    source: Source,
}

/// Where headers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Source {
    /// They were made for a publish.
    #[default]
    Own,
    /// They are those of a stored message: the headers of its publish are hidden. The client's map can drop no entry, and copying the
    /// others would cost as much as reading them did.
    Read,
}

/// The headers that all events of a kind have, by kind. They are cloned, because the client's map hashes each name that is
/// inserted, and all names again when it grows; with a fourth name it has room for all of an event.
static OF_KIND: LazyLock<[Headers; EventKind::ALL.len()]> = LazyLock::new(|| {
    EventKind::ALL.map(|kind| {
        Headers::new()
            .with(CE_SPECVERSION, "1.0")
            .with(CE_TYPE, kind.type_name())
            .with(CE_DATACONTENTTYPE, PROTOBUF)
            .with(CE_SOURCE, "")
    })
});

/// The ids of an event that is published.
#[derive(Debug, Clone, Copy)]
pub struct EventIds<'i> {
    /// Deduplication id of JetStream (`Nats-Msg-Id`): the event's own id, except in a replay.
    pub publish: &'i str,
    /// The `event_id`.
    pub event: &'i str,
}

impl<'i> EventIds<'i> {
    /// The ids of an event that is published for the first time.
    pub fn same(id: &'i str) -> Self {
        Self { publish: id, event: id }
    }
}

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// The headers of a stored message.
    pub(crate) fn read(map: HeaderMap) -> Self {
        Self { map, source: Source::Read }
    }

    /// The headers of an event in binary mode of the NATS binding of CloudEvents 1.0.
    pub fn event(
        kind: EventKind,
        ids: EventIds<'_>,
        bsp: BspId,
        channel: &ChannelId,
        time: Option<jiff::Timestamp>,
    ) -> Self {
        Self::cloud_event(kind, ids, &["/", bsp.as_str(), "/", channel.as_str()].concat(), time)
    }

    /// The headers of the result of a command whose channel is unknown.
    pub fn result_without_bsp(
        event_id: &str,
        channel: Option<&ChannelId>,
        time: Option<jiff::Timestamp>,
    ) -> Self {
        let source = format!("/{NO_BSP}/{}", channel.map_or(UNKNOWN_CHANNEL, ChannelId::as_str));
        Self::cloud_event(EventKind::SendResult, EventIds::same(event_id), &source, time)
    }

    fn cloud_event(kind: EventKind, ids: EventIds<'_>, source: &str, time: Option<jiff::Timestamp>) -> Self {
        OF_KIND[kind as usize]
            .clone()
            .with(MESSAGE_ID, ids.publish)
            .with(CE_ID, ids.event)
            .with(CE_SOURCE, source)
            .with_optional(CE_TIME, time.map(|time| time.to_string()).as_deref())
    }

    /// Adds a header. A value with a line break, which no header can contain, is left out: none of ours has one, but a
    /// webhook's content type is external.
    #[must_use]
    pub fn with(mut self, name: Name, value: &str) -> Self {
        // Of bytes: a search for characters decodes each, for every header of every event.
        if !value.bytes().any(|byte| matches!(byte, b'\r' | b'\n')) {
            self = self.into_own();
            self.map.insert(name.header, value);
        }
        self
    }

    /// Adds a header if `value` is some.
    #[must_use]
    pub fn with_optional(self, name: Name, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The value of a header.
    pub fn get(&self, name: Name) -> Option<&str> {
        if self.hides(name.text) {
            return None;
        }
        self.map.get(name.header).map(HeaderValue::as_str)
    }

    /// The `Nats-Msg-Id` of the publish.
    pub(crate) fn message_id(&self) -> Option<&str> {
        self.map.get(MESSAGE_ID.header).map(HeaderValue::as_str)
    }

    fn hides(&self, name: &str) -> bool {
        self.source == Source::Read && is_of_publish(name)
    }

    /// The headers as those of a message to publish.
    fn into_own(self) -> Self {
        if self.source == Source::Own {
            return self;
        }
        let mut map = HeaderMap::new();
        for (name, values) in self.map.iter().filter(|(name, _)| !is_of_publish(name.as_ref())) {
            values.iter().for_each(|value| map.append(name.clone(), value.clone()));
        }
        Self { map, source: Source::Own }
    }

    /// The headers to publish.
    pub(crate) fn into_map(self) -> HeaderMap {
        self.into_own().map
    }

    /// The value of a header if it is at most [`COPIED_LENGTH_MAX`] bytes long, so that a dead letter can copy it.
    pub fn get_limited(&self, name: Name) -> Option<&str> {
        self.get(name).filter(|value| value.len() <= COPIED_LENGTH_MAX)
    }

    /// Bytes that they take on the wire and in a stream, with those of the publish: `NATS/1.0`, one line each, an empty line.
    pub(crate) fn wire_length(&self) -> usize {
        let line = |name: &HeaderName, value: &HeaderValue| {
            let name: &str = name.as_ref();
            name.len() + value.as_str().len() + 4
        };
        let lines =
            self.map.iter().flat_map(|(name, values)| values.iter().map(move |value| line(name, value)));
        12 + lines.sum::<usize>()
    }

    /// The headers of which these are the names and values, such as those of [`sorted`](Self::sorted). `None` if one of them
    /// is not a header.
    pub fn from_sorted(all: &[(String, String)]) -> Option<Self> {
        let mut map = HeaderMap::new();
        for (name, value) in all {
            map.insert(name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?);
        }
        Some(Self { map, source: Source::Own })
    }

    /// All names with their first values, sorted by name.
    pub fn sorted(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> = self
            .map
            .iter()
            .filter(|(name, _)| !self.hides((*name).as_ref()))
            .filter_map(|(name, values)| Some((name.to_string(), values.first()?.as_str().to_owned())))
            .collect();
        all.sort();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_every_kind_has_its_own_headers() {
        let bsp = bsp::registry::REGISTRY[0].profile().id;
        let channel = ChannelId::parse("c-1").expect("a channel id");
        for kind in EventKind::ALL {
            let ids = EventIds { publish: "id.r1", event: "id" };
            let headers = Headers::event(kind, ids, bsp, &channel, Some(jiff::Timestamp::UNIX_EPOCH));
            let source = format!("/{bsp}/c-1");
            let expected = [
                (MESSAGE_ID, "id.r1"),
                (CE_DATACONTENTTYPE, PROTOBUF),
                (CE_ID, "id"),
                (CE_SOURCE, &source),
                (CE_SPECVERSION, "1.0"),
                (CE_TIME, "1970-01-01T00:00:00Z"),
                (CE_TYPE, kind.type_name()),
            ];
            let expected = expected.map(|(name, value)| (name.to_string(), value.to_owned()));
            assert_eq!(headers.sorted(), expected);
            assert_eq!(Headers::from_sorted(&expected).unwrap().sorted(), expected);
        }
        assert!(Headers::from_sorted(&[("a name".to_owned(), String::new())]).is_none());
        assert!(Headers::from_sorted(&[("name".to_owned(), "a\nline".to_owned())]).is_none());
    }

    /// The headers of a message of a batch with an id and an expectation, as nats-server 2.15 stores them.
    fn stored() -> Headers {
        let mut map = HeaderMap::new();
        for (name, value) in [
            ("Nats-Batch-Id", "b"),
            ("Nats-Batch-Sequence", "2"),
            ("Nats-Batch-Commit", "1"),
            ("Nats-Expected-Last-Subject-Sequence", "0"),
            ("Nats-Expected-Stream", "EVENTS"),
            ("Nats-Msg-Id", "id"),
            ("Nats-Msg-Size", "7"),
            ("Content-Type", "text/plain"),
        ] {
            map.insert(name, value);
        }
        Headers::read(map)
    }

    #[test]
    fn headers_that_were_read_are_without_those_of_the_publish() {
        let read = stored();
        let rest = [("Content-Type", "text/plain"), ("Nats-Msg-Size", "7")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read.sorted(), rest);
        assert_eq!(read.get(PAYLOAD_SIZE), Some("7"));
        assert_eq!((read.get(MESSAGE_ID), read.get(EXPECTED_LAST_SUBJECT_SEQUENCE)), (None, None));
        assert_eq!(read.message_id(), Some("id"));
    }

    #[test]
    fn a_copy_of_headers_that_were_read_publishes_none_of_the_publish() {
        let published = |headers: Headers| Headers { map: headers.into_map(), source: Source::Own }.sorted();
        assert_eq!(published(stored()), stored().sorted());
        let copy = stored().with(MESSAGE_ID, "own");
        assert_eq!(copy.get(MESSAGE_ID), Some("own"));
        let mut expected = stored().sorted();
        expected.push(("Nats-Msg-Id".to_owned(), "own".to_owned()));
        expected.sort();
        assert_eq!(published(copy), expected);
    }
}
