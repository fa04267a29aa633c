//! The life of a message: its rows in the order in which things happened, and what is missing in it.
//!
//! [`collect`] finds the rows that belong to an id, [`assemble`] puts them together. Which rows must follow which is left to
//! [`crate::rules`], how it is shown to [`crate::http`] and to the command line.

mod source;
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
pub use crate::life::missing::missing;
pub use crate::life::order::{clock_difference, order, time_of};
pub use crate::life::search::{Collected, FIRST_ROWS_MAX, ROWS_MAX, collect};
use crate::progress::Progress;
use crate::row::Row;
use crate::rules::{RuleName, RuleSettings};

/// What is known at the time of an answer besides rows.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The time of the answer.
    pub now: Timestamp,
    /// How far each stream was read.
    pub progress: Progress,
    /// Ack floors of the durables. They are asked for before `progress` is taken, so that the events of a webhook below the floor
    /// are among the messages that `progress` counts.
    pub floors: Floors,
    /// Why the lanes that send nothing do so, by channel and queue (`sales` and `bulk-sales`), in words for people. The reason of
    /// a channel holds for both of its queues unless `bulk-…` has another one.
    pub halted_lanes: HashMap<String, String>,
    /// Times of the rules that differ between channels.
    pub rules: RuleSettings,
}

/// The stream sequences up to which readers have acknowledged everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Floors {
    /// Of the normalizer in WEBHOOKS; `None` while it is not known.
    pub normalizer: Option<u64>,
    /// Of the back end's durable in EVENTS; `None` while it is not known.
    pub aicc: Option<u64>,
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
