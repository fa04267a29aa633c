//! Which stored message another one was made from: the webhook of an event or dead letter, the command of a result or dead letter.
//!
//! The rows name it as `WEBHOOKS/17`. A stream that was created again counts from 1, so the same name may mean another message; the
//! times tell them apart.

use jiff::{SignedDuration, Timestamp};

use crate::row::{IdKind, Link, LookupKey, Row, StreamNumber};

/// Longest time from the storing of a webhook or command to that of a message that was made from it: WEBHOOKS and COMMANDS keep
/// messages for at most 72 h, and an hour is the margin.
const STORED_FOR: SignedDuration = SignedDuration::from_hours(73);
/// Largest difference between the clocks of the servers that lead two streams. A message may have been stored this much before its
/// source by their clocks.
pub(crate) const SERVERS_DIFFERENCE: SignedDuration = SignedDuration::from_secs(60);

/// The keys of the messages of a stream that a row names: itself, or what it was made from.
pub(crate) fn stored_in(row: &Row, stream: StreamNumber) -> impl Iterator<Item = LookupKey> + '_ {
    row.links.iter().filter(move |link| is_stored_in(link, stream)).map(|link| link.key)
}

fn is_stored_in(link: &Link, stream: StreamNumber) -> bool {
    let rest = link.shown.strip_prefix(stream.name());
    link.kind == IdKind::Stored && rest.is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a row was made from the webhook or command of another row.
pub(crate) fn is_made_from(row: &Row, source: &Row) -> bool {
    if row.pointer == source.pointer || row.kind == source.kind {
        return false;
    }
    let mut own = stored_in(source, source.pointer.stream);
    let Some(own) = own.next() else { return false };
    let names_it = stored_in(row, source.pointer.stream).any(|key| key == own);
    names_it && was_there_for(row, source.stored_at)
}

/// Whether a message that was stored at this time may be the one that a row was made from, if the row names its place. A replayed row
/// may have been made from an old one.
pub(crate) fn was_there_for(row: &Row, stored_at: Timestamp) -> bool {
    let later_by = row.stored_at.duration_since(stored_at);
    later_by >= -SERVERS_DIFFERENCE && (row.is_replayed || later_by <= STORED_FOR)
}
