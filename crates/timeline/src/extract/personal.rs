//! The last check of a row: the customer's number and user id do not appear in what people see, wherever a BSP has put them.

use std::borrow::Cow;

use bsp::mask::{self, MASK};

use crate::extract::body;
use crate::row::Row;

/// Fewest digits of a text that is removed. Fewer are parts of other texts by chance.
const DIGITS_MIN: usize = 7;

/// Replaces the numbers and user ids of customers in the summary, the error, the shown ids, and the body if it is masked.
pub(super) fn remove(row: &mut Row, customers: &[&str], is_body_masked: bool) {
    if is_body_masked {
        hide_ids(&mut row.body);
    }
    row.links.iter_mut().for_each(|link| hide_ids(&mut link.shown));
    for customer in customers {
        let digits: String = customer.chars().filter(char::is_ascii_digit).collect();
        if digits.len() < DIGITS_MIN {
            continue;
        }
        for needle in [*customer, &digits] {
            hide(&mut row.summary, needle);
            if let Some(error) = &mut row.error {
                [&mut error.code, &mut error.name, &mut error.text]
                    .into_iter()
                    .for_each(|text| hide(text, needle));
            }
            row.links.iter_mut().for_each(|link| hide(&mut link.shown, needle));
            if is_body_masked && row.body.contains(needle) {
                hide(&mut row.body, needle);
                // The digits may have been a JSON number.
                if !body::is_json(&row.body) {
                    row.body.clear();
                }
            }
        }
    }
}

/// WhatsApp's own ids in fields that should have another id, or in the middle of a text.
fn hide_ids(text: &mut String) {
    if let Cow::Owned(masked) = mask::message_ids(text) {
        *text = masked;
    }
}

fn hide(text: &mut String, needle: &str) {
    if text.contains(needle) {
        *text = text.replace(needle, MASK);
    }
}
