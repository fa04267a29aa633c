//! A replica of the sender.

use crate::command::Verdict;
use crate::entry::Entry;
use crate::job::Job;
use crate::time::Ticks;

/// Number of commands that a replica may hold.
pub(crate) const COMMANDS: usize = 2;

/// A replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Replica {
    pub(crate) jobs: [Job; COMMANDS],
    /// For each command whether an own call of it has ended. Only a mutant needs it.
    pub(crate) has_called: [bool; COMMANDS],
    pub(crate) expiry: Expiry,
    /// For each command whether it is answered instead of sent, because its customer is erased.
    pub(crate) is_erased: [bool; COMMANDS],
    /// The entry from which result and context are to be removed.
    pub(crate) blanking: Option<Entry>,
    /// Whether its machine is suspended.
    pub(crate) is_suspended: bool,
    /// Ticks for which its machine was suspended since it became idle: its monotonic clock is behind by them.
    pub(crate) suspended: Ticks,
    /// Whether it takes the lane for its own although another replica owns it.
    pub(crate) is_mistaken: bool,
}

/// The check of commands that expire in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Expiry {
    /// It does nothing.
    #[default]
    Idle,
    /// The entry of an expired command, or of one whose customer is erased, is to be written.
    Write { command: u8, verdict: Verdict },
    /// The entry with the result is written, and the result is to be stored.
    Publish { command: u8, revision: u8, verdict: Verdict },
    /// The entry is to be marked as answered.
    Mark { command: u8, revision: u8, verdict: Verdict },
}

impl Expiry {
    pub(crate) fn revision(&mut self) -> Option<&mut u8> {
        match self {
            Self::Idle | Self::Write { .. } => None,
            Self::Publish { revision, .. } | Self::Mark { revision, .. } => Some(revision),
        }
    }
}

impl Replica {
    /// Whether it does nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.expiry == Expiry::Idle
            && self.blanking.is_none()
            && self.jobs.iter().all(|job| *job == Job::Idle)
    }

    /// Drops what only matters to work in progress, when no work is in progress.
    pub(crate) fn settle(&mut self) {
        for (job, has_called) in self.jobs.iter().zip(&mut self.has_called) {
            *has_called &= *job != Job::Idle;
        }
        if self.is_idle() && !self.is_suspended {
            (self.suspended, self.is_mistaken) = (0, false);
        }
    }
}
