//! Repairs the events of a body with invalid UTF-8.
//!
//! When an item has become an event, [`repair_report`] and [`repair_message`] replace the placeholders of invalid bytes
//! ([`PLACEHOLDER`]) in text for people; events about the account and about customers are only checked ([`check_event_utf8`]).
//! In any other field (an id, a type, a status, a number, a code, a time) it would be a wrong value, so the item is
//! rejected. It is also rejected if a value of the item that is neither such text nor under one of the BSP's [text
//! keys](crate::Profile::text_keys) contains it, because that value may have determined the kind of the event.

mod damage;
mod texts;

use std::collections::HashSet;

use proto::v1::{InboundMessage, ReportEvent};
use serde::Serialize;

use crate::parsed::Rejection;
use crate::utf8::PLACEHOLDER;
pub(crate) use damage::{in_json, in_keys};

/// The replacements in a body.
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    /// The names of the event fields, one for each.
    pub(crate) fields: Vec<&'static str>,
    /// The replaced texts of the current item, as they appear in the body.
    pub(crate) texts: HashSet<String>,
}

/// Replaces invalid bytes in the texts of a report.
///
/// # Errors
/// A rejection if another field contains such bytes too.
pub(crate) fn repair_report(report: &mut ReportEvent, replaced: &mut Replaced) -> Result<(), Rejection> {
    replaced.of_report(report);
    check_event_utf8(report)
}

/// As [`repair_report`], for a message.
///
/// # Errors
/// As [`repair_report`].
pub(crate) fn repair_message(message: &mut InboundMessage, replaced: &mut Replaced) -> Result<(), Rejection> {
    replaced.of_message(message);
    check_event_utf8(message)
}

/// Checks every field, including fields of later versions. Bodies with invalid bytes are rare, so the cost is
/// acceptable. Events about the account and about customers have no texts to replace: each contains the BSP's
/// object with its texts, and that object contains ids too.
///
/// # Errors
/// A rejection if a field contains such bytes.
pub(crate) fn check_event_utf8(event: &impl Serialize) -> Result<(), Rejection> {
    match serde_json::to_string(event) {
        Ok(json) if !json.contains(PLACEHOLDER) => Ok(()),
        _ => Err(Rejection::no_utf8()),
    }
}
