//! Published events, by id and by the item of their webhook, and dead letters by item.

use std::collections::{BTreeMap, HashMap, HashSet};

use bsp::{ItemRanges, Outcome, Parsed};
use bus::read::{self, StartAt};
use bus::streams::{DEADLETTERS, EVENTS};
use bus::subject::Filter;
use bus::{Bus, Delivery, EventKind, Subject, headers};
use indicatif::ProgressBar;
use jiff::Timestamp;
use prost::Message;
use proto::v1::{AccountEvent, CustomerEvent, EventSource, InboundMessage, ReportEvent};

/// A decoded event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    Report(Box<ReportEvent>),
    Message(Box<InboundMessage>),
    Account(Box<AccountEvent>),
    Customer(Box<CustomerEvent>),
}

impl Event {
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Report(report) => &report.event_id,
            Self::Message(message) => &message.event_id,
            Self::Account(event) => &event.event_id,
            Self::Customer(event) => &event.event_id,
        }
    }

    fn source(&self) -> Option<EventSource> {
        match self {
            Self::Report(report) => report.source,
            Self::Message(message) => message.source,
            Self::Account(event) => event.source,
            Self::Customer(event) => event.source,
        }
    }
}

/// An item of a webhook: its sequence in stream WEBHOOKS and its position.
pub(crate) type Place = (u64, u32);

/// Ids of what may have been published for the parsed webhooks.
#[derive(Debug, Default)]
pub(crate) struct ExpectedEvents {
    ids: HashSet<String>,
    sequences: HashSet<u64>,
    oldest: Option<Timestamp>,
}

impl ExpectedEvents {
    pub(crate) fn add(&mut self, sequence: u64, stored_at: Timestamp, parsed: &Parsed) {
        self.sequences.insert(sequence);
        self.oldest = Some(self.oldest.map_or(stored_at, |oldest| oldest.min(stored_at)));
        for item in &parsed.items {
            match &item.outcome {
                Outcome::Report(report) => self.ids.insert(report.event_id.clone()),
                Outcome::Message(message) => self.ids.insert(message.event_id.clone()),
                Outcome::Account(event) => self.ids.insert(event.event_id.clone()),
                Outcome::Customer(event) => self.ids.insert(event.event_id.clone()),
                Outcome::Ignored(_) | Outcome::Rejected(_) => false,
            };
        }
    }
}

/// What was published.
#[derive(Debug, Default)]
pub(crate) struct Published {
    wanted: ExpectedEvents,
    by_id: HashMap<String, Event>,
    by_place: BTreeMap<Place, String>,
    letters: HashMap<Place, String>,
    /// Items that share a dead letter, by the sequence of their webhook.
    listed: HashMap<u64, ItemRanges>,
    /// Time of the oldest stored event.
    oldest_event: Option<Timestamp>,
    /// Sequence up to which webhooks are processed.
    pub(crate) processed_to: u64,
}

impl Published {
    /// Reads the events and dead letters of a filter, and keeps those that are needed.
    pub(crate) async fn read(
        bus: &Bus,
        filter: &Filter,
        wanted: ExpectedEvents,
        bar: &ProgressBar,
    ) -> anyhow::Result<Self> {
        let mut published =
            Self { oldest_event: read::first_time(bus, &EVENTS).await?, wanted, ..Self::default() };
        published.processed_to = bus::lag::ack_floor(bus, &bus::streams::NORMALIZER).await?;
        let Some(oldest) = published.wanted.oldest else { return Ok(published) };
        // The event of a repeated webhook may belong to the first one, which is at most a duplicate window older.
        let from = StartAt::Time(oldest - EVENTS.duplicate_window_max);
        for kind in EventKind::OF_WEBHOOKS {
            let mut events = read::subscribe(bus, &EVENTS, filter.events(kind), from).await?;
            bar.inc_length(events.pending());
            while let Some(delivery) = events.next_stored().await? {
                published.add_event(&delivery);
                bar.inc(1);
            }
        }
        let mut letters =
            read::subscribe_headers(bus, &DEADLETTERS, filter.dead_letters(), StartAt::Time(oldest)).await?;
        while let Some(delivery) = letters.next_stored().await? {
            published.add_letter(&delivery);
        }
        Ok(published)
    }

    /// Adds an event. The newest one counts, because a replay may have published the event again.
    pub(crate) fn add_event(&mut self, delivery: &Delivery) {
        let payload = delivery.payload.clone();
        let event = match delivery.address() {
            Some(Subject::Event(EventKind::Report, ..)) => {
                ReportEvent::decode(payload).ok().map(|report| Event::Report(Box::new(report)))
            }
            Some(Subject::Event(EventKind::Message, ..)) => {
                InboundMessage::decode(payload).ok().map(|message| Event::Message(Box::new(message)))
            }
            Some(Subject::Event(EventKind::Account, ..)) => {
                AccountEvent::decode(payload).ok().map(|event| Event::Account(Box::new(event)))
            }
            Some(Subject::Event(EventKind::Customer, ..)) => {
                CustomerEvent::decode(payload).ok().map(|event| Event::Customer(Box::new(event)))
            }
            _ => None,
        };
        let Some(event) = event else { return };
        let is_from_here =
            event.source().is_some_and(|source| self.wanted.sequences.contains(&source.stream_sequence));
        if !is_from_here && !self.wanted.ids.contains(event.id()) {
            return;
        }
        if let Some(source) = event.source() {
            self.by_place.insert((source.stream_sequence, source.item_index), event.id().to_owned());
        }
        self.by_id.insert(event.id().to_owned(), event);
    }

    fn add_letter(&mut self, delivery: &Delivery) {
        let origin = delivery.headers.get(headers::ORIGIN).and_then(parse_origin);
        let reason = delivery.headers.get(headers::REASON).unwrap_or_default();
        let Some(place) = origin.filter(|(sequence, _)| self.wanted.sequences.contains(sequence)) else {
            return;
        };
        match delivery.headers.get(headers::ITEMS).and_then(ItemRanges::parse) {
            Some(items) => drop(self.listed.insert(place.0, items)),
            None => drop(self.letters.insert(place, reason.to_owned())),
        }
    }

    pub(crate) fn by_id(&self, event_id: &str) -> Option<&Event> {
        self.by_id.get(event_id)
    }

    /// Returns the event of an item.
    pub(crate) fn at(&self, place: Place) -> Option<&Event> {
        self.by_id.get(self.by_place.get(&place)?)
    }

    /// Returns the events of a webhook's items from this position on.
    pub(crate) fn beyond(&self, (sequence, index): Place) -> impl Iterator<Item = (u32, &Event)> {
        let places = self.by_place.range((sequence, index)..=(sequence, u32::MAX));
        places.filter_map(|((_, index), id)| Some((*index, self.by_id.get(id)?)))
    }

    /// Returns why an item became a dead letter, if it has a separate one.
    pub(crate) fn letter_at(&self, place: Place) -> Option<&str> {
        self.letters.get(&place).map(String::as_str)
    }

    /// Whether an item shares a dead letter with others, whose reason only describes the first of them.
    pub(crate) fn is_listed(&self, (sequence, index): Place) -> bool {
        self.listed.get(&sequence).is_some_and(|items| items.contains(index))
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
