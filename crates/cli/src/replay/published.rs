//! What was published before: events by their id and by the item that they came from, and dead letters by theirs.

use std::collections::HashMap;

use anyhow::{Context as _, bail};
use bus::read::{self, From, Messages};
use bus::streams::{DEADLETTERS, EVENTS, StreamDefinition};
use bus::{Bus, Delivery, EventKind, Subject, headers};
use indicatif::ProgressBar;
use jiff::Timestamp;
use prost::Message;
use proto::v1::{EventSource, InboundMessage, ReportEvent};

use crate::tail;

/// Events that are held in memory for a comparison.
const EVENTS_MAX: u64 = 3_000_000;

/// An event, decoded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    Report(Box<ReportEvent>),
    Message(Box<InboundMessage>),
}

impl Event {
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Report(report) => &report.event_id,
            Self::Message(message) => &message.event_id,
        }
    }

    fn source(&self) -> Option<EventSource> {
        match self {
            Self::Report(report) => report.source,
            Self::Message(message) => message.source,
        }
    }
}

/// An item of a webhook: its sequence in stream WEBHOOKS and its position.
pub(crate) type Place = (u64, u32);

/// What was published.
#[derive(Debug, Default)]
pub(crate) struct Published {
    by_id: HashMap<String, Event>,
    by_place: HashMap<Place, String>,
    letters: HashMap<Place, String>,
    /// Older events are no longer stored.
    oldest_event: Option<Timestamp>,
    /// Webhooks up to here are processed.
    pub(crate) processed_to: u64,
}

impl Published {
    /// Reads the events and dead letters that were stored since `from`.
    pub(crate) async fn read(bus: &Bus, from: Timestamp, bar: &ProgressBar) -> anyhow::Result<Self> {
        let mut published = Self { oldest_event: read::first_time(bus, &EVENTS).await?, ..Self::default() };
        published.processed_to = bus::lag::acknowledged_to(bus, &bus::streams::NORMALIZER).await?;
        let mut events = open(bus, &EVENTS, "imchannel.event.>", from).await?;
        if events.pending() > EVENTS_MAX {
            bail!("{} events are too many to compare at once; take a shorter span of time", events.pending());
        }
        bar.set_length(events.pending());
        while let Some(delivery) = next(&mut events).await? {
            published.add_event(&delivery);
            bar.inc(1);
        }
        let mut letters = open(bus, &DEADLETTERS, "imchannel.deadletter.webhook.*", from).await?;
        while let Some(delivery) = next(&mut letters).await? {
            published.add_letter(&delivery);
        }
        Ok(published)
    }

    /// The newest one counts: a replay may have published the event anew.
    pub(crate) fn add_event(&mut self, delivery: &Delivery) {
        let payload = delivery.payload.clone();
        let event = match delivery.address() {
            Some(Subject::Event(EventKind::Report, ..)) => {
                ReportEvent::decode(payload).ok().map(|report| Event::Report(Box::new(report)))
            }
            Some(Subject::Event(EventKind::Message, ..)) => {
                InboundMessage::decode(payload).ok().map(|message| Event::Message(Box::new(message)))
            }
            _ => None,
        };
        let Some(event) = event else { return };
        if let Some(source) = event.source() {
            self.by_place.insert((source.stream_sequence, source.item_index), event.id().to_owned());
        }
        self.by_id.insert(event.id().to_owned(), event);
    }

    fn add_letter(&mut self, delivery: &Delivery) {
        let origin = delivery.headers.get(headers::ORIGIN).and_then(parse_origin);
        let reason = delivery.headers.get(headers::REASON).unwrap_or_default();
        if let Some(place) = origin {
            self.letters.insert(place, reason.to_owned());
        }
    }

    pub(crate) fn by_id(&self, event_id: &str) -> Option<&Event> {
        self.by_id.get(event_id)
    }

    /// The event that came out of an item.
    pub(crate) fn at(&self, place: Place) -> Option<&Event> {
        self.by_id.get(self.by_place.get(&place)?)
    }

    /// Why an item became a dead letter.
    pub(crate) fn letter_at(&self, place: Place) -> Option<&str> {
        self.letters.get(&place).map(String::as_str)
    }

    /// Whether events of that time are no longer stored.
    pub(crate) fn is_gone(&self, stored_at: Timestamp) -> bool {
        self.oldest_event.is_none_or(|oldest| stored_at < oldest)
    }
}

/// `WEBHOOKS/17/0`
pub(crate) fn parse_origin(text: &str) -> Option<Place> {
    let (sequence, index) = text.strip_prefix("WEBHOOKS/")?.split_once('/')?;
    Some((sequence.parse().ok()?, index.parse().ok()?))
}

async fn open(
    bus: &Bus,
    stream: &'static StreamDefinition,
    filter: &str,
    from: Timestamp,
) -> anyhow::Result<Stored> {
    let messages = read::follow(bus, stream, filter.to_owned(), From::Time(from)).await?;
    let left = messages.pending();
    Ok(Stored { messages, left })
}

/// What a stream held when reading began.
struct Stored {
    messages: Messages,
    left: u64,
}

impl Stored {
    fn pending(&self) -> u64 {
        self.left
    }
}

async fn next(stored: &mut Stored) -> anyhow::Result<Option<Delivery>> {
    if stored.left == 0 {
        return Ok(None);
    }
    let next = tokio::time::timeout(tail::SILENCE_MAX, stored.messages.next()).await;
    let Some(read) = next.context("the bus has gone silent")? else { return Ok(None) };
    stored.left -= 1;
    Ok(Some(read?.delivery))
}
