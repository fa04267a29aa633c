//! The header `Retry-After` (RFC 9110, 10.2.3): seconds, or a date in any of the three forms of RFC 9110, 5.6.7. Pure.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use reqwest::header::HeaderValue;

/// Longest `Retry-After` that is obeyed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);

/// Returns the requested delay, at most [`RETRY_AFTER_MAX`]; zero for a date in the past. `None` if the value cannot be
/// parsed.
pub(crate) fn parse(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let wait = if is_number {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let at = httpdate::parse_http_date(text).ok()?;
        at.duration_since(SystemTime::try_from(now).ok()?).unwrap_or_default()
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_every_form_of_a_date_are_understood() {
        let now: Timestamp = "2026-11-26T09:18:31.5Z".parse().unwrap();
        let wait =
            |text: &'static str| parse(&HeaderValue::from_static(text), now).map(|wait| wait.as_millis());
        let cases = [
            ("8", Some(8_000)),
            (" 0 ", Some(0)),
            ("3600", Some(120_000)),
            ("99999999999999999999999", Some(120_000)),
            ("Thu, 26 Nov 2026 09:18:40 GMT", Some(8_500)),
            ("Thursday, 26-Nov-26 09:18:40 GMT", Some(8_500)),
            ("Thu Nov 26 09:18:40 2026", Some(8_500)),
            ("Thu, 26 Nov 2026 11:18:40 GMT", Some(120_000)),
            ("Thu, 26 Nov 2026 09:18:31 GMT", Some(0)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(120_000)),
        ];
        for (text, expected) in cases {
            assert_eq!(wait(text), expected, "{text}");
        }
        for text in ["", "-1", "8.5", "+8", "soon", "2026-11-26T09:18:40Z", "Thu, 32 Nov 2026 09:18:40 GMT"] {
            assert_eq!(wait(text), None, "{text}");
        }
    }
}
