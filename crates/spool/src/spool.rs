//! The spool as a program uses it: storing, and asking for its state. No call of a task blocks on the disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::{io, thread};

use tokio::sync::oneshot;

use crate::backlog::Backlog;
use crate::entry::Entry;
use crate::limits::ENTRY_BYTES_MAX;
use crate::observer::Observer;
use crate::record;
use crate::shared::SharedFolder;
use crate::writer::{Job, Writer};
use crate::writer_state::{StoreError, Synced, WriterState};

/// How a spool is opened.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// The folder, which other processes may share. It is created if it does not exist.
    pub folder: PathBuf,
    /// Most bytes of this process's sub-folder on the disk.
    pub max_bytes: u64,
}

/// The state of a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpoolState {
    /// Entries that are not acknowledged.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest of them arrived, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
    /// Bytes of the sub-folder on the disk.
    pub size_bytes: u64,
    /// The limit of these.
    pub max_bytes: u64,
    /// Whether the disk works.
    pub is_usable: bool,
}

/// A spool. Clones share it. When the last is dropped, the writing thread ends.
#[derive(Debug, Clone)]
pub struct Spool {
    state: Arc<WriterState>,
    shared: SharedFolder,
    jobs: Sender<Job>,
}

impl Spool {
    /// Starts the writing thread and returns immediately. It takes the first sub-folder that is free; while the disk does
    /// not permit that, every entry is refused, and it tries again every second.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(options: SpoolOptions, observer: Arc<dyn Observer>) -> io::Result<Self> {
        let SpoolOptions { folder, max_bytes } = options;
        let state = Arc::new(WriterState::new(max_bytes));
        let shared = SharedFolder { path: folder, observer };
        let (jobs, receiver) = mpsc::channel();
        let writer = Writer { shared: shared.clone(), state: Arc::clone(&state), jobs: receiver };
        thread::Builder::new().name("spool".to_owned()).spawn(move || writer.run())?;
        Ok(Self { state, shared, jobs })
    }

    /// Stores an entry, and returns when it is on the disk. If the future is dropped, the entry may be stored or not.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn store(&self, entry: Entry) -> Result<Synced, StoreError> {
        let bytes = record::length_of(&entry).ok_or(StoreError::TooLarge)? as u64;
        self.state.reserve(bytes)?;
        let (done, answer) = oneshot::channel();
        if self.jobs.send(Job { entry, bytes, done }).is_err() {
            self.state.release(bytes);
            return Err(StoreError::Disk);
        }
        // Without an answer the thread has ended.
        answer.await.unwrap_or(Err(StoreError::Disk))
    }

    /// Whether an entry of the largest size would be taken now.
    pub fn has_room(&self) -> bool {
        self.state.has_room(ENTRY_BYTES_MAX as u64)
    }

    /// The state of this process's sub-folder. It takes a lock, which is held for a short time only.
    pub fn state(&self) -> SpoolState {
        let max_bytes = self.state.max_bytes;
        let Some(folder) = self.state.folder() else {
            return SpoolState { max_bytes, ..SpoolState::default() };
        };
        let size_bytes = folder.disk_bytes();
        let state = folder.state();
        SpoolState {
            entries: state.entries,
            bytes: state.bytes,
            oldest_ms: state.oldest_ms(),
            size_bytes,
            max_bytes,
            is_usable: self.state.is_usable(),
        }
    }

    /// Waits until a sub-folder is taken, and returns its entries. There must be only one reader.
    pub async fn backlog(&self) -> Backlog {
        Backlog::new(self.state.taken().await)
    }

    /// Takes the sub-folders of processes that have ended, if they have entries. It blocks.
    pub fn adopt(&self) -> Vec<Backlog> {
        self.shared.adopt().into_iter().map(|folder| Backlog::new(Arc::new(folder))).collect()
    }
}
