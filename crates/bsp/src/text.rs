//! Small rules about texts that every BSP shares.

/// A customer's or sender's address as events carry it: without `whatsapp:` and without a plus sign, otherwise
/// as it came. It is not always a number (a customer may be `CC.123…`).
pub(crate) fn address(raw: &str) -> &str {
    let trimmed = raw.trim();
    let bare = match trimmed.get(..9) {
        Some(prefix) if prefix.eq_ignore_ascii_case("whatsapp:") => &trimmed[9..],
        _ => trimmed,
    };
    bare.strip_prefix('+').unwrap_or(bare)
}

/// Begins every message id that this gateway chose.
pub const COMMAND_MESSAGE_PREFIX: &str = "imc-";

/// The command that a message came from, told by its id; empty for a message that was not sent through here.
pub(crate) fn command_id(message_id: &str) -> &str {
    message_id.strip_prefix(COMMAND_MESSAGE_PREFIX).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_scheme_and_plus_and_nothing_else() {
        let cases = [
            ("whatsapp:+4915112345", "4915112345"),
            ("WhatsApp:+4915112345", "4915112345"),
            ("whatsapp:US.1349", "US.1349"),
            ("+4915112345", "4915112345"),
            ("8618******1", "8618******1"),
            ("", ""),
            ("whatsapp:", ""),
            ("čččččččč", "čččččččč"),
        ];
        for (raw, expected) in cases {
            assert_eq!(address(raw), expected, "{raw}");
        }
    }
}
