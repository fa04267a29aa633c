//! The state of a running erasure on the disk, so that it goes on after a restart. The file has the keyed hash of the number and no
//! number, and is removed when the erasure is over.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::erasure::state::ErasureAnswer;

/// Name of the file in the folder of the timeline.
const FILE: &str = "erasure.json";
/// Name of the file while it is written.
const PARTIAL: &str = "erasure.json.partial";

/// A message that only its place is known of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Letter {
    /// Its sequence in DEADLETTERS.
    pub(super) sequence: u64,
    /// When it was stored.
    pub(super) stored_at: Timestamp,
    /// The webhook that it was made from.
    pub(super) webhook: Option<u64>,
}

/// What is needed to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// What was answered last.
    pub(super) answer: ErasureAnswer,
    /// The hash of the number, in hexadecimal digits.
    pub(super) recipient: String,
    /// Rows of the customer that were stored before this time are erased; `None` if nothing is erased yet and the dead letters are not
    /// searched, for which the number is needed.
    pub(super) before: Option<Timestamp>,
    /// Dead letters in which the number was found.
    pub(super) letters: Vec<Letter>,
    /// The entry of the audit log.
    pub(super) role: String,
    /// The address from which it was asked for.
    pub(super) address: String,
    /// Why, in the words of who asked.
    pub(super) reason: String,
}

/// Reads the state; `None` if no erasure is running.
pub(super) fn read(folder: &Path) -> io::Result<Option<Kept>> {
    let bytes = match fs::read(folder.join(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other)
}

/// Writes the state. It is on the disk when this returns.
pub(super) fn write(folder: &Path, kept: &Kept) -> io::Result<()> {
    let bytes = serde_json::to_vec(kept).map_err(io::Error::other)?;
    let partial = folder.join(PARTIAL);
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&partial, folder.join(FILE))?;
    File::open(folder)?.sync_all()
}

/// Removes the state of an erasure that is over.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
