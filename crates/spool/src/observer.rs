//! What happens in the spool, for the log and the metrics of the program.

use std::fmt::Debug;
use std::io;
use std::time::Duration;

/// What has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// No sub-folder could be taken, or no segment created.
    Open,
    /// An entry could not be written.
    Write,
    /// An fsync failed.
    Sync,
    /// A segment could not be read.
    Read,
    /// A segment or another file could not be removed or replaced.
    Remove,
    /// A sub-folder has the format of another version.
    Format,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Open, Self::Write, Self::Sync, Self::Read, Self::Remove, Self::Format];

    /// A short name for a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Read => "read",
            Self::Remove => "remove",
            Self::Format => "format",
        }
    }
}

/// Why a record is kept aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsideReason {
    /// Its bytes are damaged, or of an unknown version.
    Unreadable,
    /// The bus can never store it.
    Unpublishable,
}

impl AsideReason {
    /// Every reason.
    pub const ALL: [Self; 2] = [Self::Unreadable, Self::Unpublishable];

    /// A short name for a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Unpublishable => "unpublishable",
        }
    }
}

/// Receives what happens. It is called from the writing thread and from readers, and must not block.
pub trait Observer: Send + Sync + Debug {
    /// Entries were written and fsynced, together, in that time.
    fn synced(&self, entries: usize, took: Duration);

    /// Something has failed. The spool tries again by itself.
    fn fault(&self, kind: FaultKind, error: &io::Error);

    /// A record, or a range of damaged bytes, of a sub-folder is in its `aside`.
    fn set_aside(&self, reason: AsideReason, folder: u32, bytes: u64);
}
