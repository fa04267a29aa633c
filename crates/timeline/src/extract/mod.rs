//! Makes rows of a stored message. Pure: a delivery and what is known of channels in, rows out.
//!
//! Everything in a message may come from outside: ids of any length, texts with control characters, payloads that cannot be
//! decoded. So what people see is masked and cut here ([`text`], [`body`]), and a message that cannot be decoded still has a
//! row with what its subject and headers say. What rows mean together is left to [`crate::life`] and [`crate::rules`].

mod account;
mod address;
mod attempts;
mod body;
mod commands;
mod content;
mod dead_letters;
mod events;
mod personal;
mod text;
mod webhooks;
mod whole;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bus::Delivery;
use channel::Channels;
use jiff::Timestamp;

use crate::extract::address::Address;
pub use crate::extract::whole::whole;
use crate::row::{IdKind, Keys, Link, Pointer, Recipient, Row, StreamNumber, shown};

/// Summary of a message that cannot be decoded.
pub const UNDECODABLE: &str = "cannot be decoded";
/// Beginning of the summary of a command in the queue for campaigns.
pub const BULK: &str = "bulk ";

/// What rows keep of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bodies {
    /// Small ones, with personal data masked.
    Masked,
    /// The same of large ones too: for the answer about one message. It is not stored.
    MaskedLong,
    /// As it is (`IMCHANNEL_TIMELINE_BODIES=full`).
    Full,
}

impl Bodies {
    /// Whether personal data is masked.
    fn are_masked(self) -> bool {
        self != Self::Full
    }
}

/// What rows are made with.
#[derive(Debug, Clone)]
pub struct Extractor {
    /// Hashes ids and recipients.
    pub keys: Keys,
    /// The channels, for their BSP and tenant.
    pub channels: Arc<Channels>,
    /// What rows keep of a message.
    pub bodies: Bodies,
}

impl Extractor {
    /// The rows of a message of a stream: none if it is not a message of imchannel, one, or one for the result and one for each
    /// of its attempts.
    pub fn rows(&self, stream: StreamNumber, delivery: &Delivery) -> Vec<Row> {
        let Some(address) = Address::of(stream, &delivery.subject) else { return Vec::new() };
        // A message that panics would otherwise stop the reader of its stream again and again.
        let making = AssertUnwindSafe(|| self.rows_of(stream, delivery, address));
        std::panic::catch_unwind(making).unwrap_or_else(|_| {
            let mut row = self.blank(stream, delivery, address);
            UNDECODABLE.clone_into(&mut row.summary);
            vec![row]
        })
    }

    fn rows_of(&self, stream: StreamNumber, delivery: &Delivery, address: Address<'_>) -> Vec<Row> {
        let blank = self.blank(stream, delivery, address);
        match address {
            Address::Webhook { .. } => vec![webhooks::row(self, delivery, blank)],
            Address::Event { kind, .. } => events::rows(self, kind, delivery, blank),
            Address::Command { queue, .. } => vec![commands::row(self, queue, delivery, blank)],
            Address::DeadLetter { origin, .. } => vec![dead_letters::row(self, origin, delivery, blank)],
        }
    }

    /// What subject and headers say.
    fn blank(&self, stream: StreamNumber, delivery: &Delivery, address: Address<'_>) -> Row {
        let channel = self.channels.get(address.channel());
        let bsp = match (address.bsp(), channel) {
            ("", Some(channel)) => channel.bsp.profile().id.as_str(),
            (bsp, _) => bsp,
        };
        let mut row = Row {
            pointer: Pointer { stream, sequence: delivery.sequence, part: 0 },
            stored_at: delivery.stored_at,
            happened_at: None,
            kind: address.kind(),
            is_replayed: delivery.headers.is_replayed(),
            is_bulk: false,
            is_whole: self.bodies == Bodies::Full,
            bsp: bsp.to_owned(),
            channel: address.channel().to_owned(),
            tenant: channel.map(|channel| channel.tenant.clone()).unwrap_or_default(),
            status: None,
            error: None,
            links: Vec::with_capacity(LINKS_USUAL),
            recipient: None,
            summary: String::new(),
            body: String::new(),
        };
        self.link_stored(&mut row, stream, delivery.sequence);
        row
    }

    /// Adds an id by which the row is found, unless it is empty.
    fn link(&self, row: &mut Row, kind: IdKind, id: &str) {
        if !id.is_empty() {
            add(row, Link { kind, key: self.keys.id(id), shown: shown::id(id) });
        }
    }

    /// The same of an id that a back end has chosen, where the message does not say which number is the customer's.
    fn link_chosen(&self, row: &mut Row, kind: IdKind, id: &str) {
        if !id.is_empty() {
            add(row, Link { kind, key: self.keys.id(id), shown: shown::chosen_id(id) });
        }
    }

    /// Adds a stored message from which the row's message was made, unless its sequence is 0.
    fn link_stored(&self, row: &mut Row, stream: StreamNumber, sequence: u64) {
        if sequence > 0 {
            let shown = format!("{}/{sequence}", stream.name());
            add(row, Link { kind: IdKind::Stored, key: self.keys.id(&shown), shown });
        }
    }

    /// The customer; `None` for an empty text.
    fn recipient(&self, recipient: &str) -> Option<Recipient> {
        let key = || self.keys.recipient(recipient);
        (!recipient.is_empty()).then(|| Recipient { key: key(), last_digits: shown::last_digits(recipient) })
    }
}

/// Initial capacity of the ids of a row: those of a report.
const LINKS_USUAL: usize = 6;

fn add(row: &mut Row, link: Link) {
    if row.links.iter().all(|known| (known.kind, known.key) != (link.kind, link.key)) {
        row.links.push(link);
    }
}

/// A time of a message, with the precision in which rows are stored; `None` if it has none, or one that is not a time.
fn time(time: Option<&proto::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    stored(Timestamp::new(time.seconds, time.nanos).ok()?)
}

/// A time in a header; `None` if it is not a time.
fn time_in(header: Option<&str>) -> Option<Timestamp> {
    stored(header?.parse().ok()?)
}

fn stored(time: Timestamp) -> Option<Timestamp> {
    Timestamp::from_microsecond(time.as_microsecond()).ok()
}

#[cfg(test)]
mod tests;
