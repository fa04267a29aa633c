//! Durations for people.

use jiff::{SignedDuration, Timestamp};

/// Time from one time to a later one in its largest fitting unit: `45 s`, `14 min`, `3 h`, `5 d`. Zero if it is not later.
pub(super) fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).max(SignedDuration::ZERO).as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_its_largest_fitting_unit() {
        let start = Timestamp::UNIX_EPOCH;
        let after = |seconds| span(start, start + SignedDuration::from_secs(seconds));
        assert_eq!([after(0), after(59), after(60), after(7199)], ["0 s", "59 s", "1 min", "119 min"]);
        assert_eq!([after(7200), after(172_799), after(172_800)], ["2 h", "47 h", "2 d"]);
        assert_eq!(span(start + SignedDuration::from_secs(5), start), "0 s");
    }
}
