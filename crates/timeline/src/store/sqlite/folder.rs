//! The folder of the files: which process has it, what is in it, and what is moved aside.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::store::error::{StoreError, StoreFault};
use crate::store::sqlite::day::Day;
use crate::store::sqlite::fault;

/// File that the process with the folder has locked.
const LOCK: &str = "lock";
/// File of what is expected.
const OPEN: &str = "open.sqlite";
/// File of the audit log.
const AUDIT: &str = "audit.sqlite";
/// In the name of a damaged file that was moved aside.
const ASIDE: &str = ".damaged-";
/// End of the name of a file that is being written.
const PARTIAL: &str = ".partial";
/// What SQLite adds to the name of a file for its WAL and the index of it.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// The folder of a store.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder if it is missing, and takes it for this process for as long as the returned file is open.
    pub(super) fn take(path: PathBuf) -> Result<(Self, File), StoreError> {
        make(&path).map_err(|error| fault::of_disk(error, &path))?;
        let lock = lock(&path)?;
        Ok((Self { path }, lock))
    }

    /// The file of a day.
    pub(super) fn day(&self, day: Day) -> PathBuf {
        self.path.join(day.file())
    }

    /// The filter of a day.
    pub(super) fn filter(&self, day: Day) -> PathBuf {
        self.path.join(day.filter())
    }

    /// Where the filter of a day is written before it is complete.
    pub(super) fn partial_filter(&self, day: Day) -> PathBuf {
        self.path.join(day.filter() + PARTIAL)
    }

    /// The file of what is expected.
    pub(super) fn open_file(&self) -> PathBuf {
        self.path.join(OPEN)
    }

    /// The file of the audit log.
    pub(super) fn audit_file(&self) -> PathBuf {
        self.path.join(AUDIT)
    }

    /// The days that have a file, oldest first.
    pub(super) fn days(&self) -> Result<Vec<Day>, StoreError> {
        let mut days: Vec<Day> = self.names()?.iter().filter_map(|name| Day::of_file(name)).collect();
        days.sort_unstable();
        Ok(days)
    }

    /// The names of damaged files that were moved aside.
    pub(super) fn aside(&self) -> Result<Vec<String>, StoreError> {
        let is_database =
            |name: &str| name.contains(ASIDE) && !COMPANIONS.iter().any(|end| name.ends_with(end));
        let mut names: Vec<String> = self.names()?.into_iter().filter(|name| is_database(name)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The days of which a file was moved aside.
    pub(super) fn days_aside(&self) -> Result<Vec<Day>, StoreError> {
        let names = self.aside()?;
        Ok(names.iter().filter_map(|name| Day::of_file(name.split_once(ASIDE)?.0)).collect())
    }

    /// Moves a damaged file and its WAL aside, and returns the new name. `number` tells it from others of its name.
    pub(super) fn move_aside(&self, path: &Path, number: i64) -> Result<String, StoreError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = format!("{name}{ASIDE}{number}");
        let to = self.path.join(&aside);
        fs::rename(path, &to).map_err(|error| fault::of_disk(error, path))?;
        for end in COMPANIONS {
            let (from, to) = (with_end(path, end), with_end(&to, end));
            ignoring_missing(fs::rename(&from, to)).map_err(|error| fault::of_disk(error, &from))?;
        }
        self.sync()?;
        Ok(aside)
    }

    /// Removes the files of a day, also those that were moved aside.
    pub(super) fn remove_day(&self, day: Day) -> Result<(), StoreError> {
        let file = day.file();
        let mut names = self.names()?;
        // The file before its WAL: without the WAL, it looks damaged to a look-up that opens it at this moment.
        names.sort_unstable();
        for name in names {
            if name.starts_with(&file) || name.starts_with(&day.filter()) {
                self.remove(&self.path.join(name))?;
            }
        }
        Ok(())
    }

    /// Removes what a process left that was stopped while it wrote.
    pub(super) fn remove_partial(&self) -> Result<(), StoreError> {
        for name in self.names()?.iter().filter(|name| name.ends_with(PARTIAL)) {
            self.remove(&self.path.join(name))?;
        }
        Ok(())
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, path: &Path) -> Result<(), StoreError> {
        ignoring_missing(fs::remove_file(path)).map_err(|error| fault::of_disk(error, path))
    }

    /// Waits until names that were added, changed or removed are on the disk.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let synced = File::open(&self.path).and_then(|folder| folder.sync_all());
        synced.map_err(|error| fault::of_disk(error, &self.path))
    }

    /// Waits until the transactions of a file are on the disk.
    pub(super) fn sync_wal(&self, path: &Path) -> Result<(), StoreError> {
        let wal = with_end(path, COMPANIONS[0]);
        let synced = File::open(&wal).and_then(|wal| wal.sync_data());
        // Without a WAL everything is in the file, and SQLite has synced it.
        ignoring_missing(synced).map_err(|error| fault::of_disk(error, &wal))
    }

    /// Bytes of its files.
    pub(super) fn size(&self) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for name in self.names()? {
            // A file may be removed while they are counted.
            bytes += fs::metadata(self.path.join(name)).map_or(0, |file| file.len());
        }
        Ok(bytes)
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        let names = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for file in fs::read_dir(&self.path)? {
                // A name that is not text is not one of ours.
                names.extend(file?.file_name().into_string().ok());
            }
            Ok(names)
        };
        names().map_err(|error| fault::of_disk(error, &self.path))
    }
}

fn make(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    // Other users of the machine may not read it.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let disk = |error| fault::of_disk(error, &path);
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(disk)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(disk(error)),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Without a process id in it, what to do is the same.
            let _ = file.read_to_string(&mut holder);
            let who = holder.trim().parse::<u32>().map(|id| format!(" (process {id})")).unwrap_or_default();
            let text = format!(
                "another imchannel-timeline{who} uses the folder {}; stop it, or set another folder",
                folder.display()
            );
            return Err(StoreError::new(StoreFault::Unavailable, text, None));
        }
    }
    let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
    written.map_err(disk)?;
    Ok(file)
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

fn ignoring_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
