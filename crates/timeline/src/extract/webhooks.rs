//! The row of a stored webhook. The observer does not read its payload: what is in it comes as events and dead letters.

use bsp::registry;
use bus::{Delivery, headers};

use crate::extract::{Bodies, Extractor, body, personal, text, time_in};
use crate::row::Row;

/// `blank` has what the subject says.
pub(super) fn row(extractor: &Extractor, delivery: &Delivery, blank: Row) -> Row {
    let route = text::words(delivery.headers.get(headers::ROUTE).unwrap_or_default());
    // A reader of headers gets the payload's length in a header.
    let said = delivery.headers.get(headers::PAYLOAD_SIZE).and_then(|size| size.parse::<u64>().ok());
    let summary = match said.unwrap_or(delivery.payload.len() as u64) {
        0 => route,
        bytes => [route, format!("{bytes} bytes")].join(" ").trim_start().to_owned(),
    };
    let mut row = Row { happened_at: time_in(delivery.headers.get(headers::RECEIVED_AT)), summary, ..blank };
    if extractor.bodies == Bodies::MaskedLong {
        let profile = registry::find(&row.bsp).map(|bsp| bsp.profile());
        row.body = body::of_bytes(extractor, &delivery.payload, profile);
        personal::remove(&mut row, &[], true);
    }
    row
}
