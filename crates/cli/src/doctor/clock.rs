//! Checks of the clocks: leases and deadlines depend on their agreement.

use jiff::Timestamp;
use jiff::civil;

use super::finding::{Check, Finding};

const SKEW: Check = Check("clock.skew");

/// Difference of two clocks from which it is a warning, in milliseconds.
const WARNING_MS: i64 = 1_000;
/// Difference of two clocks from which it is an error, in milliseconds.
const WRONG_MS: i64 = 5_000;

/// Offset of another clock from the clock of this machine.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) of: String,
    pub(super) ahead_ms: i64,
    /// Maximum error of the offset, in either direction.
    pub(super) within_ms: i64,
}

impl Reading {
    /// Computes the offset of a clock that was read between two moments of this machine's clock.
    pub(super) fn new(of: &str, asked_at: Timestamp, said: Timestamp, heard_at: Timestamp) -> Self {
        let (asked, heard) = (asked_at.as_millisecond(), heard_at.as_millisecond());
        let middle = asked + (heard - asked) / 2;
        Self {
            of: of.to_owned(),
            ahead_ms: said.as_millisecond() - middle,
            within_ms: (heard - asked) / 2 + 1,
        }
    }

    /// Computes the offset of a clock that reports whole seconds.
    pub(super) fn of_seconds(of: &str, asked_at: Timestamp, said: Timestamp, heard_at: Timestamp) -> Self {
        let exact = Self::new(of, asked_at, said, heard_at);
        // On average the time is half a second later than reported.
        Self { ahead_ms: exact.ahead_ms + 500, within_ms: exact.within_ms + 500, ..exact }
    }
}

/// Parses the format of HTTP's `Date`: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.split_once(", ")?.1.split(' ');
    let day = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = i8::try_from(MONTHS.iter().position(|name| *name == month)? + 1).ok()?;
    let year = parts.next()?.parse().ok()?;
    let mut time = parts.next()?.split(':').map(|part| part.parse::<i8>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if parts.next() != Some("GMT") {
        return None;
    }
    let time = civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    time.to_zoned_datetime(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

pub(super) fn evaluate(readings: &[Reading]) -> Finding {
    let why = "Leases of lanes, TTLs of files and deadlines of commands depend on these clocks: a lane may change its owner too early or too late, and a command may expire too early.";
    let remedy = "Synchronize the clock of every machine by NTP (`timedatectl status`, `chronyc tracking`).";
    let (Some(first), Some(last)) = (
        readings.iter().min_by_key(|reading| reading.ahead_ms),
        readings.iter().max_by_key(|reading| reading.ahead_ms),
    ) else {
        return SKEW.unknown("no other clock could be read", why, "");
    };
    let level_of = |ms: i64, what: String| match ms {
        _ if ms > WRONG_MS => Some(SKEW.error(what, why, remedy)),
        _ if ms > WARNING_MS => Some(SKEW.warning(what, why, remedy)),
        _ => None,
    };
    // A difference within the error of the measurement is not reported.
    let apart = last.ahead_ms - last.within_ms - (first.ahead_ms + first.within_ms);
    let (of_first, of_last) = (&first.of, &last.of);
    let between = format!("the clock of {of_last} is {} ahead of that of {of_first}", seconds(apart));
    if let Some(finding) = level_of(apart, between) {
        return finding.about([of_first, of_last]);
    }
    let farthest = if last.ahead_ms.abs() >= first.ahead_ms.abs() { last } else { first };
    let here = farthest.ahead_ms.abs() - farthest.within_ms;
    let direction = if farthest.ahead_ms > 0 { "behind" } else { "ahead of" };
    let what = format!("this machine's clock is {} {direction} that of {}", seconds(here), farthest.of);
    // The others agree with each other, so this machine's clock is wrong. It need not belong to the installation.
    let finding = if readings.len() > 1 {
        (here > WARNING_MS).then(|| SKEW.warning(what, "The others agree: ages in this report are wrong by that amount, and so is the clock of a service on this machine.", remedy))
    } else {
        level_of(here, what)
    };
    finding.unwrap_or_else(|| {
        let names: Vec<&str> = readings.iter().map(|reading| reading.of.as_str()).collect();
        SKEW.ok(format!("the clocks here and of {} agree", names.join(", ")))
    })
}

fn seconds(ms: i64) -> String {
    format!("{:.1} s", ms as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    fn reading(ahead_ms: i64, within_ms: i64) -> Reading {
        Reading { of: "NATS".to_owned(), ahead_ms, within_ms }
    }

    #[test]
    fn clocks_that_differ_are_found() {
        let level = |all: &[(i64, i64)]| {
            let all: Vec<_> = all.iter().map(|(ahead, within)| reading(*ahead, *within)).collect();
            evaluate(&all).level
        };
        assert_eq!(level(&[]), Level::Unknown);
        assert_eq!(level(&[(3, 2), (-4, 500)]), Level::Ok);
        assert_eq!(level(&[(-1_600, 10)]), Level::Warning);
        assert_eq!(level(&[(9_000, 10)]), Level::Error);
        // A slow response proves nothing.
        assert_eq!(level(&[(1_600, 900)]), Level::Ok);
        // They agree with each other and not with this machine.
        assert_eq!(level(&[(9_000, 10), (9_100, 500)]), Level::Warning);
        assert_eq!(level(&[(0, 10), (2_000, 10)]), Level::Warning);
        assert_eq!(level(&[(-3_000, 10), (3_000, 10)]), Level::Error);
    }

    #[test]
    fn the_date_of_http_is_read() {
        let time = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(time.to_string(), "1994-11-06T08:49:37Z");
        for bad in ["", "Sun, 06 Nov 1994", "Sun, 06 Foo 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"] {
            assert_eq!(http_date(bad), None, "{bad}");
        }
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let reading = Reading::new("x", at(1_000), at(3_100), at(1_200));
        assert_eq!((reading.ahead_ms, reading.within_ms), (2_000, 101));
    }
}
