//! Rows of encoded messages of every kind.

mod events;
mod generated;
mod others;

use bus::{Headers, headers};
use bytes::Bytes;

use super::*;
use crate::row::keys::SECRET_BYTES;

/// The customer's number.
pub(super) const NUMBER: &str = "4915112345678";
/// WhatsApp's id of a message of that customer.
pub(super) const WAMID: &str = "wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjBGQkY0AA==";
/// What people see of it.
pub(super) const SHOWN_WAMID: &str = "wamid.…Y0AA==";
/// A text of the customer.
pub(super) const TEXT: &str = "meet me at noon";
/// When each message was stored.
pub(super) const STORED_AT: &str = "2026-03-01T12:00:05.000001Z";
/// When each thing happened.
pub(super) const HAPPENED_AT: &str = "2026-03-01T12:00:00Z";

pub(super) fn extractor(bodies: Bodies) -> Extractor {
    let channel = channel::Channel {
        id: bsp::ChannelId::parse("sales").unwrap(),
        bsp: bsp::registry::find("infobip").unwrap(),
        tenant: "shop".to_owned(),
        credentials: channel::Credentials::new(Vec::new()),
        key_fingerprint: String::new(),
        signature: None,
        spool: None,
        report_after_s: None,
        reconcile: false,
        settings: serde_json::Value::Null,
        is_paused: false,
    };
    let mut channels = Channels::default();
    channels.insert(channel);
    Extractor { keys: Keys::of_secret(&[7; SECRET_BYTES]), channels: Arc::new(channels), bodies }
}

pub(super) fn delivery(subject: &str, headers: Headers, payload: impl Into<Bytes>) -> Delivery {
    Delivery {
        subject: subject.to_owned(),
        headers,
        payload: payload.into(),
        sequence: 5,
        attempt: 1,
        stored_at: STORED_AT.parse().unwrap(),
    }
}

pub(super) fn happened() -> Option<proto::Timestamp> {
    Some(bsp::time::to_proto(HAPPENED_AT.parse().unwrap()))
}

/// The only row of a message.
pub(super) fn row(extractor: &Extractor, stream: StreamNumber, delivery: &Delivery) -> Row {
    let rows = extractor.rows(stream, delivery);
    let [row] = <[Row; 1]>::try_from(rows).expect("one row");
    assert_eq!(row.pointer, Pointer { stream, sequence: 5, part: 0 });
    assert_eq!(row.stored_at, STORED_AT.parse().unwrap());
    let own = format!("{}/5", stream.name());
    assert_eq!(row.links[0].shown, own);
    assert_eq!(row.links[0].key, extractor.keys.stored(stream.name(), 5));
    row
}

/// The ids of a row by kind, as people see them.
pub(super) fn ids(row: &Row) -> Vec<(&'static str, &str)> {
    row.links.iter().map(|link| (link.kind.name(), link.shown.as_str())).collect()
}

/// Everything of a row that is shown or logged.
pub(super) fn shown_text(row: &Row) -> String {
    format!("{row:?} {}", row.body)
}
