//! The life of a message: its rows in the order in which things happened, and what is missing in it.
//!
//! [`collect`] finds the rows that belong to an id, [`assemble`] puts them together. Which rows must follow which is left to
//! [`crate::rules`], how it is shown to [`crate::http`] and to the command line.

pub(crate) mod source;
mod search;
mod groups;
mod order;
mod missing;
mod notes;
mod headline;
mod words;

use std::collections::HashMap;

use jiff::Timestamp;

pub use crate::life::groups::assemble;
pub use crate::life::headline::{DEAD_LETTER, Direction, RECEIVED, WAITING};
pub use crate::life::missing::{FLOOR_AGE_MAX, missing};
pub use crate::life::order::{clock_difference, order, time_of};
pub(crate) use crate::life::search::fetched;
pub use crate::life::search::{Collected, FIRST_ROWS_MAX, ROWS_MAX, collect};
pub(crate) use crate::life::source::was_there_for;
use crate::progress::Progress;
use crate::row::{LookupKey, Row};
use crate::rules::{RuleName, RuleSettings};

/// What is known at the time of an answer besides rows.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The time of the answer.
    pub now: Timestamp,
    /// How far each stream was read.
    pub progress: Progress,
    /// Ack floors of the durables.
    pub floors: Floors,
    /// When files were first fetched, by file and channel, of the messages that are judged.
    pub fetched: HashMap<(LookupKey, String), Timestamp>,
    /// Why the lanes that send nothing do so, by channel and queue (`sales` and `bulk-sales`), in words for people. The reason of
    /// a channel holds for both of its queues unless `bulk-…` has another one.
    pub halted_lanes: HashMap<String, String>,
    /// Times of the rules that differ between channels.
    pub rules: RuleSettings,
}

/// The stream sequences up to which readers have acknowledged everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Floors {
    /// Of the normalizer in WEBHOOKS; `None` while it is not known, and without the durable.
    pub normalizer: Option<u64>,
    /// Of the back end's durable in EVENTS; `None` while it is not known, and without the durable.
    pub aicc: Option<u64>,
    /// What is known to be finished; `None` while nothing is.
    pub finished: Option<Finished>,
}

/// Webhooks that the normalizer has finished, and of which everything that it made is stored here: when the floor was asked for,
/// EVENTS and DEADLETTERS were not read that far yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Up to this sequence.
    pub sequence: u64,
    /// Every webhook that was stored before this time; `None` if that is not known.
    pub until: Option<Timestamp>,
}

impl Floors {
    /// The time up to which every webhook is finished, so that a report which is not stored here is in none of them.
    pub fn reports_until(&self) -> Option<Timestamp> {
        self.finished?.until
    }
}

/// Something that is missing in a life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The rule.
    pub rule: RuleName,
    /// Since when it is expected.
    pub since: Timestamp,
    /// Since when it is overdue.
    pub due: Timestamp,
    /// What is missing, for people: `no report for 16 min`.
    pub text: String,
    /// What to do, for people.
    pub advice: String,
}

/// Something to say about a row that is no problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Index of the row in [`Life::rows`].
    pub row: usize,
    /// The text, for people.
    pub text: String,
}

/// The life of one message, or of a webhook without messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// Its rows, in the order in which things happened. There is at least one.
    pub rows: Vec<Row>,
    /// What is missing, the longest overdue first.
    pub missing: Vec<Missing>,
    /// What else is to say about rows.
    pub notes: Vec<Note>,
}

impl View {
    /// Why the lane of a command sends nothing; `None` if it sends.
    fn halted(&self, command: &Row) -> Option<&str> {
        let lane = self.halted_lanes.get(&crate::rules::lane(command));
        lane.or_else(|| self.halted_lanes.get(&command.channel)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests;
