//! The state of a folder, for tools. Nothing is changed, and no sub-folder is taken.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::folder::path_of;
use crate::{position, segment, shared};

/// Format of a sub-folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// That of this version.
    Known,
    /// Another one, with its text. Its entries are not counted.
    Unknown(u32),
}

/// State of a sub-folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderState {
    /// Its number, which is its name.
    pub number: u32,
    /// Whether a process has it.
    pub has_owner: bool,
    /// Its format.
    pub format: Format,
    /// Entries that are not known to be acknowledged.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest of them arrived, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
    /// Number of files that are kept aside.
    pub aside_files: u64,
    /// Their bytes.
    pub aside_bytes: u64,
}

/// Reads the state of every sub-folder, by number. What changes while it is read may be counted or not.
///
/// # Errors
/// If the folder cannot be listed.
pub fn inspect(folder: &Path) -> io::Result<Vec<FolderState>> {
    let numbers = shared::numbers(folder)?;
    Ok(numbers.into_iter().map(|number| inspect_one(&path_of(folder, number), number)).collect())
}

fn inspect_one(path: &Path, number: u32) -> FolderState {
    let (aside_files, aside_bytes) = segment::aside_of(path);
    let mut state = FolderState {
        number,
        has_owner: has_owner(path),
        format: Format::Known,
        entries: 0,
        bytes: 0,
        oldest_ms: None,
        aside_files,
        aside_bytes,
    };
    if let Err(version) = shared::is_readable(path) {
        state.format = Format::Unknown(version);
        return state;
    }
    let position = position::read(path);
    for name in segment::list(path).unwrap_or_default() {
        let Ok(file) = File::open(name.path(path)) else { continue };
        let Ok(scan) = segment::scan(&file, name.marker, position) else { continue };
        state.entries += scan.entries;
        state.bytes += scan.bytes;
        state.oldest_ms = state.oldest_ms.or(scan.oldest_ms);
    }
    state
}

/// A shared lock is taken and released immediately: it is refused while a process has the sub-folder.
fn has_owner(path: &Path) -> bool {
    File::open(path.join(shared::LOCK)).is_ok_and(|file| file.try_lock_shared().is_err())
}
