//! Where a replica is with a command. A value is a place at which a process may be slow, be suspended or die.

use sender::protocol::Writer;

use crate::command::Verdict;
use crate::entry::{Entry, Written};
use crate::time::Ticks;

/// Most queries of the message log that may be pending for a command.
pub(crate) const QUERIES_MAX: usize = 2;

/// A command in a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Job {
    /// The replica does not have it.
    #[default]
    Idle,
    /// The ledger entry is to be read.
    Read,
    /// An attempt is to begin.
    Attempt { known: Option<Entry> },
    /// The intent is to be written.
    Intend { known: Option<Entry> },
    /// An entry is to be written.
    Write(Write),
    /// The acknowledgement of a write did not come, or it was a conflict: the entry is to be read back.
    ReadBack { write: Write, is_conflict: bool },
    /// The last check before the call.
    Check { known: Entry },
    /// The connection of the call is opened; then the request is written.
    Call { known: Entry },
    /// The request is written.
    InCall { known: Entry },
    /// The message log is to be queried.
    LookUp { known: Entry, queries: Queries },
    /// The last query before the message is sent again.
    LastQuery { known: Entry, wait: Ticks, has_responded: bool },
    /// The outcome is to be written.
    Decide { known: Option<Entry>, verdict: Verdict },
    /// The result is to be stored.
    Publish { verdict: Verdict },
    /// Its id was used before: a dead letter and a result are to be stored.
    IdConflict,
    /// The command is to be acknowledged.
    Acknowledge,
}

/// A write of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Write {
    /// The replica that writes.
    pub(crate) by: u8,
    /// The last known revision.
    pub(crate) expected: u8,
    pub(crate) record: Written,
    /// Who may make the write.
    pub(crate) writer: Writer,
    pub(crate) then: Then,
}

/// What follows a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Then {
    /// The check before the call.
    Check,
    /// Another attempt.
    Attempt,
    /// The result is stored.
    Publish,
}

/// The queries of the message log that are still to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Queries {
    /// Ticks until each.
    pub(crate) waits: [Ticks; QUERIES_MAX],
    /// Their number.
    pub(crate) count: u8,
    /// Whether one was answered.
    pub(crate) has_responded: bool,
}

impl Job {
    /// Calls `change` for the record of every entry that the job knows or writes.
    pub(crate) fn for_each_record(&mut self, mut change: impl FnMut(&mut Written)) {
        match self {
            Self::Attempt { known } | Self::Intend { known } | Self::Decide { known, .. } => {
                known.iter_mut().for_each(|entry| change(&mut entry.record));
            }
            Self::Write(write) | Self::ReadBack { write, .. } => change(&mut write.record),
            Self::Check { known }
            | Self::Call { known }
            | Self::InCall { known }
            | Self::LookUp { known, .. }
            | Self::LastQuery { known, .. } => change(&mut known.record),
            Self::Idle | Self::Read | Self::Publish { .. } | Self::IdConflict | Self::Acknowledge => {}
        }
    }

    /// Calls `change` for every revision that the job knows.
    pub(crate) fn for_each_revision(&mut self, mut change: impl FnMut(&mut u8)) {
        match self {
            Self::Attempt { known } | Self::Intend { known } | Self::Decide { known, .. } => {
                known.iter_mut().for_each(|entry| change(&mut entry.revision));
            }
            Self::Write(write) | Self::ReadBack { write, .. } => change(&mut write.expected),
            Self::Check { known }
            | Self::Call { known }
            | Self::InCall { known }
            | Self::LookUp { known, .. }
            | Self::LastQuery { known, .. } => change(&mut known.revision),
            Self::Idle | Self::Read | Self::Publish { .. } | Self::IdConflict | Self::Acknowledge => {}
        }
    }

    /// Lets a tick pass.
    pub(crate) fn tick(&mut self) {
        self.for_each_record(Written::age);
        match self {
            Self::LookUp { queries, .. } => {
                for wait in &mut queries.waits {
                    *wait = wait.saturating_sub(1);
                }
            }
            Self::LastQuery { wait, .. } => *wait = wait.saturating_sub(1),
            _ => {}
        }
    }

    /// Whether a closed lane gives the command back here.
    pub(crate) fn may_be_released(&self) -> bool {
        match self {
            Self::Read
            | Self::Attempt { .. }
            | Self::LookUp { .. }
            | Self::LastQuery { .. }
            | Self::Publish { .. }
            | Self::IdConflict => true,
            // The response of the BSP is written for a while longer: only this process has it.
            Self::ReadBack { write, .. } => write.writer == Writer::Owner,
            _ => false,
        }
    }
}
