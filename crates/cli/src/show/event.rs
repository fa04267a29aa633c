//! Events, as JSON and as text.

use bus::Delivery;
use prost::Message;
use proto::v1::{InboundMessage, MediaFetched, Referral, ReportEvent, ReportStatus, SendOutcome, SendResult};

use super::{Shown, named, time_of, undecodable};
use crate::mask;
use crate::mask::PersonalData;
use crate::output::{BAD, DIM, GOOD, ODD, STRONG, styled, text};
use crate::words::pluralize;

/// A report, as JSON and as text.
pub(crate) fn report(delivery: &Delivery, personal: PersonalData) -> Shown {
    let mut event = match ReportEvent::decode(delivery.payload.clone()) {
        Ok(event) => event,
        Err(error) => return undecodable(delivery, &error),
    };
    if personal == PersonalData::Masked {
        mask::report(&mut event);
    }
    let style = match event.status() {
        ReportStatus::Delivered | ReportStatus::Read => GOOD,
        ReportStatus::Failed => BAD,
        ReportStatus::Unrecognized | ReportStatus::Unspecified => ODD,
        ReportStatus::Pending | ReportStatus::Sent | ReportStatus::Deleted => STRONG,
    };
    let status = event.status().as_str_name().trim_start_matches("REPORT_STATUS_");
    let errors = event.errors.iter().map(|error| format!(" error {} {}", error.code, error.description));
    let line = text!(
        "{} {} {} {} message {} to {}{}{}",
        time_of(delivery),
        styled(DIM, &format!("{}/{}", event.bsp, event.channel_id)),
        styled(STRONG, "report"),
        styled(style, status),
        event.message_id,
        event.recipient,
        named("of the group", &event.participant),
        errors.collect::<String>(),
    );
    (serde_json::to_value(&event).unwrap_or_default(), line)
}

/// A customer's message, as JSON and as text.
pub(crate) fn message(delivery: &Delivery, personal: PersonalData) -> Shown {
    let mut event = match InboundMessage::decode(delivery.payload.clone()) {
        Ok(event) => event,
        Err(error) => return undecodable(delivery, &error),
    };
    if personal == PersonalData::Masked {
        mask::message(&mut event);
    }
    let object = serde_json::to_value(&event).unwrap_or_default();
    let content =
        serde_json::to_value(InboundMessage { content: event.content.clone(), ..InboundMessage::default() });
    let line = text!(
        "{} {} {} {} from {}{}{}{} {}",
        time_of(delivery),
        styled(DIM, &format!("{}/{}", event.bsp, event.channel_id)),
        styled(STRONG, "message"),
        event.message_id,
        event.sender,
        named("in group", &event.group_id),
        named("answers", event.context.as_ref().map_or("", |context| &context.message_id)),
        event.referral.as_ref().map(referral).unwrap_or_default(),
        content.unwrap_or_default(),
    );
    (object, line)
}

fn referral(referral: &Referral) -> String {
    format!(" came by {} {} {}", referral.source_type, referral.source_id, referral.headline)
}

/// The result of a command, as JSON and as text.
pub(crate) fn sent(delivery: &Delivery, personal: PersonalData) -> Shown {
    let mut event = match SendResult::decode(delivery.payload.clone()) {
        Ok(event) => event,
        Err(error) => return undecodable(delivery, &error),
    };
    if personal == PersonalData::Masked {
        mask::result(&mut event);
    }
    let style = match event.outcome() {
        SendOutcome::Accepted => GOOD,
        SendOutcome::Rejected | SendOutcome::Expired => BAD,
        SendOutcome::Unknown | SendOutcome::Unspecified => ODD,
    };
    let outcome = event.outcome().as_str_name().trim_start_matches("SEND_OUTCOME_");
    let error = event.error.as_ref().map(|error| format!(" {} {}", error.code, error.description));
    // If the result names no channel or no id, the subject and the sequence of the command do.
    let place = delivery.subject.strip_prefix("imchannel.event.send.").unwrap_or_default().replace('.', "/");
    let id = if event.command_id.is_empty() {
        format!("{} of COMMANDS", event.command_sequence)
    } else {
        event.command_id.clone()
    };
    let line = text!(
        "{} {} {} {} command {id} message {} after {}{}",
        time_of(delivery),
        styled(DIM, &place),
        styled(STRONG, "send"),
        styled(style, outcome),
        event.message_id,
        pluralize(event.attempts, "call"),
        error.unwrap_or_default(),
    );
    (serde_json::to_value(&event).unwrap_or_default(), line)
}

/// A fetch, as JSON and as text. It contains no personal data.
pub(crate) fn fetched(delivery: &Delivery) -> Shown {
    let event = match MediaFetched::decode(delivery.payload.clone()) {
        Ok(event) => event,
        Err(error) => return undecodable(delivery, &error),
    };
    let range = if event.range.is_empty() { String::new() } else { format!(" of range {}", event.range) };
    let line = text!(
        "{} {} {} {} file {} {}{range} command {}",
        time_of(delivery),
        styled(DIM, &format!("{}/{}", event.bsp, event.channel_id)),
        styled(STRONG, "media"),
        event.method,
        event.media_id,
        pluralize(event.bytes, "byte"),
        event.command_id,
    );
    (serde_json::to_value(&event).unwrap_or_default(), line)
}
