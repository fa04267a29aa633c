//! The row of a dead letter, from its headers. A command in it is decoded for its ids.

use bsp::registry;
use bus::{Delivery, Origin, headers};

use crate::extract::{Extractor, body, commands, text, time_in};
use crate::row::{Row, StreamNumber};

/// `blank` has what the subject says.
pub(super) fn row(extractor: &Extractor, origin: Origin, delivery: &Delivery, blank: Row) -> Row {
    let mut row = blank;
    let header = |name| delivery.headers.get(name).unwrap_or_default();
    row.happened_at = time_in(delivery.headers.get(headers::TIME));
    let profile = registry::find(header(headers::BSP)).map(|bsp| bsp.profile());
    if let Some(profile) = profile {
        profile.id.as_str().clone_into(&mut row.bsp);
    }
    let place = place(header(headers::ORIGIN));
    if let Some(Place { stream, sequence, .. }) = place {
        extractor.link_stored(&mut row, stream, sequence);
    }
    row.error = text::error(header(headers::REASON_KIND), "", header(headers::REASON));
    match origin {
        Origin::Webhook => {
            row.summary = webhook(place, delivery);
            row.body = body::of_bytes(extractor, &delivery.payload, profile);
        }
        Origin::Command => {
            let said = commands::fill(extractor, delivery, &mut row);
            row.summary = command(said, delivery);
        }
    }
    row
}

/// Where the message of a dead letter is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    stream: StreamNumber,
    sequence: u64,
    item: u32,
}

/// Of `WEBHOOKS/17/0`; `None` for another text.
fn place(origin: &str) -> Option<Place> {
    let mut parts = origin.split('/');
    let stream = StreamNumber::of_name(parts.next()?)?;
    let (sequence, item) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(Place { stream, sequence, item })
}

fn webhook(place: Option<Place>, delivery: &Delivery) -> String {
    let header = |name| delivery.headers.get(name);
    let what = match (place, header(headers::PART), header(headers::ITEMS)) {
        (Some(_), _, Some(_)) => "several items of a webhook".to_owned(),
        (Some(place), Some(headers::PART_ITEM), None) => format!("item {} of a webhook", place.item),
        _ => "webhook".to_owned(),
    };
    format!("{what}, {} bytes", delivery.payload.len())
}

fn command(said: String, delivery: &Delivery) -> String {
    let header = |name| delivery.headers.get(name);
    let mut summary = ["command: ", &said].concat();
    if header(headers::PART) == Some(headers::PART_CUT) {
        summary.push_str(", cut");
    }
    if header(headers::MAY_BE_SENT) == Some("true") {
        summary.push_str(", may have been sent");
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_origin_of_a_dead_letter_is_a_place() {
        let expected = Place { stream: StreamNumber::Webhooks, sequence: 17, item: 3 };
        assert_eq!(place("WEBHOOKS/17/3"), Some(expected));
        for text in
            ["", "WEBHOOKS", "WEBHOOKS/17", "WEBHOOKS/17/3/4", "MOON/17/0", "WEBHOOKS/-1/0", "EVENTS/x/0"]
        {
            assert_eq!(place(text), None, "{text}");
        }
    }
}
