//! The entries of a sub-folder that wait to be published, for the task that publishes them.

use std::io;
use std::sync::Arc;

use crate::entry::Entry;
use crate::folder::Folder;

/// The entries of one sub-folder, in the order of writing. Dropping it gives an adopted sub-folder up.
#[derive(Debug)]
pub struct Backlog {
    folder: Arc<Folder>,
}

/// An entry that was read, and remains until it is acknowledged.
#[derive(Debug)]
pub struct Item {
    /// Identifies it in its sub-folder; rises in the order of writing.
    pub sequence: u64,
    /// What was stored.
    pub entry: Entry,
}

impl Backlog {
    pub(crate) fn new(folder: Arc<Folder>) -> Self {
        Self { folder }
    }

    /// Number of the sub-folder.
    pub fn folder(&self) -> u32 {
        self.folder.number
    }

    /// Reads entries that were not read yet, at most `entries_max` and about `bytes_max` bytes, but at least one. It is empty
    /// when all were read. It blocks. There must be only one reader.
    ///
    /// # Errors
    /// If a segment cannot be opened. Parts that cannot be read are kept aside.
    pub fn read(&self, entries_max: usize, bytes_max: usize) -> io::Result<Vec<Item>> {
        let entries = self.folder.read(entries_max, bytes_max)?;
        Ok(entries.into_iter().map(|read| Item { sequence: read.sequence, entry: read.entry }).collect())
    }

    /// Acknowledges an entry. It is removed by a later [`tidy`](Self::tidy).
    pub fn acknowledge(&self, sequence: u64) {
        self.folder.acknowledge(sequence);
    }

    /// Keeps an entry aside that can never be published, and acknowledges it. It blocks.
    ///
    /// # Errors
    /// If it cannot be written there. Then it remains.
    pub fn set_aside(&self, item: &Item) -> io::Result<()> {
        self.folder.set_aside(item.sequence, &item.entry)
    }

    /// Removes what is acknowledged, in whole segments. It blocks.
    pub fn tidy(&self) {
        self.folder.tidy();
    }

    /// Whether every entry is acknowledged.
    pub fn is_drained(&self) -> bool {
        self.folder.state().is_drained()
    }

    /// Whether every segment is removed. Until then an adopted sub-folder must be kept: the process that takes it next would read its
    /// entries again.
    pub fn is_removed(&self) -> bool {
        let state = self.folder.state();
        state.segments.is_empty() && state.remaining.is_empty()
    }

    /// Waits until an entry was written after the last call.
    pub async fn written(&self) {
        self.folder.appended.notified().await;
    }

    /// Entries that are not acknowledged.
    pub fn entries(&self) -> u64 {
        self.folder.state().entries
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.folder.state().bytes
    }

    /// When the oldest of them arrived, in milliseconds since 1970.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.folder.state().oldest_ms()
    }
}
