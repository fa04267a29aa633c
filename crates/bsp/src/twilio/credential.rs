//! Twilio's webhooks present user and password as HTTP Basic (RFC 7617), after a first attempt without a
//! credential. The scheme may be in any case (RFC 9110 section 11.1).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, header};

/// Reads Base64 with and without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn presented(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    LENIENT.decode(encoded.trim()).ok().map(Cow::Owned)
}

pub(super) fn expected(user: &str, password: &str) -> Vec<u8> {
    format!("{user}:{password}").into_bytes()
}

/// The header of a client with this user and password.
#[cfg(test)]
fn header_value(user: &str, password: &str) -> String {
    format!("Basic {}", LENIENT.encode(expected(user, password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presented_by(value: &str) -> Option<Vec<u8>> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        presented(&headers).map(Cow::into_owned)
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        let wanted = Some(b"user:pass:word".to_vec());
        let value = header_value("user", "pass:word");
        assert_eq!(presented_by(&value), wanted);
        assert_eq!(presented_by(&value.replace("Basic", "basic")), wanted);
        assert_eq!(presented_by(&value.replace("Basic", "BASIC ")), wanted);
        assert_eq!(presented_by(value.trim_end_matches('=')), wanted);
    }

    #[test]
    fn another_scheme_or_invalid_base64_is_not_a_credential() {
        for value in ["Bearer dXNlcjpwYXNz", "dXNlcjpwYXNz", "Basic", "Basic !!!", ""] {
            assert_eq!(presented_by(value), None, "{value}");
        }
    }
}
