//! The folder that processes share: taking a sub-folder, and those of processes that have ended.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::folder::{Folder, path_of};
use crate::limits::FOLDERS_MAX;
use crate::observer::{FaultKind, Observer};
use crate::segment::{self, ASIDE};

/// Name of the file that is locked.
pub(crate) const LOCK: &str = "lock";
/// Name of the file with the version.
const FORMAT: &str = "format";
/// What that file contains. It says the version twice, so that a damaged byte does not make it another version's.
const FORMAT_1: &str = "imchannel spool 1\nimchannel spool 1\n";
/// The version that this program reads and writes.
const VERSION: u32 = 1;

/// The folder.
#[derive(Debug, Clone)]
pub(crate) struct SharedFolder {
    pub(crate) path: PathBuf,
    pub(crate) observer: Arc<dyn Observer>,
}

/// A sub-folder that cannot be taken.
#[derive(Debug)]
enum Refusal {
    /// Another process has it.
    Owned,
    /// It has the format of another version.
    OtherFormat(u32),
    /// The disk.
    Disk(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl SharedFolder {
    /// Takes the first sub-folder whose lock is free, and creates it if necessary.
    pub(crate) fn claim(&self) -> io::Result<Folder> {
        segment::create_folder(&self.path)?;
        let mut last = io::Error::other(format!("all {FOLDERS_MAX} sub-folders are in use"));
        for number in 0..FOLDERS_MAX {
            let is_new = !path_of(&self.path, number).exists();
            match self.take(number) {
                Ok(folder) => return Ok(folder),
                Err(Refusal::Owned) => {}
                Err(Refusal::OtherFormat(version)) => {
                    self.observer.fault(FaultKind::Format, &other_format(number, version))
                }
                Err(Refusal::Disk(error)) => {
                    last = error;
                    if is_new {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    /// Takes every other sub-folder that has entries and whose lock is free.
    pub(crate) fn adopt(&self) -> Vec<Folder> {
        let Ok(numbers) = numbers(&self.path) else { return Vec::new() };
        let mut adopted = Vec::new();
        for number in numbers {
            let path = path_of(&self.path, number);
            // An empty one stays free for the next process.
            if segment::list(&path).is_ok_and(|segments| segments.is_empty()) {
                continue;
            }
            match self.take(number) {
                Ok(folder) => adopted.push(folder),
                Err(Refusal::Disk(error)) => self.observer.fault(FaultKind::Open, &error),
                // A process says so once, when it looks for its own sub-folder.
                Err(Refusal::Owned | Refusal::OtherFormat(_)) => {}
            }
        }
        adopted
    }

    fn take(&self, number: u32) -> Result<Folder, Refusal> {
        let path = path_of(&self.path, number);
        segment::create_folder(&path)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Refusal::Owned),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        match format_of(&path)? {
            Format::Missing => write_format(&self.path, &path)?,
            Format::Version(VERSION) => {}
            Format::Version(version) => return Err(Refusal::OtherFormat(version)),
            Format::Damaged => {
                self.observer.fault(FaultKind::Format, &damaged_format(number));
                segment::create_folder(&path.join(ASIDE))?;
                fs::rename(path.join(FORMAT), path.join(ASIDE).join(FORMAT))?;
                write_format(&self.path, &path)?;
            }
        }
        Ok(Folder::open(number, path, lock, Arc::clone(&self.observer))?)
    }
}

/// The sub-folders, in order.
pub(crate) fn numbers(shared: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for file in fs::read_dir(shared)? {
        let name = file?.file_name();
        let number = name.to_str().and_then(|name| name.parse::<u32>().ok());
        // `01` and `+1` are not names of ours.
        numbers.extend(number.filter(|number| name.to_str() == Some(&number.to_string())));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// What a sub-folder's format says.
enum Format {
    /// It is new.
    Missing,
    Version(u32),
    /// It names no version. The records have markers and versions too, so they are read without it.
    Damaged,
}

/// Whether this program reads a sub-folder; otherwise its version.
pub(crate) fn is_readable(folder: &Path) -> Result<(), u32> {
    match format_of(folder) {
        Ok(Format::Version(version)) if version != VERSION => Err(version),
        _ => Ok(()),
    }
}

fn format_of(folder: &Path) -> io::Result<Format> {
    match fs::read(folder.join(FORMAT)) {
        Ok(bytes) => Ok(version_of(&bytes).map_or(Format::Damaged, Format::Version)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Format::Missing),
        Err(error) => Err(error),
    }
}

/// The version that a format names in both of its lines.
fn version_of(bytes: &[u8]) -> Option<u32> {
    let (first, second) = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.split_once('\n')?;
    let version = first.strip_prefix("imchannel spool ")?;
    (first == second).then(|| version.parse().ok()).flatten()
}

/// Writes the format of a new sub-folder, so that it is complete before anything else is written there.
fn write_format(shared: &Path, folder: &Path) -> io::Result<()> {
    let new = folder.join("format.new");
    fs::write(&new, FORMAT_1)?;
    File::open(&new)?.sync_all()?;
    fs::rename(&new, folder.join(FORMAT))?;
    File::open(folder)?.sync_all()?;
    File::open(shared)?.sync_all()
}

fn other_format(number: u32, version: u32) -> io::Error {
    io::Error::other(format!(
        "sub-folder {number} has the format {version} of another version; it is left alone"
    ))
}

fn damaged_format(number: u32) -> io::Error {
    io::Error::other(format!(
        "the file {FORMAT} of sub-folder {number} is damaged; it is kept in {ASIDE}, and a new one is written"
    ))
}
