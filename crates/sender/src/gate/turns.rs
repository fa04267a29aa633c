//! Whose command the next probe is made for. Pure.
//!
//! New commands, which the loop of the lane starts, and commands that were refused and wait in line take turns; of those in
//! line, the one whose last call lies longest back is next. So a command that is refused for a reason of its own cannot keep
//! the lane paused while there is another one. One recipient has one command under way, so these are different recipients'.

use std::collections::BTreeSet;

use tokio::time::Instant;

/// The place of a waiting command: the one whose last call lies longest back comes first, and before it those without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// When its last call in this process was made.
    pub(crate) last_call: Option<Instant>,
    /// Its place in the stream.
    pub(crate) sequence: u64,
}

/// Who asks for leave.
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
    /// Whether the loop has a command that it was refused leave for.
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

    /// Commands in line.
    pub(crate) fn waiters(&self) -> u32 {
        u32::try_from(self.line.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn wants(&mut self, who: Who) {
        self.does_loop_want |= who == Who::Loop;
    }

    pub(crate) fn loop_rests(&mut self) {
        self.does_loop_want = false;
    }

    /// Whether the next probe is theirs.
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
