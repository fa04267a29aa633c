//! The headers of messages that an operator publishes again: which run of `imchannel` it was, who ran it, and why. What follows from
//! them is left to their readers.
//!
//! Versions before these headers publish [`headers::REPLAYED`] alone. Of their events the run is read from the deduplication id; who and
//! why are not known. They ignore the headers that they do not know.

use crate::schema::headers::{self, Headers};

/// Greatest number of a run: ten digits, as the seconds since 1970 have.
pub const RUN_MAX: u64 = 9_999_999_999;
/// Longest name of who publishes again, in characters.
pub const BY_CHARS_MAX: usize = 64;
/// Longest reason, in characters.
pub const REASON_CHARS_MAX: usize = 200;

/// A run that publishes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRun {
    /// Its number, at most [`RUN_MAX`]. It is part of the deduplication ids of its events.
    pub number: u64,
    /// Who runs it, as they name themselves; `None` if they do not.
    pub by: Option<String>,
    /// Why; `None` if it is not said.
    pub reason: Option<String>,
}

/// What the headers of a message say about its replay. Nothing of it was checked, and texts may be of any length up to
/// [`headers::COPIED_LENGTH_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replayed {
    /// The number of the run; `None` if it is not known.
    pub run: Option<u64>,
    /// Who ran it; `None` if it is not known.
    pub by: Option<String>,
    /// Why; `None` if it is not known.
    pub reason: Option<String>,
}

impl ReplayRun {
    /// The deduplication id of an event in this run. JetStream does not drop it as a duplicate of the first publication.
    pub fn message_id(&self, event_id: &str) -> String {
        format!("{event_id}.r{}", self.number)
    }
}

impl Headers {
    /// Adds what says that a run publishes the message again; nothing without a run.
    #[must_use]
    pub fn with_replay(self, run: Option<&ReplayRun>) -> Self {
        let Some(run) = run else { return self };
        self.with(headers::REPLAYED, "true")
            .with(headers::REPLAY_RUN, &run.number.to_string())
            .with_optional(headers::REPLAYED_BY, run.by.as_deref())
            .with_optional(headers::REPLAY_REASON, run.reason.as_deref())
    }

    /// Whether the message was published again.
    pub fn is_replayed(&self) -> bool {
        self.get(headers::REPLAYED) == Some("true")
    }

    /// What they say about the replay of the message; `None` if it was published for the first time.
    pub fn replayed(&self) -> Option<Replayed> {
        if !self.is_replayed() {
            return None;
        }
        let text = |name| self.get_limited(name).filter(|text| !text.trim().is_empty()).map(str::to_owned);
        Some(Replayed {
            run: run_number(self),
            by: text(headers::REPLAYED_BY),
            reason: text(headers::REPLAY_REASON),
        })
    }
}

fn run_number(headers: &Headers) -> Option<u64> {
    let of_id = || {
        let id = headers.message_id()?;
        id.strip_prefix(headers.get(headers::CE_ID)?)?.strip_prefix(".r")
    };
    let number: u64 = headers.get(headers::REPLAY_RUN).or_else(of_id)?.parse().ok()?;
    (number <= RUN_MAX).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> ReplayRun {
        ReplayRun { number: 7, by: Some("Ann Möller".to_owned()), reason: Some("ticket 17".to_owned()) }
    }

    #[test]
    fn what_a_run_publishes_is_read_again() {
        let run = run();
        let read = Headers::new().with_replay(Some(&run)).replayed().unwrap();
        assert_eq!(read, Replayed { run: Some(7), by: run.by.clone(), reason: run.reason.clone() });
        assert_eq!(Headers::new().with_replay(None).replayed(), None);
        let unnamed = ReplayRun { by: None, reason: None, ..run };
        let read = Headers::new().with_replay(Some(&unnamed)).replayed().unwrap();
        assert_eq!(read, Replayed { run: Some(7), ..Replayed::default() });
    }

    #[test]
    fn what_an_earlier_version_published_again_is_read() {
        let event = Headers::new().with(headers::CE_ID, "e").with(headers::REPLAYED, "true");
        // As it is read: the id is hidden from those who copy headers.
        let of_event = event.clone().with(headers::MESSAGE_ID, "e.r1796000000");
        let of_event = Headers::read(of_event.into_map());
        assert_eq!(of_event.replayed(), Some(Replayed { run: Some(1_796_000_000), ..Replayed::default() }));
        let of_command =
            Headers::new().with(headers::MESSAGE_ID, "deadletter-5").with(headers::REPLAYED, "true");
        assert_eq!(of_command.replayed(), Some(Replayed::default()));
        // An earlier version reads the header that it knows, in the same form.
        assert_eq!(Headers::new().with_replay(Some(&run())).get(headers::REPLAYED), Some("true"));
        assert_eq!(run().message_id("e"), "e.r7");
    }

    #[test]
    fn what_is_no_number_of_a_run_is_unknown() {
        let with = |text| Headers::new().with(headers::REPLAYED, "true").with(headers::REPLAY_RUN, text);
        for text in ["", "x", "-1", "10000000000", "49151123456789"] {
            assert_eq!(with(text).replayed(), Some(Replayed::default()), "{text}");
        }
        let long = with("1").with(headers::REPLAYED_BY, &"a".repeat(600)).with(headers::REPLAY_REASON, " ");
        assert_eq!(long.replayed(), Some(Replayed { run: Some(1), ..Replayed::default() }));
    }
}
