//! A dead letter: the exact bytes that could not be understood, with the reason and where they come from.

use bsp::{BspId, Reject};
use bus::streams::WEBHOOKS;
use bus::{Delivery, Headers, headers};
use jiff::Timestamp;

/// What a dead letter is made of.
#[derive(Debug)]
pub(crate) struct Letter<'d> {
    pub(crate) reject: &'d Reject,
    pub(crate) index: u32,
    pub(crate) delivery: &'d Delivery,
    pub(crate) bsp: Option<BspId>,
}

impl Letter<'_> {
    /// The headers. The id is made of the webhook's sequence and the item's position, so that a webhook handled
    /// twice leaves one letter.
    pub(crate) fn headers(&self, now: Timestamp) -> Headers {
        let Self { reject, index, delivery, bsp } = self;
        let sequence = delivery.sequence;
        let part = if reject.raw.len() == delivery.payload.len() { "body" } else { "item" };
        Headers::new()
            .with(headers::MESSAGE_ID, &format!("webhook-{sequence}-{index}"))
            .with(headers::REASON_KIND, reject.kind)
            .with(headers::REASON, &reject.reason)
            .with(headers::ORIGIN, &format!("{}/{sequence}/{index}", WEBHOOKS.name))
            .with(headers::PART, part)
            .with_optional(headers::BSP, bsp.map(BspId::as_str))
            .with(headers::TIME, &now.to_string())
            .with_optional(headers::RECEIVED_AT, delivery.headers.get(headers::RECEIVED_AT))
            .with_optional(headers::ROUTE, delivery.headers.get(headers::ROUTE))
            .with_optional(headers::CONTENT_TYPE, delivery.headers.get(headers::CONTENT_TYPE))
            .with_optional(headers::TRACEPARENT, delivery.headers.get(headers::TRACEPARENT))
    }
}

/// Says that a letter was stored. The reason holds no value of the body.
pub(crate) fn warn(letter: &Letter<'_>, channel: &str) {
    let Letter { reject, index, delivery, .. } = letter;
    let sequence = delivery.sequence;
    tracing::warn!(
        function = "normalizer",
        channel,
        stream_sequence = sequence,
        reason = reject.kind,
        "channel {channel}: item {index} of webhook {sequence} is a dead letter: {}",
        reject.reason
    );
}
