//! Dead letters: the exact bytes that could not be parsed, with the reason and their origin. Each of the
//! first bad items of a body has its own dead letter; the others share one that contains the whole body. This
//! limits the storage of one body.

use std::collections::BTreeMap;

use bsp::{BspId, ItemRanges, RejectedItem};
use bus::dead_letters::DeadLetter;
use bus::streams::WEBHOOKS;
use bus::{Delivery, Headers, headers};
use bytes::Bytes;
use jiff::Timestamp;

/// Most bad items of a body with a dead letter each. Further items share one dead letter.
const LETTERS_OF_ITEMS_MAX: usize = 8;
/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 1_024;
/// Largest headers of a dead letter, in bytes: the list of a body whose every second item is bad, the reason,
/// the headers copied from the webhook, and the header names. With the largest body that ingress accepts,
/// they fit into a message of 1 MiB.
#[cfg(test)]
const HEADERS_BYTES_MAX: usize = 32 * 1024;

/// An item that could not be parsed, or whose event could not be stored.
#[derive(Debug, Clone)]
pub(crate) struct Bad<'p> {
    pub(crate) index: u32,
    pub(crate) reject: std::borrow::Cow<'p, RejectedItem>,
}

/// The origin of the dead letters of a webhook.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'d> {
    pub(crate) delivery: &'d Delivery,
    pub(crate) bsp: Option<BspId>,
}

/// Whether a dead letter contains the bytes or only the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Whole,
    /// The webhook is in WEBHOOKS, and the dead letter contains its sequence.
    None,
}

/// The dead letters of a webhook's bad items, which are ordered by position.
pub(crate) fn of(bad: &[Bad<'_>], from: Source<'_>, content: Content, now: Timestamp) -> Vec<DeadLetter> {
    let (own, rest) = bad.split_at(bad.len().min(LETTERS_OF_ITEMS_MAX));
    let mut letters: Vec<DeadLetter> = own.iter().map(|bad| of_item(bad, from, content, now)).collect();
    letters.extend(of_rest(rest, from, content, now));
    letters
}

fn of_item(bad: &Bad<'_>, from: Source<'_>, content: Content, now: Timestamp) -> DeadLetter {
    let Bad { index, reject } = bad;
    let is_body = reject.raw.len() == from.delivery.payload.len();
    let part = if is_body { headers::PART_BODY } else { headers::PART_ITEM };
    let headers = common(from, *index, now)
        .with(headers::MESSAGE_ID, &id(from, *index))
        .with(headers::REASON_KIND, reject.kind)
        .with(headers::REASON, cut(&reject.reason))
        .with(headers::PART, part);
    let payload = if content == Content::Whole { reject.raw.clone() } else { Bytes::new() };
    DeadLetter { headers, payload }
}

/// The dead letter of the items after the first ones; `None` without further items. Its reason is that of the
/// first of these items.
fn of_rest(rest: &[Bad<'_>], from: Source<'_>, content: Content, now: Timestamp) -> Option<DeadLetter> {
    let first = rest.first()?;
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for bad in rest {
        *kinds.entry(bad.reject.kind).or_default() += 1;
    }
    let counts: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let (count, reason) = (rest.len(), &first.reject.reason);
    let reason = format!("{count} more items of the body ({}); the first: {reason}", counts.join(", "));
    let items = ItemRanges::of(rest.iter().map(|bad| bad.index));
    let headers = common(from, first.index, now)
        // An earlier version stored a dead letter for this item alone. Within the duplicate window, its id
        // must not suppress this one.
        .with(headers::MESSAGE_ID, &format!("{}-rest", id(from, first.index)))
        .with(headers::REASON_KIND, first.reject.kind)
        .with(headers::REASON, cut(&reason))
        .with(headers::PART, headers::PART_BODY)
        .with(headers::ITEMS, &items.to_string());
    let payload = if content == Content::Whole { from.delivery.payload.clone() } else { Bytes::new() };
    Some(DeadLetter { headers, payload })
}

/// Contains the webhook's sequence and the item's position, so that a webhook that is processed twice has one
/// dead letter.
fn id(from: Source<'_>, index: u32) -> String {
    format!("webhook-{}-{index}", from.delivery.sequence)
}

/// The headers that every dead letter has, except its id.
fn common(from: Source<'_>, index: u32, now: Timestamp) -> Headers {
    let Source { delivery, bsp } = from;
    let sequence = delivery.sequence;
    Headers::new()
        .with(headers::ORIGIN, &format!("{}/{sequence}/{index}", WEBHOOKS.name))
        .with_optional(headers::BSP, bsp.map(BspId::as_str))
        .with(headers::TIME, &now.to_string())
        .with_optional(headers::RECEIVED_AT, delivery.headers.get_limited(headers::RECEIVED_AT))
        .with_optional(headers::ROUTE, delivery.headers.get_limited(headers::ROUTE))
        .with_optional(headers::CONTENT_TYPE, delivery.headers.get_limited(headers::CONTENT_TYPE))
        .with_optional(headers::TRACEPARENT, delivery.headers.get_limited(headers::TRACEPARENT))
}

fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}

/// Logs which dead letters were stored. The reasons contain no value of the body.
pub(crate) fn warn(bad: &[Bad<'_>], from: Source<'_>, channel: &str) {
    let sequence = from.delivery.sequence;
    for Bad { index, reject } in bad.iter().take(LETTERS_OF_ITEMS_MAX) {
        tracing::warn!(
            function = "normalizer",
            channel,
            stream_sequence = sequence,
            reason = reject.kind,
            "channel {channel}: item {index} of webhook {sequence} became a dead letter: {}",
            reject.reason
        );
    }
    let rest = bad.len().saturating_sub(LETTERS_OF_ITEMS_MAX);
    if rest > 0 {
        tracing::warn!(
            function = "normalizer",
            channel,
            stream_sequence = sequence,
            "channel {channel}: {rest} more items of webhook {sequence} share one dead letter"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(payload: Vec<u8>) -> Delivery {
        let long = "x".repeat(headers::COPIED_LENGTH_MAX);
        Delivery {
            subject: "imchannel.webhook.infobip.c".to_owned(),
            headers: Headers::new()
                .with(headers::CONTENT_TYPE, &long)
                .with(headers::ROUTE, &long)
                .with(headers::RECEIVED_AT, &long)
                .with(headers::TRACEPARENT, &format!("{long}x")),
            payload: payload.into(),
            sequence: u64::MAX,
            attempt: 1,
            stored_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn bad(index: u32, raw: Bytes) -> Bad<'static> {
        let reject = RejectedItem { kind: "wrong_shape", reason: "\u{e9}".repeat(10_000), raw };
        Bad { index, reject: std::borrow::Cow::Owned(reject) }
    }

    #[test]
    fn eight_items_have_a_dead_letter_each_and_the_others_share_one() {
        let delivery = delivery(b"[1,2,3,4,5,6,7,8,9,10]".to_vec());
        let from = Source { delivery: &delivery, bsp: None };
        let count =
            |letters: &[DeadLetter]| letters.iter().filter(|letter| letter.payload.len() == 1).count();
        let items: Vec<_> = (0..20).map(|index| bad(index * 2, Bytes::from_static(b"1"))).collect();
        let of = |items: &[Bad<'_>]| super::of(items, from, Content::Whole, Timestamp::UNIX_EPOCH);
        assert_eq!((of(&items[..8]).len(), count(&of(&items[..8]))), (8, 8));
        let letters = of(&items);
        assert_eq!((letters.len(), count(&letters)), (9, 8));
        let rest = letters.last().unwrap();
        assert_eq!(rest.payload, delivery.payload);
        for (name, value) in [
            (headers::PART, "body"),
            (headers::MESSAGE_ID, &*format!("webhook-{}-16-rest", u64::MAX)),
            (headers::ORIGIN, &*format!("WEBHOOKS/{}/16", u64::MAX)),
            (headers::ITEMS, "16,18,20,22,24,26,28,30,32,34,36,38"),
        ] {
            assert_eq!(rest.headers.get(name), Some(value));
        }
        assert_eq!(rest.headers.get(headers::TRACEPARENT), None, "it is too long to be copied");
    }

    #[test]
    fn the_headers_of_every_dead_letter_have_a_limit() {
        let delivery = delivery(b"[]".to_vec());
        let from = Source { delivery: &delivery, bsp: None };
        let most = u32::try_from(bsp::ITEMS_MAX).unwrap();
        let items: Vec<_> = (0..most).step_by(2).map(|index| bad(index, Bytes::new())).collect();
        for letter in of(&items, from, Content::Whole, Timestamp::MAX) {
            let bytes: usize =
                letter.headers.sorted().iter().map(|(name, value)| name.len() + value.len() + 4).sum();
            // The limit of the server's store is 64 KiB; 1,000,000 bytes is the largest body of ingress.
            assert!(bytes < HEADERS_BYTES_MAX && bytes + 1_000_000 < 1024 * 1024, "{bytes}");
        }
    }
}
