//! Which command the next probe is made for. Pure.
//!
//! New commands, which the loop of the lane starts, take turns with refused commands, which wait in line. Of those in
//! line, the one with the oldest last call is next. So a command that is refused for a reason that concerns it alone
//! cannot keep the lane paused while there is another one. A recipient has one command in progress, so the commands in
//! line have different recipients.

use std::collections::BTreeSet;

use tokio::time::Instant;

/// Order in the line: commands without a call come first, then the one with the oldest last call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// When this process made the last call for the command.
    pub(crate) last_call: Option<Instant>,
    /// Its sequence in the stream.
    pub(crate) sequence: u64,
}

/// Who requests a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The loop of the lane, for a new command.
    Loop,
    /// A command that waits by itself.
    Waiter(Place),
}

#[derive(Debug, Default)]
pub(crate) struct Turns {
    line: BTreeSet<Place>,
    /// Whether the loop has a command that did not get a permit.
    does_loop_want: bool,
    was_loops: bool,
}

impl Turns {
    pub(crate) fn enter(&mut self, place: Place) {
        self.line.insert(place);
    }

    pub(crate) fn leave(&mut self, place: Place) {
        self.line.remove(&place);
    }

    /// Number of commands in line.
    pub(crate) fn waiters(&self) -> u32 {
        u32::try_from(self.line.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn wants(&mut self, who: Who) {
        self.does_loop_want |= who == Who::Loop;
    }

    pub(crate) fn loop_rests(&mut self) {
        self.does_loop_want = false;
    }

    /// Whether the next probe is for this one.
    pub(crate) fn is_next(&self, who: Who) -> bool {
        match who {
            Who::Loop => self.line.is_empty() || !self.was_loops,
            Who::Waiter(place) => {
                self.line.first() == Some(&place) && (self.was_loops || !self.does_loop_want)
            }
        }
    }

    pub(crate) fn taken(&mut self, who: Who) {
        self.was_loops = who == Who::Loop;
    }
}
