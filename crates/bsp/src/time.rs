//! Parses times in every form that BSPs send.
//!
//! Infobip: ISO 8601 with or without a fraction, and an offset as `+0000`, `+01:00` or `Z` (webhook examples and
//! real pushes, read 2026-11). Gupshup: Unix seconds inside, milliseconds outside, as numbers or strings.

use jiff::Timestamp;
use proto::Timestamp as ProtoTimestamp;

/// Numbers below this are Unix seconds, all others are milliseconds. As seconds, this number is in the year
/// 5138; as milliseconds, it is in March 1973.
pub(crate) const MILLISECONDS_FROM: f64 = 1e11;

/// The time in a text; `None` if it is not a time.
pub(crate) fn parse(text: &str) -> Option<ProtoTimestamp> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return from_unix(number);
    }
    text.parse::<Timestamp>().ok().map(to_proto)
}

fn from_unix(number: f64) -> Option<ProtoTimestamp> {
    if !number.is_finite() || number <= 0.0 {
        return None;
    }
    let milliseconds = if number < MILLISECONDS_FROM { number * 1000.0 } else { number };
    // In range for every time that a phone can show. A larger number fails in from_millisecond.
    Timestamp::from_millisecond(milliseconds as i64).ok().map(to_proto)
}

/// The timestamp as the protobuf type.
pub fn to_proto(time: Timestamp) -> ProtoTimestamp {
    ProtoTimestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_vendors_is_read() {
        let cases = [
            ("2025-02-27T15:44:57.000+0000", 1_740_671_097, 0),
            ("2025-02-27T15:44:57.250+00:00", 1_740_671_097, 250_000_000),
            ("2025-02-27T15:44:57Z", 1_740_671_097, 0),
            ("2019-04-09T16:01:56.494-0300", 1_554_836_516, 494_000_000),
            ("2015-02-23T17:42:05.390+0100", 1_424_709_725, 390_000_000),
            ("2015-02-22T17:42:05.390+01:00", 1_424_623_325, 390_000_000),
            ("1743075950", 1_743_075_950, 0),
            ("1743075951500", 1_743_075_951, 500_000_000),
            (" 1592311836 ", 1_592_311_836, 0),
        ];
        for (text, seconds, nanos) in cases {
            let time = parse(text).unwrap_or_else(|| panic!("{text} was not read"));
            assert_eq!((time.seconds, time.nanos), (seconds, nanos), "{text}");
        }
    }

    #[test]
    fn an_invalid_time_is_none() {
        for text in ["", "yesterday", "2025-13-01T00:00:00Z", "0", "-5", "NaN", "inf", "1e300", "2025-02-27"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    /// `Imchannel-Received-At` has six digits; `ce-time`, `Imchannel-Time` and log lines have as many as
    /// needed. Readers accept both forms, so an upgrade of jiff must not change them.
    #[test]
    fn the_text_of_times_stays_as_it_is() {
        let cases = [
            (1_772_359_200, 0, "2026-03-01T10:00:00Z", "2026-03-01T10:00:00.000000Z"),
            (1_772_359_200, 500_000_000, "2026-03-01T10:00:00.5Z", "2026-03-01T10:00:00.500000Z"),
            (1_772_359_200, 123_456_789, "2026-03-01T10:00:00.123456789Z", "2026-03-01T10:00:00.123456Z"),
        ];
        for (seconds, nanoseconds, short, fixed) in cases {
            let time = Timestamp::new(seconds, nanoseconds).unwrap();
            assert_eq!(time.to_string(), short);
            assert_eq!(format!("{time:.6}"), fixed);
            assert_eq!(short.parse::<Timestamp>().unwrap(), time);
        }
    }
}
