//! The spool: a bounded log on the local disk, for messages that the bus cannot store now. What [`Spool::store`] has
//! acknowledged is on the disk (written and fsynced), also after a crash of the process or of the machine.
//!
//! A folder may be shared by several processes. Each has a sub-folder of its own, and drains those of processes that have
//! ended:
//!
//! | path | what it is |
//! |---|---|
//! | `0/`, `1/`, … | sub-folders; a process takes the first whose lock is free |
//! | `0/lock` | locked (flock) while a process has the sub-folder |
//! | `0/format` | version of the form on the disk. A sub-folder of another version is left alone |
//! | `0/{number}-{marker}.log` | segments: records, one after the other. A segment is deleted when all of it is acknowledged |
//! | `0/position` | sequence below which everything is acknowledged |
//! | `0/aside/` | what could not be read, as it was |
//!
//! **Writing.** One thread writes: it takes everything that waits, appends it, makes one fsync, and answers each waiting
//! task. After an error of the disk the segment is never written again, because a later fsync may succeed although data
//! is lost; the next write goes to a new segment.
//!
//! **Reading.** [`Backlog`] reads in the order of writing. What is acknowledged is removed later, in whole segments, so a
//! crash may have entries read again.
//!
//! The crate stores and returns [`Entry`]. What an entry means, who reads it, logs and metrics are left to others
//! ([`Observer`]).

mod backlog;
mod entry;
mod folder;
mod inspect;
mod limits;
mod observer;
mod position;
mod record;
mod recovery;
mod segment;
mod shared;
mod spool;
mod state;
mod writer;
mod writer_state;

pub use backlog::{Backlog, Item};
pub use entry::Entry;
pub use inspect::{FolderState, Format, inspect};
pub use limits::{BATCH_BYTES, ENTRY_BYTES_MAX, FOLDERS_MAX, SEGMENT_BYTES_MAX, WAITING_BYTES_MAX};
pub use observer::{AsideReason, FaultKind, Observer};
pub use spool::{Spool, SpoolOptions, SpoolState};
pub use writer_state::{StoreError, Synced};
