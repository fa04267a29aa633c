//! Webhooks, commands and dead letters as they are stored, as JSON and as text.

use bsp::mask::{self as body_mask, Unmasked};
use bsp::{BspId, registry};
use bus::{Delivery, Subject, headers};
use serde_json::json;

use super::{Shown, time_of};
use crate::mask::PersonalData;
use crate::output::{BAD, DIM, STRONG, styled, text};

/// A stored command. Only its id and its kind are not personal.
pub(crate) fn command(delivery: &Delivery, personal: PersonalData) -> Shown {
    let content_type = delivery.headers.get(headers::CONTENT_TYPE);
    let decoded = bsp::command::decode(content_type, &delivery.payload).ok();
    // From the subject, even if no lane reads it.
    let place = delivery.subject.strip_prefix("imchannel.command.").unwrap_or_default();
    let (queue, channel) = place.split_once('.').unwrap_or((place, ""));
    let mut body =
        decoded.as_ref().and_then(|command| serde_json::to_value(command).ok()).unwrap_or_default();
    if personal == PersonalData::Masked {
        let keys = &["commandId", "channelId", "notAfter", "mediaId", "language"];
        let readable = Unmasked { keys, texts: &[] };
        let masked = body_mask::body("application/json", body.to_string().as_bytes(), readable);
        body = serde_json::from_str(&masked).unwrap_or_default();
    }
    let line = text!(
        "{} {} {} {body}",
        time_of(delivery),
        styled(DIM, &format!("{queue}/{channel}")),
        styled(STRONG, &format!("command {}", delivery.sequence)),
    );
    let object =
        json!({ "sequence": delivery.sequence, "queue": queue, "channel": channel, "command": body });
    (object, line)
}

/// A stored webhook.
pub(crate) fn webhook(delivery: &Delivery, personal: PersonalData) -> Shown {
    let address = delivery.address();
    let bsp = address.as_ref().and_then(Subject::bsp);
    let channel = address.as_ref().map(|address| address.channel_token().to_owned()).unwrap_or_default();
    let body = body_text(bsp, delivery, personal);
    let bsp = bsp.map(BspId::as_str).unwrap_or_default();
    let route = delivery.headers.get(headers::ROUTE).unwrap_or_default();
    let line = text!(
        "{} {} {} {route} {body}",
        time_of(delivery),
        styled(DIM, &format!("{bsp}/{channel}")),
        styled(STRONG, &format!("webhook {}", delivery.sequence)),
    );
    let object = json!({
        "sequence": delivery.sequence,
        "bsp": bsp,
        "channel": channel,
        "route": route,
        "received_at": delivery.headers.get(headers::RECEIVED_AT),
        "content_type": delivery.headers.get(headers::CONTENT_TYPE),
        "bytes": delivery.payload.len(),
        "body": body,
    });
    (object, line)
}

/// A dead letter.
pub(crate) fn dead_letter(delivery: &Delivery, personal: PersonalData) -> Shown {
    let header = |name| delivery.headers.get(name).unwrap_or_default();
    let bsp = registry::find(header(headers::BSP)).map(|bsp| bsp.profile().id);
    let channel = delivery.address().map(|address| address.channel_token().to_owned()).unwrap_or_default();
    let body = body_text(bsp, delivery, personal);
    let line = text!(
        "{} {} {} {} from {}: {body}",
        time_of(delivery),
        styled(DIM, &format!("{}/{channel}", header(headers::BSP))),
        styled(BAD, &format!("dead letter {}", delivery.sequence)),
        header(headers::REASON),
        header(headers::ORIGIN),
    );
    let object = json!({
        "sequence": delivery.sequence,
        "bsp": header(headers::BSP),
        "channel": channel,
        "reason_kind": header(headers::REASON_KIND),
        "reason": header(headers::REASON),
        "origin": header(headers::ORIGIN),
        "time": header(headers::TIME),
        "bytes": delivery.payload.len(),
        "body": body,
    });
    (object, line)
}

fn body_text(bsp: Option<BspId>, delivery: &Delivery, personal: PersonalData) -> String {
    if personal == PersonalData::Shown {
        return body_mask::unmasked(&delivery.payload);
    }
    match bsp.map(|bsp| registry::get(bsp).profile()) {
        Some(profile) => profile.masked(&delivery.payload),
        None => format!("({} bytes)", delivery.payload.len()),
    }
}
