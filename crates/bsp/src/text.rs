//! Small rules for texts that all BSPs share.

/// A customer's or sender's address in the form of events: without `whatsapp:` and without a plus sign,
/// otherwise unchanged. It is not always a number: a customer may be `CC.123…`.
pub(crate) fn address(raw: &str) -> &str {
    let trimmed = raw.trim();
    let bare = match trimmed.get(..9) {
        Some(prefix) if prefix.eq_ignore_ascii_case("whatsapp:") => &trimmed[9..],
        _ => trimmed,
    };
    let bare = bare.trim_start();
    let address = bare.strip_prefix('+').unwrap_or(bare);
    if address.len() > ADDRESS_LENGTH_MAX { "" } else { address }
}

/// Longest address, in characters. WhatsApp's longest is a business-scoped user id of 150.
const ADDRESS_LENGTH_MAX: usize = 256;

/// Longest business-scoped user id, in characters.
const USER_ID_LENGTH_MAX: usize = 150;

/// The mark between the country and the id in a parent's user id, which several businesses share.
const PARENT_MARK: &str = "ENT.";

/// Whether an address is a business-scoped user id: a country, a dot and the id. A parent's id has `ENT`
/// between them (Meta, "Business-scoped user IDs", updated 2026-05-28).
pub(crate) fn is_user_id(address: &str) -> bool {
    let (country, rest) = address.split_once('.').unwrap_or_default();
    let id = rest.strip_prefix(PARENT_MARK).unwrap_or(rest);
    address.len() <= USER_ID_LENGTH_MAX
        && country.len() == 2
        && country.bytes().all(|byte| byte.is_ascii_uppercase())
        && !id.is_empty()
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a user id is a parent's.
pub(crate) fn is_parent_user_id(address: &str) -> bool {
    let rest = address.split_once('.').map_or("", |(_, rest)| rest);
    is_user_id(address) && rest.starts_with(PARENT_MARK)
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
            ("whatsapp: 4915112345", "4915112345"),
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
