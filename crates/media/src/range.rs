//! `Range` and the conditional headers, as RFC 9110 defines them (sections 13 and 14). Pure.

use std::ops::Range;

use axum::http::HeaderMap;
use axum::http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};

/// The requested part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// The whole file.
    Whole,
    /// These bytes.
    Bytes(Range<u64>),
    /// Bytes outside of the file.
    Unsatisfiable,
}

/// The part that a GET requests. Several ranges are answered with the whole file, which the RFC allows.
pub(crate) fn part(headers: &HeaderMap, size: u64, etag: &str) -> Part {
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    let Some(range) = text(RANGE) else { return Part::Whole };
    // A range continues a download only if the file has not changed.
    if text(IF_RANGE).is_some_and(|condition| condition.trim() != etag) {
        return Part::Whole;
    }
    let Some((unit, set)) = range.split_once('=') else { return Part::Whole };
    let Some((first, last)) =
        set.trim().split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes"))
    else {
        return Part::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if last < first => return Part::Whole,
        (Some(first), Some(last)) => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.trim().is_empty() => first..size,
        // The last bytes of the file, by their number.
        (None, Some(count)) if first.trim().is_empty() => size.saturating_sub(count)..size,
        _ => return Part::Whole,
    };
    if range.start >= range.end { Part::Unsatisfiable } else { Part::Bytes(range) }
}

/// Whether the caller already has this version of the file.
pub(crate) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    #[test]
    fn ranges_are_read_as_the_rfc_defines_them() {
        let cases = [
            ("bytes=0-3", Part::Bytes(0..4)),
            ("bytes=4-", Part::Bytes(4..10)),
            ("bytes=-4", Part::Bytes(6..10)),
            ("bytes=-40", Part::Bytes(0..10)),
            ("bytes=8-99", Part::Bytes(8..10)),
            ("Bytes = 1-1", Part::Bytes(1..2)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=0-18446744073709551615", Part::Bytes(0..10)),
            ("bytes=3-1", Part::Whole),
            ("bytes=0-1,4-5", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=-", Part::Whole),
        ];
        for (text, expected) in cases {
            assert_eq!(part(&headers(&[("range", text)]), 10, "\"e\""), expected, "{text}");
        }
        assert_eq!(
            part(&headers(&[("range", "bytes=0-1"), ("if-range", "\"e\"")]), 10, "\"e\""),
            Part::Bytes(0..2)
        );
        assert_eq!(
            part(&headers(&[("range", "bytes=0-1"), ("if-range", "\"f\"")]), 10, "\"e\""),
            Part::Whole
        );
    }

    #[test]
    fn conditions_compare_weakly() {
        for (text, expected) in
            [("\"e\"", true), ("W/\"e\"", true), ("\"a\", \"e\"", true), ("*", true), ("\"a\"", false)]
        {
            assert_eq!(is_known(&headers(&[("if-none-match", text)]), "\"e\""), expected, "{text}");
        }
    }
}
