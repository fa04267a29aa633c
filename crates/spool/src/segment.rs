//! Files of a sub-folder: their names, and reading them although the disk is bad.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::limits::CHUNK_BYTES;
use crate::record::{HEAD_BYTES, Head, Marker};

/// Folder of what could not be read.
pub(crate) const ASIDE: &str = "aside";
/// Bytes that are read at a time where the disk reports errors.
const PAGE_BYTES: usize = 4096;

/// Creates a folder that only its owner can read: what is stored contains customers' texts.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // The name must be as durable as what is written below it.
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Creates a file that only its owner can read, or empties it.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(true).write(true).mode(0o600).open(path)
}

/// Creates a file that only its owner can read. One that exists is an error.
pub(crate) fn create_new_file(path: &Path) -> io::Result<File> {
    File::options().create_new(true).write(true).mode(0o600).open(path)
}

/// The name of a segment: its number, which rises, and its marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentName {
    pub(crate) number: u64,
    pub(crate) marker: Marker,
}

impl SegmentName {
    /// A name with a new random marker.
    pub(crate) fn new(number: u64) -> io::Result<Self> {
        let mut marker = [0; 8];
        getrandom::fill(&mut marker).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { number, marker: Marker(u64::from_le_bytes(marker)) })
    }

    /// Reads the name of a file; `None` if it is no segment's.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (number, marker) = name.strip_suffix(".log")?.split_once('-')?;
        let hex = |text: &str| (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
        Some(Self { number: hex(number)?, marker: Marker(hex(marker)?) })
    }

    /// The name of the file.
    pub(crate) fn file_name(self) -> String {
        format!("{:016x}-{:016x}.log", self.number, self.marker.0)
    }

    /// The file in a sub-folder.
    pub(crate) fn path(self, folder: &Path) -> PathBuf {
        folder.join(self.file_name())
    }
}

/// The segments of a sub-folder, in the order of their numbers.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<SegmentName>> {
    let mut names = Vec::new();
    for file in fs::read_dir(folder)? {
        names.extend(file?.file_name().to_str().and_then(SegmentName::parse));
    }
    names.sort_by_key(|name| name.number);
    Ok(names)
}

/// Number and bytes of the files in `aside`.
pub(crate) fn aside_of(folder: &Path) -> (u64, u64) {
    let Ok(files) = fs::read_dir(folder.join(ASIDE)) else { return (0, 0) };
    let lengths = files.flatten().filter_map(|file| file.metadata().ok()).map(|data| data.len());
    lengths.fold((0, 0), |(files, bytes), length| (files + 1, bytes + length))
}

/// Bytes of a segment.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    /// Why parts of it are zeros: the disk did not read them.
    pub(crate) error: Option<io::Error>,
}

/// Reads a part of a segment. What the disk does not read is zeros, so that the records around it can be found.
pub(crate) fn read(file: &File, from: u64, to: u64) -> Chunk {
    let length = to.saturating_sub(from).min(CHUNK_BYTES) as usize;
    let mut bytes = vec![0; length];
    let Err(mut error) = file.read_exact_at(&mut bytes, from) else {
        return Chunk { bytes: bytes.into(), error: None };
    };
    for (page, at) in bytes.chunks_mut(PAGE_BYTES).zip((from..).step_by(PAGE_BYTES)) {
        if let Err(of_page) = file.read_exact_at(page, at) {
            page.fill(0);
            error = of_page;
        }
    }
    Chunk { bytes: bytes.into(), error: Some(error) }
}

/// The records of a segment, as far as their heads show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Scan {
    /// Bytes of the file.
    pub(crate) length: u64,
    /// Entries that are not acknowledged.
    pub(crate) entries: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// When the first of them arrived.
    pub(crate) oldest_ms: Option<i64>,
    /// The highest sequence of the segment, also of a record that was cut off: no sequence is used twice.
    pub(crate) last: Option<u64>,
}

/// Reads the heads of a segment. Entries below `position` are acknowledged.
pub(crate) fn scan(file: &File, marker: Marker, position: u64) -> io::Result<Scan> {
    let mut scan = Scan { length: file.metadata()?.len(), ..Scan::default() };
    let mut at = 0;
    while at + HEAD_BYTES as u64 <= scan.length {
        let mut head = [0; HEAD_BYTES];
        let read = file.read_exact_at(&mut head, at);
        let Some(head) = read.ok().and_then(|()| Head::parse(&head, marker)) else {
            at = find_head(file, marker, at + 1, scan.length);
            continue;
        };
        let end = at + head.total() as u64;
        scan.last = scan.last.max(Some(head.sequence));
        // A record that was cut off was not acknowledged to anyone.
        if end <= scan.length && head.sequence >= position {
            scan.entries += 1;
            scan.bytes += head.total() as u64;
            scan.oldest_ms = scan.oldest_ms.or(Some(head.arrived_ms));
        }
        at = end;
    }
    Ok(scan)
}

/// Position of the next head, or the end.
fn find_head(file: &File, marker: Marker, mut from: u64, end: u64) -> u64 {
    while from + HEAD_BYTES as u64 <= end {
        let chunk = read(file, from, end).bytes;
        let last = chunk.len() - HEAD_BYTES;
        if let Some(at) = (0..=last).find(|at| Head::parse(&chunk[*at..], marker).is_some()) {
            return from + at as u64;
        }
        from += last as u64 + 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_written() {
        let name = SegmentName::new(17).unwrap();
        assert_eq!(SegmentName::parse(&name.file_name()), Some(name));
        for other in ["lock", "position", "1-2.log", "0000000000000001-000000000000000g.log"] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }
}
