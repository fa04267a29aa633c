//! Opens the files of a folder.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tracing::error;

use crate::store::error::StoreError;
use crate::store::sqlite::audit::AuditFile;
use crate::store::sqlite::catalog::Catalog;
use crate::store::sqlite::columns;
use crate::store::sqlite::day::Day;
use crate::store::sqlite::fault;
use crate::store::sqlite::files::Files;
use crate::store::sqlite::filter::Filter;
use crate::store::sqlite::filter::build::last_row;
use crate::store::sqlite::folder::Folder;
use crate::store::sqlite::open::{self, OpenFile};
use crate::store::sqlite::readers::Readers;
use crate::store::sqlite::schema::{self, Form, Refusal};
use crate::store::sqlite::writer::Writer;
use crate::store::{Gap, Position};

/// The parts of an open store.
#[derive(Debug)]
pub(super) struct Opened {
    /// The files.
    pub(super) files: Arc<Files>,
    /// Their writer.
    pub(super) writer: Writer,
    /// The audit log.
    pub(super) audit: Arc<AuditFile>,
    /// The folder is this process's for as long as it is open.
    pub(super) lock: File,
}

/// Opens the store of a folder.
pub(super) fn open(path: PathBuf) -> Result<Opened, StoreError> {
    let (folder, lock) = Folder::take(path)?;
    folder.remove_partial()?;
    let open = open_or_replace(&folder, &folder.open_file(), OpenFile::open)?;
    let audit = Arc::new(open_or_replace(&folder, &folder.audit_file(), AuditFile::open)?);
    let mut positions = open.positions()?;
    let catalog = Catalog::default();
    for day in folder.days()? {
        let path = folder.day(day);
        match read_day(&path) {
            Ok(read) => {
                positions.extend(read.positions);
                catalog.add(day, filter(&folder, day, read.last_row)?, &read.gaps);
            }
            Err(Refusal::Damaged(failure)) => move_aside(&folder, &path, &failure)?,
            Err(Refusal::Other(failure)) => return Err(failure),
        }
    }
    catalog.set_aside(folder.aside()?);
    let files = Arc::new(Files { folder, catalog, readers: Readers::default() });
    let writer = Writer::new(Arc::clone(&files), open, Arc::clone(&audit), open::latest(positions));
    Ok(Opened { files, writer, audit, lock })
}

/// Opens a file; if it is damaged, moves it aside and makes a new one.
fn open_or_replace<T>(
    folder: &Folder,
    path: &Path,
    open: fn(&Path) -> Result<T, Refusal>,
) -> Result<T, StoreError> {
    match open(path) {
        Err(Refusal::Damaged(failure)) => {
            move_aside(folder, path, &failure)?;
            Ok(open(path)?)
        }
        opened => Ok(opened?),
    }
}

struct ReadDay {
    positions: Vec<Position>,
    gaps: Vec<Gap>,
    last_row: i64,
}

/// Opens a day as the writer does, which also repairs it from its WAL after a crash.
fn read_day(path: &Path) -> Result<ReadDay, Refusal> {
    let day = schema::writer(path, Form::Day)?;
    let read = || -> fault::Sql<ReadDay> {
        Ok(ReadDay {
            positions: columns::positions(&day)?,
            gaps: columns::gaps(&day)?,
            last_row: last_row(&day)?,
        })
    };
    read().map_err(|error| schema::refusal(error, path))
}

/// The filter of a day; `None` if it is missing or not to be used, and then it is written again.
fn filter(folder: &Folder, day: Day, last_row: i64) -> Result<Option<Filter>, StoreError> {
    let path = folder.filter(day);
    match Filter::open(&path, day, last_row) {
        Ok(Some(filter)) => return Ok(Some(filter)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(None) | Err(_) => {}
    }
    folder.remove(&path)?;
    Ok(None)
}

fn move_aside(folder: &Folder, path: &Path, failure: &StoreError) -> Result<(), StoreError> {
    let name = folder.move_aside(path, Timestamp::now().as_second())?;
    error!(
        error = failure as &dyn std::error::Error,
        aside = name,
        "a file of the timeline was damaged and moved aside; what the streams still hold of it is read again"
    );
    Ok(())
}
