//! Messages of the streams as commands show them: as JSON for programs, and as one line for people.

mod event;
mod notice;
mod stored;

use bus::Delivery;
use serde_json::{Value, json};

use crate::output::{DIM, Text, styled, text};

pub(crate) use event::{fetched, message, report, sent};
pub(crate) use notice::{account, customer};
pub(crate) use stored::{command, dead_letter, webhook};

/// A message as JSON and as text.
pub(crate) type Shown = (Value, Text);

/// A part of a line, or nothing if its value is empty.
fn named(words: &str, value: &str) -> String {
    if value.is_empty() { String::new() } else { format!(" {words} {value}") }
}

/// A message that cannot be decoded.
fn undecodable(delivery: &Delivery, error: &prost::DecodeError) -> Shown {
    let line = text!("{} cannot decode the message of {}: {error}", time_of(delivery), delivery.subject);
    (json!({ "subject": delivery.subject, "sequence": delivery.sequence, "error": error.to_string() }), line)
}

fn time_of(delivery: &Delivery) -> Text {
    styled(DIM, &format!("{:.3}", delivery.stored_at))
}
