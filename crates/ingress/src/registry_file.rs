//! The file with the last registry, beside the spools of the processes. All of them read and write it.
//!
//! It holds digests of credentials and references to secrets, and no secret ([`channel::snapshot`]). When it is read and
//! written is left to [`crate::last_registry`].

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use channel::snapshot::{self, Snapshot, SnapshotError};

/// Its folder, in that of the spool.
const FOLDER: &str = "registry";
/// Name of the file.
const NAME: &str = "registry.json";
/// What the name of a file begins with that is being written.
const UNFINISHED: &str = "registry.json.";
/// Mode of the file: no other user reads it.
const MODE: u32 = 0o600;
/// Mode of its folder.
const FOLDER_MODE: u32 = 0o700;
/// Largest file that is read. A channel takes about 400 bytes.
const BYTES_MAX: u64 = 64 << 20;
/// Age from which an unfinished file belongs to a process that was killed.
const UNFINISHED_AGE_MAX: Duration = Duration::from_secs(60);

/// The file could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryFileError {
    /// The system cannot read it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is larger than [`BYTES_MAX`].
    #[error("it is larger than {BYTES_MAX} bytes")]
    TooLarge,
    /// It is not a registry.
    #[error(transparent)]
    Invalid(#[from] SnapshotError),
}

/// A registry that was read.
#[derive(Debug)]
pub(crate) struct LastRegistry {
    pub(crate) snapshot: Snapshot,
    /// When a process last knew that NATS has the same registry.
    pub(crate) confirmed_at: SystemTime,
}

/// The file. Its operations block.
#[derive(Debug, Clone)]
pub(crate) struct RegistryFile {
    folder: PathBuf,
}

impl RegistryFile {
    /// The file of the spool in this folder.
    pub(crate) fn new(spool: &Path) -> Self {
        Self { folder: spool.join(FOLDER) }
    }

    /// Its path.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// Reads it; `None` if it does not exist.
    ///
    /// # Errors
    /// [`RegistryFileError`] if it cannot be read.
    pub(crate) fn read(&self) -> Result<Option<LastRegistry>, RegistryFileError> {
        let Some((bytes, confirmed_at)) = self.read_bytes()? else { return Ok(None) };
        Ok(Some(LastRegistry { snapshot: snapshot::from_json(&bytes)?, confirmed_at }))
    }

    fn read_bytes(&self) -> Result<Option<(Vec<u8>, SystemTime)>, RegistryFileError> {
        let file = match File::open(self.path()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let confirmed_at = file.metadata()?.modified()?;
        let mut bytes = Vec::new();
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(RegistryFileError::TooLarge);
        }
        Ok(Some((bytes, confirmed_at)))
    }

    /// Writes a registry that NATS has now. If the file already has it, only the time of the file changes.
    ///
    /// # Errors
    /// An error of the system. Then the file is what it was before.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        if let Ok(Some((stored, _))) = self.read_bytes()
            && stored == bytes
        {
            return File::open(self.path())?.set_modified(SystemTime::now());
        }
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&self.folder)?;
        self.remove_unfinished();
        // Processes of several containers may have the same id.
        let now_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let unfinished = self.folder.join(format!("{UNFINISHED}{}-{now_ns}", std::process::id()));
        let written = self.replace(&unfinished, bytes);
        if written.is_err() {
            let _ = std::fs::remove_file(&unfinished);
        }
        written
    }

    /// A reader sees the old file or the new one, also after a crash of the machine.
    fn replace(&self, unfinished: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(unfinished, self.path())?;
        File::open(&self.folder)?.sync_all()
    }

    /// Removes what killed processes have left.
    fn remove_unfinished(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|modified| modified.elapsed().ok()).unwrap_or_default();
            if is_unfinished && age > UNFINISHED_AGE_MAX {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const EMPTY: &[u8] = br#"{"version":1,"channels":[]}"#;
    const ONE: &[u8] = br#"{"version":1,"channels":[{"version":1,"id":"c","bsp":"gupshup","tenant":"t","webhook":[],"key_fingerprint":"f","settings":null}]}"#;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn it_is_replaced_as_a_whole_and_only_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = RegistryFile::new(folder.path());
        assert!(file.read().unwrap().is_none());
        file.write(EMPTY).unwrap();
        file.write(ONE).unwrap();
        assert_eq!(file.read().unwrap().unwrap().snapshot.channels.len(), 1);
        let metadata = || std::fs::metadata(file.path()).unwrap();
        assert_eq!(metadata().permissions().mode() & 0o777, 0o600);
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata());
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        File::open(file.path()).unwrap().set_modified(long_ago).unwrap();
        file.write(ONE).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::ino(&metadata()), inode, "it is the same file");
        assert!(file.read().unwrap().unwrap().confirmed_at.elapsed().unwrap() < Duration::from_secs(60));
        assert_eq!(names(&folder.path().join(FOLDER)), [NAME]);
    }

    #[test]
    fn what_killed_processes_have_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join(FOLDER);
        std::fs::create_dir(&inside).unwrap();
        let (old, new) = (inside.join("registry.json.1-1"), inside.join("registry.json.1-2"));
        for path in [&old, &new] {
            std::fs::write(path, "half").unwrap();
        }
        File::open(&old).unwrap().set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        RegistryFile::new(folder.path()).write(EMPTY).unwrap();
        assert!(!old.exists() && new.exists(), "the newer one may be in use");
    }

    #[test]
    fn a_file_that_is_no_registry_is_an_error_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = RegistryFile::new(folder.path());
        file.write(EMPTY).unwrap();
        for bad in [&b""[..], b"{\"version\":1,\"chan", b"\0\0\0\0", &[0xff; 32]] {
            std::fs::write(file.path(), bad).unwrap();
            assert!(file.read().is_err(), "{bad:?}");
        }
        file.write(ONE).unwrap();
        assert!(file.read().unwrap().is_some());
        // Nor can it be a folder, which no write replaces.
        std::fs::remove_file(file.path()).unwrap();
        std::fs::create_dir(file.path()).unwrap();
        assert!(file.read().is_err() && file.write(ONE).is_err());
        assert_eq!(names(&folder.path().join(FOLDER)), [NAME], "an attempt leaves nothing behind");
    }
}
