//! Words and numbers for people. Pure.

use jiff::Timestamp;

/// What a rule says.
pub(super) fn rule(name: &str) -> &str {
    match name {
        "no_report" => "No report",
        "not_fetched" => "File not fetched",
        "no_result" => "No result",
        "no_bulk_result" => "No result of a campaign",
        "webhook_waiting" => "Webhook waits",
        "event_waiting" => "Event waits",
        other => other,
    }
}

/// What happened.
pub(super) fn kind(name: &str) -> &str {
    match name {
        "command" => "Command stored",
        "attempt" => "Call to the BSP",
        "result" => "Result",
        "fetch" => "File fetched",
        "webhook" => "Webhook stored",
        "report" => "Report",
        "message" => "Customer's message",
        "account" => "Account event",
        "customer" => "Customer event",
        "dead_letter" => "Dead letter",
        other => other,
    }
}

/// What kind of id it is.
pub(super) fn id_kind(name: &str) -> &str {
    match name {
        "command" => "Command",
        "message" => "Message",
        "provider_message" => "Provider's second id",
        "event" => "Event",
        "media" => "File",
        "stored" => "Stored message",
        other => other,
    }
}

/// A status in small letters, as it is read.
pub(super) fn status(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', " ")
}

/// How a status is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// It went as it should.
    Good,
    /// It failed.
    Bad,
    /// It is not over.
    Open,
    /// Neither.
    Neutral,
}

/// How a status is to be taken.
pub(super) fn tone(status: &str) -> Tone {
    match status {
        "DELIVERED" | "READ" | "ACCEPTED" => Tone::Good,
        "FAILED" | "REJECTED" | "EXPIRED" | "DEAD_LETTER" | "ACCOUNT_REFUSED" | "REFUSED_IN_FRONT" => {
            Tone::Bad
        }
        "WAITING" | "UNKNOWN" | "LIMITED" | "NOT_CONNECTED" | "UNCLEAR" | "TIMED_OUT" | "CONNECTION_LOST" => {
            Tone::Open
        }
        _ => Tone::Neutral,
    }
}

/// What a status says of a message, in a sentence.
pub(super) fn verdict(status: &str, direction: &str) -> &'static str {
    match (status, direction) {
        ("READ", _) => "The customer has read it.",
        ("DELIVERED", _) => "It is on the customer's phone.",
        ("SENT", _) => "The BSP has sent it. It is not reported as delivered yet.",
        ("PENDING", _) => "The BSP has it and has not sent it yet.",
        ("FAILED", _) => "The BSP reports that it was not delivered.",
        ("DELETED", _) => "The customer's phone had it, and it was deleted.",
        ("UNRECOGNIZED", _) => "The BSP reported a status that this version does not know.",
        ("ACCEPTED", _) => "The BSP has accepted it. No report about it is stored yet.",
        ("REJECTED", _) => "It was not sent: the gateway or the BSP refused it.",
        ("EXPIRED", _) => "It was not sent: its deadline passed first.",
        ("UNKNOWN", _) => "It may have been sent: the BSP's answer is not known.",
        ("WAITING", _) => "It is stored and waits to be sent.",
        ("DEAD_LETTER", _) => "It could not be processed, and is kept as a dead letter.",
        ("RECEIVED", "in") => "The customer's message was received and stored for the back end.",
        ("RECEIVED", _) => "It was received and stored.",
        _ => "",
    }
}

/// Whether a note says what to do.
pub(super) fn is_to_do(note: &str) -> bool {
    note.starts_with("to do: ")
}

impl Tone {
    /// Its class in the styles.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Open => "open",
            Self::Neutral => "neutral",
        }
    }

    /// Its sign.
    pub(super) const fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Bad => "✕",
            Self::Open => "◷",
            Self::Neutral => "•",
        }
    }
}

/// A duration: `+12 ms`, `+1.4 s`, `+14 min 3 s`, `+3 h 5 min`, `+2 d 4 h`.
pub(super) fn gap(milliseconds: i64) -> String {
    let sign = if milliseconds < 0 { '−' } else { '+' };
    let milliseconds = milliseconds.unsigned_abs();
    let seconds = milliseconds / 1000;
    let text = match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{seconds}.{} s", milliseconds % 1000 / 100),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    };
    format!("{sign}{text}")
}

/// The date of a time in UTC: `2026-03-01`.
pub(super) fn date(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

/// The time of day in UTC with milliseconds: `10:00:00.123`.
pub(super) fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%S.%3f").to_string()
}

/// A text whose control characters, and those that change the direction of reading, are seen.
pub(super) fn visible(text: &str) -> String {
    let seen = text.chars().map(|c| match c {
        '\n' | '\t' => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
            '\u{fffd}'
        }
        _ if c.is_control() => '\u{fffd}',
        _ => c,
    });
    seen.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_texts_can_be_read() {
        assert_eq!([gap(0), gap(999), gap(1450), gap(-61_000)], ["+0 ms", "+999 ms", "+1.4 s", "−1 min 1 s"]);
        assert_eq!([gap(3_660_000), gap(90_000_000)], ["+1 h 1 min", "+1 d 1 h"]);
        assert_eq!(visible("a\u{1b}[31m\u{202e}b\u{7f}\n"), "a\u{241b}[31m\u{fffd}b\u{2421}\n");
        let time: Timestamp = "2026-03-01T10:00:00.1239Z".parse().unwrap();
        assert_eq!((date(time), clock(time)), ("2026-03-01".to_owned(), "10:00:00.123".to_owned()));
    }
}
