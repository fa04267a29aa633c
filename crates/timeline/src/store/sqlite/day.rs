//! The day of a file, and times as the files have them: nanoseconds since 1970.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// End of the name of a day's file.
const EXTENSION: &str = ".sqlite";

/// A day in UTC: which file a row is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Day(Date);

impl Day {
    /// The day of a time.
    pub(super) fn of(time: Timestamp) -> Self {
        Self(TimeZone::UTC.to_datetime(of_nanoseconds(nanoseconds(time))).date())
    }

    /// The day of a file; `None` for a name that is not a day's.
    pub(super) fn of_file(name: &str) -> Option<Self> {
        let day = Self(name.strip_suffix(EXTENSION)?.parse().ok()?);
        // `20261127.sqlite` is not a name of ours.
        (day.file() == name).then_some(day)
    }

    /// Name of its file.
    pub(super) fn file(self) -> String {
        format!("{self}{EXTENSION}")
    }

    /// Name of its filter.
    pub(super) fn filter(self) -> String {
        format!("{self}.filter")
    }

    /// The time at which it ends, which is not in it; `None` for the last day that there is.
    pub(super) fn end(self) -> Option<Timestamp> {
        let next = self.0.tomorrow().ok()?;
        TimeZone::UTC.to_timestamp(next.at(0, 0, 0, 0)).ok()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A time as the files have it. A time before 1677 or after 2262 is the nearest that fits.
pub(super) fn nanoseconds(time: Timestamp) -> i64 {
    let exact = time.as_nanosecond();
    i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX })
}

/// The time of a file's number.
pub(super) fn of_nanoseconds(number: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(number))
        .expect("64 bits of nanoseconds are within a timestamp's range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_where_the_next_begins_and_only_its_own_name_is_its_file() {
        let last: Timestamp = "2026-11-27T23:59:59.999999999Z".parse().unwrap();
        let day = Day::of(last);
        assert_eq!(day.file(), "2026-11-27.sqlite");
        assert_eq!(Day::of_file("2026-11-27.sqlite"), Some(day));
        for name in
            ["20261127.sqlite", "2026-11-27", "2026-11-27.sqlite-wal", "open.sqlite", "2026-13-27.sqlite"]
        {
            assert_eq!(Day::of_file(name), None, "{name}");
        }
        let end = day.end().unwrap();
        assert_ne!(Day::of(end), day);
        assert!(last < end);
        assert_eq!(of_nanoseconds(nanoseconds(last)), last);
        assert_eq!(Day::of(Timestamp::MAX).to_string(), "2262-04-11");
    }
}
