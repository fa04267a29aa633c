//! A sub-folder that this process has locked: appending, reading, acknowledging and removing.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::entry::Entry;
use crate::observer::{AsideReason, FaultKind, Observer};
use crate::record::{self, Found, HEAD_BYTES, Head, Marker};
use crate::segment::{self, ASIDE, Chunk, SegmentName};
use crate::state::{OpenSegment, Reading, Segment, State, Written};
use crate::{position, recovery};

/// Bytes that are written to check whether the disk works.
const PROBE_BYTES: usize = 4096;

/// A locked sub-folder. The lock is released when it is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) number: u32,
    path: PathBuf,
    _lock: File,
    observer: Arc<dyn Observer>,
    state: Mutex<State>,
    /// Bytes of segments and of `aside`.
    disk_bytes: AtomicU64,
    /// Something was appended.
    pub(crate) appended: Notify,
}

/// An error of an append, and what has failed.
#[derive(Debug)]
pub(crate) struct AppendError {
    pub(crate) kind: FaultKind,
    pub(crate) error: io::Error,
}

/// An entry that was read.
#[derive(Debug)]
pub(crate) struct ReadEntry {
    pub(crate) sequence: u64,
    pub(crate) entry: Entry,
}

/// The entries of one reading, and what it may still take.
struct ReadEntries {
    entries: Vec<ReadEntry>,
    entries_max: usize,
    bytes_left: usize,
}

impl ReadEntries {
    fn takes_more(&self) -> bool {
        self.entries.is_empty() || (self.entries.len() < self.entries_max && self.bytes_left > 0)
    }
}

/// A part of a segment to read.
struct Part {
    name: SegmentName,
    from: u64,
    /// End of the segment.
    end: u64,
}

impl Folder {
    /// Reads a sub-folder whose lock this process has.
    pub(crate) fn open(
        number: u32,
        path: PathBuf,
        lock: File,
        observer: Arc<dyn Observer>,
    ) -> io::Result<Self> {
        let recovered = recovery::read(&path)?;
        for error in &recovered.errors {
            observer.fault(FaultKind::Read, error);
        }
        let (_, aside_bytes) = segment::aside_of(&path);
        let disk_bytes = AtomicU64::new(recovered.disk_bytes + aside_bytes);
        let state = Mutex::new(recovered.state);
        Ok(Self { number, path, _lock: lock, observer, state, disk_bytes, appended: Notify::new() })
    }

    /// The state, for questions that need no disk.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of its files.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.disk_bytes.load(Ordering::Relaxed)
    }

    /// Makes sure that there is a segment to write to, below `segment_bytes`.
    pub(crate) fn prepare(&self, segment_bytes: u64) -> io::Result<()> {
        let number = {
            let mut state = self.state();
            if state.open.as_ref().is_some_and(|open| open.length < segment_bytes) {
                return Ok(());
            }
            state.close();
            state.next_number += 1;
            state.next_number - 1
        };
        let name = SegmentName::new(number)?;
        let file = segment::create_new_file(&name.path(&self.path))?;
        // The name must be as durable as what is written.
        File::open(&self.path)?.sync_all()?;
        let mut state = self.state();
        state.segments.push_back(Segment {
            name,
            length: 0,
            last: None,
            oldest_ms: None,
            unread: 0,
            unread_bytes: 0,
            is_open: true,
            is_kept: false,
        });
        state.open = Some(OpenSegment { name, file, length: 0 });
        Ok(())
    }

    /// Checks whether the disk works again: zeros are written behind what is in the segment, fsynced and cut off.
    pub(crate) fn probe(&self, segment_bytes: u64) -> Result<(), AppendError> {
        let open = self.take_open(segment_bytes)?.0;
        let outcome = write(&open, &[0; PROBE_BYTES]);
        let mut state = self.state();
        if let Err(error) = outcome {
            state.close();
            return Err(error);
        }
        match open.file.set_len(open.length) {
            Ok(()) => state.open = Some(open),
            Err(_) => state.close(),
        }
        Ok(())
    }

    /// Takes the segment that is written, and the next sequence.
    fn take_open(&self, segment_bytes: u64) -> Result<(OpenSegment, u64), AppendError> {
        loop {
            self.prepare(segment_bytes).map_err(|error| AppendError { kind: FaultKind::Open, error })?;
            let mut state = self.state();
            // Another task may have closed it in between, because all of it was drained.
            if let Some(open) = state.open.take() {
                return Ok((open, state.next_sequence));
            }
        }
    }

    /// Appends entries and makes them durable, all or none. Returns the sequence of the first. After an error the segment
    /// is not written again.
    pub(crate) fn append(&self, entries: &[Entry], segment_bytes: u64) -> Result<u64, AppendError> {
        let (mut open, sequence) = self.take_open(segment_bytes)?;
        let mut bytes = Vec::new();
        for (entry, sequence) in entries.iter().zip(sequence..) {
            record::append(&mut bytes, open.name.marker, sequence, entry);
        }
        let outcome = write(&open, &bytes);
        let mut state = self.state();
        if let Err(error) = outcome {
            // Parts of it may be on the disk, so that its sequences are not used again.
            state.next_sequence += entries.len() as u64;
            let _ = open.file.set_len(open.length);
            state.close();
            return Err(error);
        }
        let written = Written {
            sequence,
            entries: entries.len() as u64,
            arrived_ms: entries.first().map_or(0, |entry| entry.arrived_ms),
            begin: open.length,
            end: open.length + bytes.len() as u64,
        };
        open.length = written.end;
        state.appended(&written);
        state.open = Some(open);
        drop(state);
        self.disk_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.appended.notify_one();
        Ok(sequence)
    }

    /// Reads entries in the order of writing, up to these limits but at least one. None means that everything was read.
    /// What cannot be read is kept aside. There must be only one reader.
    pub(crate) fn read(&self, entries_max: usize, bytes_max: usize) -> io::Result<Vec<ReadEntry>> {
        let mut read = ReadEntries { entries: Vec::new(), entries_max, bytes_left: bytes_max };
        while read.entries.is_empty() {
            let Some(part) = self.next_part() else { break };
            let file = match File::open(part.name.path(&self.path)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Someone has removed it. The others can still be read.
                    self.observer.fault(FaultKind::Read, &error);
                    self.state().cursor.offset = part.end;
                    continue;
                }
                opened => opened?,
            };
            let chunk = segment::read(&file, part.from, part.end);
            if let Some(error) = &chunk.error {
                self.observer.fault(FaultKind::Read, error);
                self.keep_segment();
            }
            self.read_chunk(&part, &chunk, &mut read);
        }
        Ok(read.entries)
    }

    fn next_part(&self) -> Option<Part> {
        let mut state = self.state();
        let (name, end) = state.next_to_read().map(|segment| (segment.name, segment.length))?;
        Some(Part { name, from: state.cursor.offset, end })
    }

    /// Reads the records of a chunk, and moves the cursor behind them.
    fn read_chunk(&self, part: &Part, chunk: &Chunk, read: &mut ReadEntries) {
        let bytes = &chunk.bytes[..];
        let reaches_end = part.from + bytes.len() as u64 >= part.end;
        let mut at = 0;
        while at < bytes.len() && read.takes_more() {
            let rest = &bytes[at..];
            at += match record::next(rest, part.name.marker) {
                Found::Record(head, payload) => {
                    self.read_record(part, at, &rest[..head.total()], payload, read);
                    head.total()
                }
                Found::Damaged(head) => {
                    self.damaged(part, at, &rest[..head.total()], Some(head.sequence));
                    head.total()
                }
                // A crash may leave zeros behind what was fsynced.
                Found::Unknown(size) if chunk.error.is_none() && reaches_end && is_zero(rest) => size,
                Found::Unknown(size) => {
                    // What is shorter than a head at the end belongs to it.
                    let is_last = reaches_end && rest.len() - size < HEAD_BYTES;
                    let size = if is_last { rest.len() } else { size };
                    self.damaged(part, at, &rest[..size], None);
                    size
                }
                // A record that was cut off by a crash was not acknowledged to anyone.
                Found::Incomplete if reaches_end => rest.len(),
                Found::Incomplete => break,
            }
        }
        self.state().cursor.offset = part.from + at as u64;
    }

    fn read_record(
        &self,
        part: &Part,
        at: usize,
        record: &[u8],
        payload: Range<usize>,
        read: &mut ReadEntries,
    ) {
        let Some(head) = Head::parse(record, part.name.marker) else { return };
        let (sequence, bytes) = (head.sequence, record.len() as u64);
        // A copy, so that an entry that waits for long does not keep the whole chunk.
        let Some(entry) = Entry::decode(Bytes::copy_from_slice(&record[payload]), head.arrived_ms) else {
            return self.damaged(part, at, record, Some(sequence));
        };
        let mut state = self.state();
        if state.pass(sequence, bytes) {
            return;
        }
        state.reading.insert(sequence, Reading { arrived_ms: head.arrived_ms, bytes });
        read.bytes_left = read.bytes_left.saturating_sub(record.len());
        read.entries.push(ReadEntry { sequence, entry });
    }

    /// Keeps damaged bytes aside. If that fails, the whole segment is kept.
    fn damaged(&self, part: &Part, at: usize, bytes: &[u8], sequence: Option<u64>) {
        let size = bytes.len() as u64;
        if let Some(sequence) = sequence {
            let mut state = self.state();
            if state.pass(sequence, size) {
                return;
            }
            state.done(size);
        }
        let name = format!("{:016x}-{:08x}.damaged", part.name.number, part.from + at as u64);
        if let Err(error) = self.write_aside(&name, bytes) {
            self.observer.fault(FaultKind::Write, &error);
            self.keep_segment();
        }
        self.observer.set_aside(AsideReason::Unreadable, self.number, size);
    }

    /// Has the segment that is being read moved to `aside` instead of being removed.
    fn keep_segment(&self) {
        if let Some(segment) = self.state().next_to_read() {
            segment.is_kept = true;
        }
    }

    fn write_aside(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let folder = self.path.join(ASIDE);
        segment::create_folder(&folder)?;
        let mut file = segment::create_file(&folder.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.disk_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Acknowledges an entry that was read.
    pub(crate) fn acknowledge(&self, sequence: u64) {
        let mut state = self.state();
        if let Some(reading) = state.reading.remove(&sequence) {
            state.done(reading.bytes);
        }
    }

    /// Keeps an entry aside that can never be published, as a record with the marker 0, and acknowledges it.
    pub(crate) fn set_aside(&self, sequence: u64, entry: &Entry) -> io::Result<()> {
        let mut bytes = Vec::new();
        record::append(&mut bytes, Marker(0), sequence, entry);
        self.write_aside(&format!("{sequence:016x}.unpublishable"), &bytes)?;
        self.observer.set_aside(AsideReason::Unpublishable, self.number, bytes.len() as u64);
        self.acknowledge(sequence);
        Ok(())
    }

    /// Removes what is acknowledged, in whole segments, and saves the position.
    pub(crate) fn tidy(&self) {
        let (drained, position) = {
            let mut state = self.state();
            let drained = state.take_drained();
            let position = state.position();
            (drained, (position != state.saved && !state.is_position_held).then_some(position))
        };
        for segment in drained {
            match self.remove(&segment) {
                Ok(()) if segment.is_kept => {}
                Ok(()) => {
                    self.disk_bytes.fetch_sub(segment.length, Ordering::Relaxed);
                }
                Err(error) => {
                    self.observer.fault(FaultKind::Remove, &error);
                    self.state().remaining.push(segment);
                }
            }
        }
        let Some(position) = position else { return };
        match position::write(&self.path, position) {
            Ok(()) => self.state().saved = position,
            Err(error) => self.observer.fault(FaultKind::Remove, &error),
        }
    }

    fn remove(&self, segment: &Segment) -> io::Result<()> {
        let path = segment.name.path(&self.path);
        if !segment.is_kept {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let aside = self.path.join(ASIDE);
        segment::create_folder(&aside)?;
        fs::rename(path, aside.join(segment.name.file_name()))
    }
}

/// Writes and fsyncs bytes at the end of a segment.
fn write(open: &OpenSegment, bytes: &[u8]) -> Result<(), AppendError> {
    let of = |kind| move |error| AppendError { kind, error };
    open.file.write_all_at(bytes, open.length).map_err(of(FaultKind::Write))?;
    open.file.sync_all().map_err(of(FaultKind::Sync))?;
    // A file whose name was deleted takes writes and fsyncs, and is gone at its end.
    let links = open.file.metadata().map_err(of(FaultKind::Sync))?.nlink();
    if links == 0 {
        return Err(of(FaultKind::Write)(io::Error::other("the segment was deleted")));
    }
    Ok(())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Where a sub-folder is.
pub(crate) fn path_of(shared: &Path, number: u32) -> PathBuf {
    shared.join(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Silent;

    impl Observer for Silent {
        fn synced(&self, _entries: usize, _took: std::time::Duration) {}
        fn fault(&self, _kind: FaultKind, _error: &io::Error) {}
        fn set_aside(&self, _reason: AsideReason, _folder: u32, _bytes: u64) {}
    }

    fn entry() -> Entry {
        Entry { subject: "s".into(), headers: Vec::new(), arrived_ms: 0, body: "b".into() }
    }

    /// After a failed fsync a later one of the same file may succeed although the data is lost.
    #[test]
    fn a_segment_whose_fsync_failed_is_not_written_again() {
        let path = tempfile::tempdir().unwrap();
        let lock = File::create(path.path().join("lock")).unwrap();
        let folder = Folder::open(0, path.path().to_owned(), lock, Arc::new(Silent)).unwrap();
        assert_eq!(folder.append(&[entry()], 1000).unwrap(), 1);
        // It takes every write and refuses every fsync.
        let refuses = File::options().write(true).open("/dev/null").unwrap();
        let good = folder.state().open.as_ref().unwrap().name;
        folder.state().open.as_mut().unwrap().file = refuses;
        let error = folder.append(&[entry(), entry()], 1000).unwrap_err();
        assert_eq!(error.kind, FaultKind::Sync);
        assert!(folder.state().open.is_none());
        folder.probe(1000).unwrap();
        assert_ne!(folder.state().open.as_ref().unwrap().name, good);
        // What was not durable has had sequences 2 and 3.
        assert_eq!(folder.append(&[entry()], 1000).unwrap(), 4);
        let sequences: Vec<u64> = folder
            .read(10, 1000)
            .unwrap()
            .into_iter()
            .chain(folder.read(10, 1000).unwrap())
            .map(|read| read.sequence)
            .collect();
        assert_eq!(sequences, [1, 4]);
    }
}
