//! Texts that several commands print: sizes, durations, pending commands.

use std::time::Duration;

pub(crate) use service::words::{causes, pluralize};

/// `40 ms`, `12 s`, `8 min`, `2.5 h`, `3.1 days`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        _ if seconds == 0.0 => "0 s".to_owned(),
        _ if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        _ if seconds < 120.0 => format!("{seconds:.0} s"),
        _ if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        _ if seconds < 48.0 * 3600.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}

/// `850 B`, `1.5 GiB`.
pub(crate) fn bytes(number: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut unit) = (number as f64, 0);
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number} B") } else { format!("{size:.1} {}", units[unit]) }
}

/// `1 command waits`, `30 commands wait, the oldest for 2.5 h`.
pub(crate) fn waiting(number: u64, what: &str, oldest: Option<Duration>) -> String {
    let mut text = format!("{} wait{}", pluralize(number, what), if number == 1 { "s" } else { "" });
    if let Some(age) = oldest {
        let whom = if number == 1 { "" } else { "the oldest " };
        text.push_str(&format!(", {whom}for {}", span(age)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_noun() {
        let two_hours = Some(Duration::from_secs(9_000));
        assert_eq!(waiting(1, "command", two_hours), "1 command waits, for 2.5 h");
        assert_eq!(waiting(30, "command", two_hours), "30 commands wait, the oldest for 2.5 h");
        assert_eq!(waiting(2, "event", None), "2 events wait");
    }

    #[test]
    fn spans_are_short() {
        let spans = [0.0, 0.04, 12.4, 480.0, 9_000.0, 270_000.0].map(|s| span(Duration::from_secs_f64(s)));
        assert_eq!(spans, ["0 s", "40 ms", "12 s", "8 min", "2.5 h", "3.1 days"]);
    }
}
