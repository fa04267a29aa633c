//! Gupshup's message events, version 2: the status of a message.
//!
//! `gsId` is the id in the response to the send call. It is missing for `enqueued`, for messages that Gupshup
//! itself rejected, and after a week; then `id` is used.

use proto::v1::{Conversation, Pricing, ProviderStatus, ReportError, ReportEvent, ReportStatus};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::PROFILE;
use crate::collector::Collector;
use crate::event_id::EventKey;
use crate::ids;
use crate::json::{self, LooseScalar, Part};
use crate::parsed::Rejection;
use crate::{text, time};

/// The statuses of version 2, and of Meta's bodies in version 3. There, `played` is a voice note that the
/// customer played.
const STATUSES: [(&str, ReportStatus, Option<i32>); 7] = [
    ("enqueued", ReportStatus::Pending, Some(1)),
    ("sent", ReportStatus::Sent, Some(1)),
    ("delivered", ReportStatus::Delivered, Some(0)),
    ("read", ReportStatus::Read, None),
    ("played", ReportStatus::Read, None),
    ("failed", ReportStatus::Failed, Some(2)),
    ("deleted", ReportStatus::Deleted, None),
];

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, default)]
    id: LooseScalar<'a>,
    #[serde(borrow, default, rename = "gsId")]
    gs_id: LooseScalar<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
    #[serde(borrow, default)]
    destination: LooseScalar<'a>,
    /// Business-scoped user id of a customer who hides the number.
    #[serde(borrow, default, rename = "userId")]
    user_id: LooseScalar<'a>,
    #[serde(borrow)]
    payload: Part<'a>,
    #[serde(borrow)]
    conversation: Part<'a>,
    #[serde(borrow)]
    pricing: Part<'a>,
}

#[derive(Deserialize)]
struct ConversationPart<'a> {
    #[serde(borrow, default)]
    id: LooseScalar<'a>,
    /// Unix seconds.
    #[serde(borrow, default, rename = "expiresAt")]
    expires_at: LooseScalar<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
}

#[derive(Deserialize)]
struct PricingPart<'a> {
    #[serde(borrow, default)]
    billable: LooseScalar<'a>,
    #[serde(borrow, default)]
    policy: LooseScalar<'a>,
    #[serde(borrow, default)]
    category: LooseScalar<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
}

#[derive(Deserialize, Default)]
struct Details<'a> {
    /// Unix seconds, unlike the body's `timestamp`.
    #[serde(borrow, default)]
    ts: LooseScalar<'a>,
    #[serde(borrow, default)]
    code: LooseScalar<'a>,
    #[serde(borrow, default)]
    reason: LooseScalar<'a>,
    /// Only in `enqueued`.
    #[serde(borrow, default, rename = "whatsappMessageId")]
    whatsapp_message_id: LooseScalar<'a>,
}

pub(super) fn read(
    raw: &RawValue,
    timestamp: &LooseScalar<'_>,
    our_number: &LooseScalar<'_>,
    out: &mut Collector<'_>,
) -> Result<(), Rejection> {
    let payload: Payload<'_> = json::from_str(raw.get())?;
    // The number does not match the customer's WhatsApp number. This is not a status of the message.
    if payload.kind.as_str() == "mismatch" {
        out.ignored("mismatch");
        return Ok(());
    }
    let details = json::optional::<Details<'_>>(payload.payload).ok().flatten().unwrap_or_default();
    let message_id = payload.gs_id.or(&payload.id).as_str();
    let has_two_ids = !payload.gs_id.is_empty() || !details.whatsapp_message_id.is_empty();
    push(
        Status {
            message_id,
            status: payload.kind.as_str(),
            time: details.ts.or(timestamp).as_str(),
            event_time: details.ts.as_str(),
            other_id: if has_two_ids { details.whatsapp_message_id.or(&payload.id).as_str() } else { "" },
            recipient: payload.destination.or(&payload.user_id).as_str(),
            participant: "",
            group_id: "",
            sender: our_number.as_str(),
            error_code: details.code.as_str(),
            errors: error(&details.code, &LooseScalar::default(), &details.reason).into_iter().collect(),
            pricing: pricing_of(payload.pricing),
            conversation: conversation_of(payload.conversation),
            callback_data: "",
        },
        out,
    )
}

fn pricing_of(part: Part<'_>) -> Option<Pricing> {
    let part: PricingPart<'_> = json::optional(part).ok()??;
    pricing(&part.billable, [&part.policy, &part.category, &part.kind])
}

fn conversation_of(part: Part<'_>) -> Option<Conversation> {
    let part: ConversationPart<'_> = json::optional(part).ok()??;
    conversation(&part.id, &part.kind, &part.expires_at)
}

/// A status of either version.
pub(super) struct Status<'a> {
    pub(super) message_id: &'a str,
    pub(super) status: &'a str,
    /// The time of the status, or at least of the body.
    pub(super) time: &'a str,
    /// The time that a retry repeats; empty if the body has only its own time.
    pub(super) event_time: &'a str,
    /// Another id of the message that later reports may use.
    pub(super) other_id: &'a str,
    pub(super) recipient: &'a str,
    /// The member of a group that the status is about.
    pub(super) participant: &'a str,
    /// The group that received the message.
    pub(super) group_id: &'a str,
    pub(super) sender: &'a str,
    /// The code of the first error, which is part of the event id.
    pub(super) error_code: &'a str,
    pub(super) errors: Vec<ReportError>,
    pub(super) pricing: Option<Pricing>,
    pub(super) conversation: Option<Conversation>,
    /// The callback data that was sent to the BSP with the message.
    pub(super) callback_data: &'a str,
}

/// An error of either version; `None` if all values are empty.
pub(super) fn error(
    code: &LooseScalar<'_>,
    name: &LooseScalar<'_>,
    description: &LooseScalar<'_>,
) -> Option<ReportError> {
    let error = ReportError {
        code: code.owned(),
        name: name.owned(),
        description: description.owned(),
        permanent: None,
    };
    (error != ReportError::default()).then_some(error)
}

/// The price of either version, whose values are model, category and type; `None` if all values are empty.
pub(super) fn pricing(
    billable: &LooseScalar<'_>,
    [model, category, kind]: [&LooseScalar<'_>; 3],
) -> Option<Pricing> {
    let pricing = Pricing {
        billable: match billable.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        },
        model: model.owned(),
        category: category.owned(),
        r#type: kind.owned(),
    };
    (pricing != Pricing::default()).then_some(pricing)
}

/// The conversation of either version; `None` if all values are empty.
pub(super) fn conversation(
    id: &LooseScalar<'_>,
    origin: &LooseScalar<'_>,
    expires_at: &LooseScalar<'_>,
) -> Option<Conversation> {
    let conversation =
        Conversation { id: id.owned(), origin: origin.owned(), expires_at: time::parse(expires_at.as_str()) };
    (conversation != Conversation::default()).then_some(conversation)
}

pub(super) fn push(status: Status<'_>, out: &mut Collector<'_>) -> Result<(), Rejection> {
    if status.message_id.is_empty() {
        return Err(Rejection::new("missing_id", "missing field 'gsId' or 'id'"));
    }
    let event_id = EventKey {
        kind: "report",
        message_id: status.message_id,
        status: status.status,
        time: status.event_time,
        error_code: status.error_code,
        recipient: &[status.recipient, status.participant].concat(),
    }
    .id(PROFILE.id, out.webhook.channel);
    let mut event = ReportEvent {
        event_id,
        message_id: status.message_id.to_owned(),
        recipient: text::address(status.recipient).to_owned(),
        sender: text::address(status.sender).to_owned(),
        command_id: ids::command_of_message(status.message_id).to_owned(),
        provider_status: Some(ProviderStatus { raw: status.status.to_owned(), ..ProviderStatus::default() }),
        provider_message_id: status.other_id.to_owned(),
        error: status.errors.first().cloned(),
        occurred_at: time::parse(status.time),
        participant: text::address(status.participant).to_owned(),
        group_id: status.group_id.to_owned(),
        pricing: status.pricing,
        conversation: status.conversation,
        errors: status.errors,
        callback_data: status.callback_data.to_owned(),
        ..out.new_report()
    };
    if event.occurred_at.is_none() && !status.time.is_empty() {
        out.unrecognized("time", status.time, status.message_id);
    }
    match STATUSES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(status.status)) {
        Some((_, known, aicc_status)) => {
            event.set_status(*known);
            event.aicc_status = *aicc_status;
        }
        None => {
            event.set_status(ReportStatus::Unrecognized);
            out.unrecognized("payload.type", status.status, status.message_id);
        }
    }
    out.report(event);
    Ok(())
}
