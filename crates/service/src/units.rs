//! Durations and sizes as people write them: `250ms`, `10s`, `24h`, `960KiB`, `1GiB`. Settings and the
//! command line both use this module, so that they accept the same spelling. The range of a setting is left
//! to [`crate::settings`].

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};

/// The longest duration that is accepted: 200 years of 365 days. A time this far before now is still in the
/// range of [`jiff::Timestamp`].
pub const DURATION_MAX: Duration = Duration::from_secs(200 * 365 * 86_400);

/// Units of sizes, with their bytes. Decimal units are not accepted: NATS and Redis read `MB` as 1024 * 1024
/// bytes, other programs as 1,000,000.
const SIZE_UNITS: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// The error of a text that is not a duration. Its message follows the name of a setting or an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A number alone, such as `10000`.
    #[error("has no unit; write the duration with one, such as 250ms, 10s, 15m or 24h")]
    NoUnit,
    /// Below zero, such as `-5m`.
    #[error("is negative; write a duration such as 250ms, 10s, 15m or 24h, without a sign")]
    Negative,
    /// A unit whose length depends on the calendar, such as `1mo` or `1y`.
    #[error("has months or years, whose length varies; write days or weeks, such as 30d or 4w")]
    Calendar,
    /// Longer than [`DURATION_MAX`].
    #[error("is too long; the longest duration is 73000d")]
    TooLong,
    /// Anything else.
    #[error("is not a duration; write numbers with units, such as 250ms, 10s, 15m, 24h, 3d or 1h 30m")]
    Invalid,
}

/// Reads a duration: numbers with the units `ms`, `s`, `m`, `h`, `d` (24 hours) or `w` (7 days), from the longest unit to the
/// shortest. The rest of jiff's [friendly format](jiff::fmt::friendly) and ISO 8601 (`PT15M`) are read too.
///
/// # Errors
/// [`DurationError`], which says what to write.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use service::units::{DurationError, parse_duration};
///
/// assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
/// assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
/// assert_eq!(parse_duration("10000"), Err(DurationError::NoUnit));
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    if !text.is_empty() && text.chars().all(|char| char.is_ascii_digit() || "+-.,".contains(char)) {
        return Err(DurationError::NoUnit);
    }
    let span: Span = text.parse().map_err(|_| error_of_unreadable(text))?;
    if span.is_negative() {
        return Err(DurationError::Negative);
    }
    if span.get_months() != 0 || span.get_years() != 0 {
        return Err(DurationError::Calendar);
    }
    let duration =
        span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| DurationError::TooLong)?;
    let duration = Duration::try_from(duration).map_err(|_| DurationError::Negative)?;
    if duration > DURATION_MAX {
        return Err(DurationError::TooLong);
    }
    Ok(duration)
}

/// jiff reports a number that is too large for its unit like any other mistake. If the text is valid with one
/// digit in place of each number, the duration is too long.
fn error_of_unreadable(text: &str) -> DurationError {
    let mut short = String::with_capacity(text.len());
    for char in text.chars() {
        if !(char.is_ascii_digit() && short.ends_with('1')) {
            short.push(if char.is_ascii_digit() { '1' } else { char });
        }
    }
    if short.parse::<Span>().is_ok() { DurationError::TooLong } else { DurationError::Invalid }
}

/// Writes a duration as [`parse_duration`] reads it.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// assert_eq!(service::units::format_duration(Duration::from_millis(90_250)), "1m 30s 250ms");
/// ```
pub fn format_duration(duration: Duration) -> String {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    format!("{duration:#}")
}

/// The error of a text that is not a size. Its message follows the name of a setting or an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// A number alone, such as `1048576`.
    #[error("has no unit; write the size with one, such as 512B, 960KiB, 64MiB or 1GiB")]
    NoUnit,
    /// Below zero, such as `-1KiB`.
    #[error("is negative; write a size such as 512B, 960KiB, 64MiB or 1GiB, without a sign")]
    Negative,
    /// A unit that means 1000 or 1024, depending on the program, such as `MB`.
    #[error("has a unit with two meanings; write KiB, MiB, GiB or TiB (1024 bytes, 1024 KiB and so on)")]
    Ambiguous,
    /// More bytes than 64 bits can count.
    #[error("is too large; the largest size is 16777215TiB")]
    TooLarge,
    /// Anything else, such as a fraction.
    #[error("is not a size; write a whole number with a unit, such as 512B, 960KiB, 64MiB or 1GiB")]
    Invalid,
}

/// Reads a size in bytes: a whole number with the unit `B`, `KiB`, `MiB`, `GiB` or `TiB`, in upper or lower case.
///
/// # Errors
/// [`SizeError`], which says what to write.
///
/// # Examples
/// ```
/// use service::units::{SizeError, parse_size};
///
/// assert_eq!(parse_size("960KiB"), Ok(983_040));
/// assert_eq!(parse_size("983040"), Err(SizeError::NoUnit));
/// assert_eq!(parse_size("1GB"), Err(SizeError::Ambiguous));
/// ```
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let text = text.trim();
    if text.strip_prefix('-').is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_digit())) {
        return Err(SizeError::Negative);
    }
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim_start());
    if number.is_empty() {
        return Err(SizeError::Invalid);
    }
    if unit.is_empty() {
        return Err(SizeError::NoUnit);
    }
    if ["k", "m", "g", "t", "kb", "mb", "gb", "tb"].contains(&unit.to_ascii_lowercase().as_str()) {
        return Err(SizeError::Ambiguous);
    }
    let known = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let (_, bytes) = known.ok_or(SizeError::Invalid)?;
    // The number contains only digits, so it can only be too large.
    let number: u64 = number.parse().map_err(|_| SizeError::TooLarge)?;
    number.checked_mul(*bytes).ok_or(SizeError::TooLarge)
}

/// Writes a size as [`parse_size`] reads it, in the largest unit that needs no fraction.
///
/// # Examples
/// ```
/// assert_eq!(service::units::format_size(983_040), "960KiB");
/// ```
pub fn format_size(bytes: u64) -> String {
    let fitting = SIZE_UNITS.iter().rev().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    let (name, unit) = fitting.unwrap_or(&SIZE_UNITS[0]);
    format!("{}{name}", bytes / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit_and_combined() {
        let cases = [
            ("0s", 0),
            ("250ms", 250),
            ("10s", 10_000),
            ("90s", 90_000),
            ("15m", 900_000),
            ("007m", 420_000),
            ("+5m", 300_000),
            ("24h", 86_400_000),
            ("3d", 259_200_000),
            ("2w", 1_209_600_000),
            ("1h30m", 5_400_000),
            (" 1h 30m ", 5_400_000),
            ("1.5s", 1_500),
            ("PT15M", 900_000),
            ("73000d", 6_307_200_000_000),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(expected)), "{text}");
        }
    }

    #[test]
    fn an_error_of_a_duration_says_what_to_write() {
        let cases = [
            ("10000", DurationError::NoUnit),
            ("0", DurationError::NoUnit),
            ("1.5", DurationError::NoUnit),
            ("-5m", DurationError::Negative),
            ("5m ago", DurationError::Negative),
            ("1mo", DurationError::Calendar),
            ("2 years", DurationError::Calendar),
            ("73001d", DurationError::TooLong),
            ("99999999d", DurationError::TooLong),
            ("99999999999999999999s", DurationError::TooLong),
            ("", DurationError::Invalid),
            ("s", DurationError::Invalid),
            ("m15", DurationError::Invalid),
            ("15\u{b5}", DurationError::Invalid),
            ("30m 1h", DurationError::Invalid),
            ("10 parsecs", DurationError::Invalid),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn durations_and_sizes_are_read_as_they_are_written() {
        for ms in [0, 1, 250, 1000, 90_000, 86_400_000, 86_400_001] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
        for bytes in [0, 1, 1023, 1024, 983_040, 1 << 30, (1 << 40) + 1, u64::MAX] {
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
        assert_eq!(format_duration(Duration::from_secs(86_400)), "24h");
        assert_eq!(format_size(3 << 30), "3GiB");
    }

    #[test]
    fn sizes_are_whole_numbers_of_binary_units() {
        let cases = [("0B", 0), ("512B", 512), ("960KiB", 983_040), ("64 MiB", 1 << 26), ("1gib", 1 << 30)];
        for (text, expected) in cases {
            assert_eq!(parse_size(text), Ok(expected), "{text}");
        }
        let cases = [
            ("1048576", SizeError::NoUnit),
            ("-1KiB", SizeError::Negative),
            ("1MB", SizeError::Ambiguous),
            ("4k", SizeError::Ambiguous),
            ("16777216TiB", SizeError::TooLarge),
            ("99999999999999999999B", SizeError::TooLarge),
            ("", SizeError::Invalid),
            ("KiB", SizeError::Invalid),
            ("1.5GiB", SizeError::Invalid),
            ("1 bit", SizeError::Invalid),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_size(text), Err(expected), "{text}");
        }
    }
}
