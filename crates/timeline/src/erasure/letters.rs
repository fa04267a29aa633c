//! Searches the dead letters for a number. An item that could not be read names no customer in its row, so only its bytes tell.

use bus::streams::DEADLETTERS;
use bus::{Bus, erasure, headers};

use crate::erasure::kept::Letter;
use crate::row::StreamNumber;

/// Fewest characters that are searched for: fewer are in other texts by chance.
const NEEDLE_MIN: usize = 7;

/// The dead letters that contain a number or id, in the order of the stream.
pub(super) async fn with(bus: &Bus, number: &str) -> Result<Vec<Letter>, bus::read::ReadError> {
    let needles = needles(number);
    let mut found = Vec::new();
    let mut from = 1;
    while !needles.is_empty() {
        let Some(delivery) = erasure::next_stored(bus, &DEADLETTERS, from).await? else { break };
        from = delivery.sequence + 1;
        if needles.iter().any(|needle| holds(&delivery.payload, needle.as_bytes())) {
            let webhook = delivery.headers.get(headers::ORIGIN).and_then(webhook);
            found.push(Letter { sequence: delivery.sequence, stored_at: delivery.stored_at, webhook });
        }
    }
    Ok(found)
}

/// What is searched for: the id itself, and the digits of a number.
fn needles(number: &str) -> Vec<String> {
    let text = number.trim();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.strip_prefix("00").unwrap_or(&digits).to_owned();
    let is_number = text.chars().all(|c| c.is_ascii_digit() || "+ -()./\u{a0}".contains(c))
        || text.starts_with("whatsapp:");
    let needle = if is_number { digits } else { text.to_owned() };
    if needle.chars().count() < NEEDLE_MIN { Vec::new() } else { vec![needle] }
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// The webhook of `WEBHOOKS/17/0`.
fn webhook(origin: &str) -> Option<u64> {
    let rest = origin.strip_prefix(StreamNumber::Webhooks.name())?.strip_prefix('/')?;
    rest.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_searched_for_by_its_digits_and_another_id_as_it_is() {
        for form in ["+49 151 1234-5678", "whatsapp:+4915112345678", "004915112345678", "4915112345678"] {
            assert_eq!(needles(form), ["4915112345678"], "{form}");
        }
        assert_eq!(needles("GB.4915112345678"), ["GB.4915112345678"]);
        assert!(needles("12345").is_empty() && needles("").is_empty());
        assert_eq!(webhook("WEBHOOKS/17/0"), Some(17));
        assert_eq!(webhook("COMMANDS/17/0"), None);
        assert!(holds(b"to: 4915112345678!", b"4915112345678") && !holds(b"49", b"4915112345678"));
    }
}
