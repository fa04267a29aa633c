//! Parses durations, times, rates and percentages of the command line.

use std::time::Duration;

use jiff::Timestamp;
use service::units::{self, DurationError};

/// Parses a duration such as `90s`, `15m`, `2h`, `3d` or `1h 30m`.
pub(crate) fn span(text: &str) -> Result<Duration, DurationError> {
    units::parse_duration(text)
}

/// A moment: a duration before now, or a time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Moment {
    Ago(Duration),
    At(Timestamp),
}

impl Moment {
    /// Returns the moment relative to `now`.
    pub(crate) fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => now - span,
            Self::At(time) => time,
        }
    }
}

/// Parses `15m` as 15 minutes ago, or a time in RFC 3339.
pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(Moment::At(time));
    }
    match span(text) {
        Ok(span) => Ok(Moment::Ago(span)),
        Err(DurationError::Invalid | DurationError::NoUnit) => {
            Err("is not a time or a duration; write 2026-03-01T10:00:00Z, or 90s, 15m, 2h, 3d or 1h 30m"
                .to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Parses a rate per second, from 0.001 to a million.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.001..=1_000_000.0).contains(rate));
    rate.ok_or_else(|| "must be a number between 0.001 and 1000000".to_owned())
}

/// Parses a percentage.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "must be a number between 0 and 100".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_span_or_a_time() {
        let now: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        let cases = [
            ("90s", "2026-03-01T09:58:30Z"),
            ("15m", "2026-03-01T09:45:00Z"),
            ("2h", "2026-03-01T08:00:00Z"),
            ("3d", "2026-02-26T10:00:00Z"),
            ("1h 30m", "2026-03-01T08:30:00Z"),
            ("49710d", "1890-01-23T10:00:00Z"),
            ("2026-02-01T00:00:00+01:00", "2026-01-31T23:00:00Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(moment(text).unwrap().from(now).to_string(), expected, "{text}");
        }
        for bad in ["", "s", "15", "m15", "-5m", "99999999d", "15µ"] {
            assert!(moment(bad).is_err(), "{bad}");
            assert!(span(bad).is_err(), "{bad}");
        }
        let error = |text| moment(text).unwrap_err();
        assert!(error("15").starts_with("is not a time or a duration; write 2026-03-01T10:00:00Z, or"));
        assert!(error("2026-03-01").starts_with("is not a time or a duration"));
        assert!(error("-5m").starts_with("is negative; write a duration such as"));
    }

    #[test]
    fn rates_and_shares_have_bounds() {
        assert_eq!(rate("0.5"), Ok(0.5));
        assert_eq!(percent("100"), Ok(100.0));
        for bad in ["0", "-1", "1e10", "1e-20", "NaN", "inf", "x", ""] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        for bad in ["-1", "101", "NaN", "x"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }
}
