//! Meta's status inside Gupshup's version 3 (Meta, "Status messages webhook reference", 2025-11, and
//! "Business-scoped user IDs", 2026-11): the status of a message. For a group there is one status per
//! participant.

use proto::v1::{Conversation, Pricing, ReportError};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::customer::{self, PaymentStatus};
use super::envelope::Shared;
use crate::collector::Collector;
use crate::gupshup::report::{self, Status};
use crate::json::{self, LooseScalar, Part};
use crate::parsed::Rejection;
use crate::time;

#[derive(Deserialize)]
struct MetaStatus<'a> {
    #[serde(borrow, default)]
    id: LooseScalar<'a>,
    #[serde(borrow, default)]
    gs_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    status: LooseScalar<'a>,
    /// `payment` for the status of a payment.
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
    #[serde(borrow)]
    payment: Part<'a>,
    /// Unix seconds as a string; milliseconds as a number on `enqueued`.
    #[serde(borrow, default)]
    timestamp: LooseScalar<'a>,
    #[serde(borrow, default)]
    recipient_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    recipient_user_id: LooseScalar<'a>,
    /// `group` if `recipient_id` is the id of a group.
    #[serde(borrow, default)]
    recipient_type: LooseScalar<'a>,
    #[serde(borrow, default)]
    recipient_participant_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    recipient_participant_user_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    recipient_participant_parent_user_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    meta_msg_id: LooseScalar<'a>,
    #[serde(borrow)]
    errors: Part<'a>,
    #[serde(borrow)]
    conversation: Part<'a>,
    #[serde(borrow)]
    pricing: Part<'a>,
    #[serde(borrow, default)]
    biz_opaque_callback_data: LooseScalar<'a>,
}

#[derive(Deserialize)]
struct MetaError<'a> {
    #[serde(borrow, default)]
    code: LooseScalar<'a>,
    #[serde(borrow, default)]
    title: LooseScalar<'a>,
    #[serde(borrow, default)]
    message: LooseScalar<'a>,
    #[serde(borrow)]
    error_data: Part<'a>,
}

#[derive(Deserialize, Default)]
struct ErrorData<'a> {
    #[serde(borrow, default)]
    details: LooseScalar<'a>,
}

#[derive(Deserialize)]
struct MetaConversation<'a> {
    #[serde(borrow, default)]
    id: LooseScalar<'a>,
    /// Unix seconds.
    #[serde(borrow, default)]
    expiration_timestamp: LooseScalar<'a>,
    #[serde(borrow)]
    origin: Part<'a>,
}

#[derive(Deserialize, Default)]
struct Origin<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
}

#[derive(Deserialize)]
struct MetaPricing<'a> {
    #[serde(borrow, default)]
    billable: LooseScalar<'a>,
    #[serde(borrow, default)]
    pricing_model: LooseScalar<'a>,
    #[serde(borrow, default)]
    category: LooseScalar<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
}

pub(super) fn read(raw: &RawValue, shared: &Shared<'_>, out: &mut Collector<'_>) -> Result<(), Rejection> {
    let status: MetaStatus<'_> = json::from_str(raw.get())?;
    // A failed payment is not a failed message: the message was delivered and read before.
    if status.kind.as_str() == "payment" || status.payment.is_some() {
        customer::payment(&status.as_payment(raw), out);
        return Ok(());
    }
    // `enqueued` has the time of the body, in milliseconds. The other statuses have the time of the event.
    let is_event_time = status.timestamp.number().is_some_and(|number| number < time::MILLISECONDS_FROM);
    let participant = status.participant();
    let is_group = status.recipient_type.as_str() == "group" || !participant.is_empty();
    report::push(
        Status {
            message_id: status.gs_id.or(&status.id).as_str(),
            status: status.status.as_str(),
            time: status.timestamp.as_str(),
            event_time: if is_event_time { status.timestamp.as_str() } else { "" },
            other_id: if status.gs_id.is_empty() { status.meta_msg_id.as_str() } else { status.id.as_str() },
            recipient: status.recipient_id.or(&status.recipient_user_id).as_str(),
            participant: participant.as_str(),
            group_id: if is_group { status.recipient_id.as_str() } else { "" },
            sender: &shared.our_number,
            error_code: first_code(status.errors).as_str(),
            errors: errors(status.errors),
            pricing: pricing(status.pricing),
            conversation: conversation(status.conversation),
            callback_data: status.biz_opaque_callback_data.as_str(),
        },
        out,
    )
}

impl<'a> MetaStatus<'a> {
    fn as_payment(&'a self, raw: &'a RawValue) -> PaymentStatus<'a> {
        PaymentStatus {
            message_id: self.gs_id.or(&self.id),
            status: &self.status,
            time: &self.timestamp,
            recipient: &self.recipient_id,
            user_id: &self.recipient_user_id,
            payment: self.payment,
            raw: raw.get(),
        }
    }

    /// The member of the group that the status is about.
    fn participant(&self) -> &LooseScalar<'a> {
        let user_id = self.recipient_participant_user_id.or(&self.recipient_participant_parent_user_id);
        self.recipient_participant_id.or(user_id)
    }
}

/// The code of the first error, for the event id. The inputs of an event id never change, so a list that
/// contains an entry of another shape has no code.
fn first_code(list: Part<'_>) -> LooseScalar<'_> {
    // All errors are read below.
    let list = list.and_then(|list| json::peek::<Vec<MetaError<'_>>>(list.get()).ok()).unwrap_or_default();
    list.into_iter().next().map(|error| error.code).unwrap_or_default()
}

/// All errors. If an error has an unexpected shape, only that error is lost.
pub(super) fn errors(list: Part<'_>) -> Vec<ReportError> {
    let list = json::optional::<Vec<&RawValue>>(list).ok().flatten().unwrap_or_default();
    let errors = list.into_iter().filter_map(|raw| json::from_str::<MetaError<'_>>(raw.get()).ok());
    errors.filter_map(|error| error.to_report_error()).collect()
}

impl MetaError<'_> {
    fn to_report_error(&self) -> Option<ReportError> {
        let data = json::optional::<ErrorData<'_>>(self.error_data).ok().flatten().unwrap_or_default();
        report::error(&self.code, &self.title, data.details.or(&self.message))
    }
}

fn pricing(part: Part<'_>) -> Option<Pricing> {
    let pricing: MetaPricing<'_> = json::optional(part).ok()??;
    report::pricing(&pricing.billable, [&pricing.pricing_model, &pricing.category, &pricing.kind])
}

fn conversation(part: Part<'_>) -> Option<Conversation> {
    let conversation: MetaConversation<'_> = json::optional(part).ok()??;
    let origin: Origin<'_> = json::optional(conversation.origin).ok().flatten().unwrap_or_default();
    report::conversation(&conversation.id, &origin.kind, &conversation.expiration_timestamp)
}
