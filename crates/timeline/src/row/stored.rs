//! The stored form of what a row says: one blob, encoded as protobuf, so that a later version can add fields and this one reads
//! past them. What a store orders or selects by (pointer, time, kind, keys) is in columns too.

use jiff::Timestamp;
use prost::Message;

use crate::row::keys::{KEY_BYTES, LookupKey, RecipientKey};
use crate::row::kind::{RowKind, Status};
use crate::row::{IdKind, Link, Pointer, Recipient, Row, RowError};

/// The blob. Field numbers are stored and never change.
#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(int64, optional, tag = "1")]
    happened_at_us: Option<i64>,
    #[prost(bool, tag = "2")]
    is_replayed: bool,
    #[prost(string, tag = "3")]
    bsp: String,
    #[prost(string, tag = "4")]
    tenant: String,
    #[prost(uint32, optional, tag = "5")]
    status: Option<u32>,
    #[prost(message, optional, tag = "6")]
    error: Option<StoredError>,
    #[prost(message, repeated, tag = "7")]
    links: Vec<StoredLink>,
    #[prost(bytes = "vec", tag = "8")]
    recipient: Vec<u8>,
    #[prost(string, tag = "9")]
    last_digits: String,
    #[prost(string, tag = "10")]
    summary: String,
    #[prost(string, tag = "11")]
    body: String,
    #[prost(bool, tag = "12")]
    is_bulk: bool,
    /// Whether the body is the message as it is. A row without a body has no mark, and neither have those of the first version, whose
    /// setting may have been `full`.
    #[prost(bool, optional, tag = "13")]
    is_whole: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredError {
    #[prost(string, tag = "1")]
    code: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    text: String,
}

#[derive(Clone, PartialEq, Message)]
struct StoredLink {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    #[prost(string, tag = "3")]
    shown: String,
}

/// What a store has in columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// Where the message is stored.
    pub pointer: Pointer,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// What happened.
    pub kind: RowKind,
    /// The channel's id; empty if it is not known.
    pub channel: String,
}

/// A stored blob cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot decode a stored row; the file is damaged, or was written by a program of another kind")]
pub struct UnreadableRow(#[from] prost::DecodeError);

/// The blob of a row.
pub fn encode(row: &Row) -> Vec<u8> {
    let stored = Stored {
        happened_at_us: row.happened_at.map(Timestamp::as_microsecond),
        is_replayed: row.is_replayed,
        is_bulk: row.is_bulk,
        is_whole: Some(row.is_whole).filter(|is_whole| *is_whole || !row.body.is_empty()),
        bsp: row.bsp.clone(),
        tenant: row.tenant.clone(),
        status: row.status.map(Status::to_stored),
        error: row.error.as_ref().map(|error| StoredError {
            code: error.code.clone(),
            name: error.name.clone(),
            text: error.text.clone(),
        }),
        links: row.links.iter().map(stored_link).collect(),
        recipient: row.recipient.as_ref().map(|recipient| recipient.key.0.to_vec()).unwrap_or_default(),
        last_digits: row
            .recipient
            .as_ref()
            .map(|recipient| recipient.last_digits.clone())
            .unwrap_or_default(),
        summary: row.summary.clone(),
        body: row.body.clone(),
    };
    stored.encode_to_vec()
}

fn stored_link(link: &Link) -> StoredLink {
    StoredLink { kind: u32::from(link.kind as u8), key: link.key.0.to_vec(), shown: link.shown.clone() }
}

/// The row of a blob and its columns. Links of kinds that only a later version knows are left out. A body that is not marked may be the
/// message as it is, and counts as that.
///
/// # Errors
/// [`UnreadableRow`] when the blob is not one of ours.
pub fn decode(columns: Columns, blob: &[u8]) -> Result<Row, UnreadableRow> {
    let stored = Stored::decode(blob)?;
    let may_be_whole = !stored.body.is_empty();
    let recipient = key(&stored.recipient)
        .map(|key| Recipient { key: RecipientKey(key), last_digits: stored.last_digits.clone() });
    let links = stored.links.into_iter().filter_map(|link| {
        Some(Link { kind: IdKind::of_stored(link.kind)?, key: LookupKey(key(&link.key)?), shown: link.shown })
    });
    Ok(Row {
        pointer: columns.pointer,
        stored_at: columns.stored_at,
        happened_at: stored.happened_at_us.and_then(|time| Timestamp::from_microsecond(time).ok()),
        kind: columns.kind,
        is_replayed: stored.is_replayed,
        is_bulk: stored.is_bulk,
        is_whole: stored.is_whole.unwrap_or(may_be_whole),
        bsp: stored.bsp,
        channel: columns.channel,
        tenant: stored.tenant,
        status: stored.status.and_then(Status::of_stored),
        error: stored.error.map(|error| RowError { code: error.code, name: error.name, text: error.text }),
        links: links.collect(),
        recipient,
        summary: stored.summary,
        body: stored.body,
    })
}

fn key(bytes: &[u8]) -> Option<[u8; KEY_BYTES]> {
    bytes.try_into().ok()
}
