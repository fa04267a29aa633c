//! What tasks and the writing thread share: whether there is room, and what the disk has answered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::folder::Folder;
use crate::limits::WAITING_BYTES_MAX;

/// Proof that an entry is written and fsynced. Only the writing thread makes one.
#[derive(Debug, Clone, Copy)]
pub struct Synced {
    sequence: u64,
}

impl Synced {
    pub(crate) fn new(sequence: u64) -> Self {
        Self { sequence }
    }

    /// Its sequence in the sub-folder.
    pub fn sequence(self) -> u64 {
        self.sequence
    }
}

/// An entry was not stored, or it is not known whether it was. Storing it again is safe if its id is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The sub-folder has reached its limit.
    #[error("the spool is full")]
    Full,
    /// The disk refuses writes, or no sub-folder could be taken.
    #[error("the disk of the spool fails")]
    Disk,
    /// Too many bytes wait for the disk.
    #[error("the disk of the spool is too slow; retry later")]
    Overloaded,
    /// The entry is larger than the spool takes.
    #[error("the entry exceeds the maximum size of the spool")]
    TooLarge,
}

impl StoreError {
    /// Every error.
    pub const ALL: [Self; 4] = [Self::Full, Self::Disk, Self::Overloaded, Self::TooLarge];

    /// A short name for a metric's label.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Disk => "disk",
            Self::Overloaded => "overloaded",
            Self::TooLarge => "too_large",
        }
    }
}

/// What tasks and the writing thread share.
#[derive(Debug)]
pub(crate) struct WriterState {
    /// Most bytes of the sub-folder on the disk.
    pub(crate) max_bytes: u64,
    is_usable: AtomicBool,
    /// Bytes of the entries that wait to be written.
    waiting_bytes: AtomicU64,
    folder: OnceLock<Arc<Folder>>,
    has_folder: watch::Sender<bool>,
}

impl WriterState {
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            is_usable: AtomicBool::new(false),
            waiting_bytes: AtomicU64::new(0),
            folder: OnceLock::new(),
            has_folder: watch::Sender::new(false),
        }
    }

    pub(crate) fn is_usable(&self) -> bool {
        self.is_usable.load(Ordering::Relaxed)
    }

    pub(crate) fn set_usable(&self, is_usable: bool) {
        self.is_usable.store(is_usable, Ordering::Relaxed);
    }

    pub(crate) fn take(&self, folder: &Arc<Folder>) {
        let _ = self.folder.set(Arc::clone(folder));
        self.set_usable(true);
        self.has_folder.send_replace(true);
    }

    /// The sub-folder, once it is taken.
    pub(crate) fn folder(&self) -> Option<&Arc<Folder>> {
        self.folder.get()
    }

    /// Waits until a sub-folder is taken.
    pub(crate) async fn taken(&self) -> Arc<Folder> {
        let _ = self.has_folder.subscribe().wait_for(|has| *has).await;
        Arc::clone(self.folder.get().expect("it is set before the flag"))
    }

    /// Whether a record of that size would be taken.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let Some(folder) = self.folder.get() else { return false };
        let used = folder.disk_bytes() + self.waiting_bytes.load(Ordering::Relaxed);
        self.is_usable() && used + bytes <= self.max_bytes
    }

    /// Reserves room for a record.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), StoreError> {
        let Some(folder) = self.folder.get().filter(|_| self.is_usable()) else {
            return Err(StoreError::Disk);
        };
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let error = if waiting > WAITING_BYTES_MAX {
            StoreError::Overloaded
        } else if folder.disk_bytes() + waiting > self.max_bytes {
            StoreError::Full
        } else {
            return Ok(());
        };
        self.release(bytes);
        Err(error)
    }

    /// Returns reserved room. What was written counts on the disk from then on.
    pub(crate) fn release(&self, bytes: u64) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
