//! The thread that writes: it takes a sub-folder, gathers what waits, and makes one fsync for all of it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::entry::Entry;
use crate::folder::{AppendError, Folder};
use crate::limits::{BATCH_BYTES, RETRY_PAUSE, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENTS_MIN};
use crate::observer::{FaultKind, Observer};
use crate::shared::SharedFolder;
use crate::writer_state::{StoreError, Synced, WriterState};

/// An entry that waits to be written.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) entry: Entry,
    /// Bytes of its record.
    pub(crate) bytes: u64,
    pub(crate) done: oneshot::Sender<Result<Synced, StoreError>>,
}

/// The thread.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) shared: SharedFolder,
    pub(crate) state: Arc<WriterState>,
    pub(crate) jobs: Receiver<Job>,
}

/// Nothing is taken any more when the thread ends.
struct End(Arc<WriterState>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.set_usable(false);
    }
}

/// What waits for one fsync.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    waiting: Vec<oneshot::Sender<Result<Synced, StoreError>>>,
    bytes: u64,
}

impl Batch {
    fn add(&mut self, job: Job) {
        self.bytes += job.bytes;
        self.entries.push(job.entry);
        self.waiting.push(job.done);
    }

    fn fail(self, error: StoreError) {
        for waiting in self.waiting {
            let _ = waiting.send(Err(error));
        }
    }
}

impl Writer {
    /// Runs until every handle of the spool is dropped.
    pub(crate) fn run(self) {
        // Also after a panic.
        let _end = End(Arc::clone(&self.state));
        let segment_bytes = (self.state.max_bytes / SEGMENTS_MIN).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let Some(folder) = self.claim() else { return };
        while let Some(batch) = self.next_batch(&folder, segment_bytes) {
            self.write(&folder, batch, segment_bytes);
        }
    }

    fn observer(&self) -> &dyn Observer {
        &*self.shared.observer
    }

    /// Takes a sub-folder, also if that takes long. `None` if the spool ends before.
    fn claim(&self) -> Option<Arc<Folder>> {
        loop {
            match self.shared.claim() {
                Ok(folder) => {
                    let folder = Arc::new(folder);
                    self.state.take(&folder);
                    return Some(folder);
                }
                Err(error) => self.observer().fault(FaultKind::Open, &error),
            }
            let until = Instant::now() + RETRY_PAUSE;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                match self.jobs.recv_timeout(left) {
                    Ok(job) => self.refuse(job),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
        }
    }

    fn refuse(&self, job: Job) {
        let _ = job.done.send(Err(StoreError::Disk));
        self.state.release(job.bytes);
    }

    /// Waits for entries and takes all that wait. While the disk fails, a new segment is tried every second.
    fn next_batch(&self, folder: &Folder, segment_bytes: u64) -> Option<Batch> {
        let first = loop {
            if self.state.is_usable() {
                break self.jobs.recv().ok()?;
            }
            match self.jobs.recv_timeout(RETRY_PAUSE) {
                Ok(job) => self.refuse(job),
                Err(RecvTimeoutError::Timeout) => self.try_again(folder, segment_bytes),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        };
        let mut batch = Batch::default();
        batch.add(first);
        while batch.bytes < BATCH_BYTES {
            match self.jobs.try_recv() {
                Ok(job) => batch.add(job),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        Some(batch)
    }

    fn try_again(&self, folder: &Folder, segment_bytes: u64) {
        match folder.probe(segment_bytes) {
            Ok(()) => self.state.set_usable(true),
            Err(AppendError { kind, error }) => self.observer().fault(kind, &error),
        }
    }

    fn write(&self, folder: &Folder, batch: Batch, segment_bytes: u64) {
        let began = Instant::now();
        let outcome = folder.append(&batch.entries, segment_bytes);
        // Before the answers: a task that stores again must not find its own entry counted twice.
        self.state.release(batch.bytes);
        match outcome {
            Ok(first) => {
                self.observer().synced(batch.entries.len(), began.elapsed());
                for (waiting, sequence) in batch.waiting.into_iter().zip(first..) {
                    // A task that does not wait any more may store it again, under the same id.
                    let _ = waiting.send(Ok(Synced::new(sequence)));
                }
            }
            Err(AppendError { kind, error }) => {
                self.state.set_usable(false);
                self.observer().fault(kind, &error);
                batch.fail(StoreError::Disk);
            }
        }
    }
}
