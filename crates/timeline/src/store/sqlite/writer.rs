//! Stores batches: what is expected and what the audit log counts first ([`crate::store::sqlite::open`] and
//! [`crate::store::sqlite::replays`] say why), then the rows of each day with the position after them, in one transaction.
//!
//! A day's transaction may be lost when the machine loses power (`synchronous=NORMAL`), and then the stream's position with
//! it: its messages are read again, while the stream holds them. The position of a stream is the latest of all files, so
//! that what is in one file must be on the disk before the position goes on in the next one: [`Writer::leave_day`].

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::error;

use crate::row::StreamNumber;
use crate::store::error::{StoreError, StoreFault};
use crate::store::sqlite::audit::AuditFile;
use crate::store::sqlite::day::{Day, nanoseconds};
use crate::store::sqlite::day_file::{DayFile, Stored, Write};
use crate::store::sqlite::fault;
use crate::store::sqlite::files::Files;
use crate::store::sqlite::met;
use crate::store::sqlite::open::OpenFile;
use crate::store::sqlite::replays;
use crate::store::sqlite::schema::Refusal;
use crate::store::{Appended, Batch, Expired, Gap, NewRow, Position};
use crate::yields::Yields;

/// Most days that are open for writing: while streams are read from the past, each may be in another day.
const DAYS_MAX: usize = 3;
/// How long a batch yields the CPU: usually longer than it takes.
const YIELDING: Duration = Duration::from_millis(50);

/// Writes to the files of a store. There is one.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) files: Arc<Files>,
    pub(super) open: OpenFile,
    audit: Arc<AuditFile>,
    /// The last one was written last.
    days: Vec<(Day, DayFile)>,
    positions: HashMap<StreamNumber, Position>,
    /// The day to which each stream's last rows went.
    last_days: HashMap<StreamNumber, Day>,
    /// Why nothing is stored until the next start.
    halted: Option<String>,
}

/// Rows of a batch that go to one day.
struct Run {
    day: Day,
    rows: Vec<NewRow>,
    position: Position,
    gaps: Vec<Gap>,
}

impl Writer {
    /// Writes to files whose streams are read up to these positions.
    pub(super) fn new(
        files: Arc<Files>,
        open: OpenFile,
        audit: Arc<AuditFile>,
        positions: HashMap<StreamNumber, Position>,
    ) -> Self {
        Self { files, open, audit, days: Vec::new(), positions, last_days: HashMap::new(), halted: None }
    }

    /// How far each stream is stored.
    pub(super) fn positions(&self) -> Vec<Position> {
        let mut positions: Vec<Position> = self.positions.values().copied().collect();
        positions.sort_unstable_by_key(|position| position.stream);
        positions
    }

    /// Stores a batch. After an error some days of it may be stored, each with its position; the same batch may be tried
    /// again.
    pub(super) fn append(&mut self, batch: Batch) -> Result<Appended, StoreError> {
        if let Some(why) = &self.halted {
            return Err(StoreError::new(StoreFault::Damaged, why.clone(), None));
        }
        let mut appended = Appended::default();
        let yields = Yields::until(Instant::now() + YIELDING);
        for run in runs(batch) {
            let day = run.day;
            self.leave_day(run.position.stream, day)?;
            // Look-ups read the days of the catalog: the file of a new one has its tables before.
            self.open_day(day)?;
            self.files.catalog.begin_write(&self.files.folder, day)?;
            let stored = self.store(run, yields, &mut appended);
            self.files.catalog.end_write(day);
            stored?;
        }
        Ok(appended)
    }

    /// Stores rows in the day that [`Self::open_day`] has opened last.
    fn store(&mut self, run: Run, yields: Yields, appended: &mut Appended) -> Result<(), StoreError> {
        let Run { day, mut rows, position, gaps } = run;
        if self.may_be_stored(position.stream, &rows) {
            rows = self.without_stored(day, rows)?;
        }
        let met = met::met(&self.files, &rows)?;
        let removed =
            self.open.apply(&rows, &met, yields).map_err(|failure| self.move_open_aside(failure))?;
        appended.met.extend(removed);
        count_replays(&self.audit, &rows)?;
        let write = Write { rows: &rows, position: &position, gaps: &gaps, yields };
        let Stored { rows } = self.with_day(day, |file| file.write(&write))?;
        appended.rows += rows;
        self.files.catalog.add_gaps(day, &gaps);
        self.last_days.insert(position.stream, day);
        let known = self.positions.entry(position.stream).or_insert(position);
        if position.is_later(known) {
            *known = position;
        }
        Ok(())
    }

    /// Before the rows of a stream go to another day: those of the day before are on the disk, and its later position
    /// cannot outlive them.
    fn leave_day(&self, stream: StreamNumber, next: Day) -> Result<(), StoreError> {
        match self.last_days.get(&stream) {
            Some(last) if *last != next => self.files.folder.sync_wal(&self.files.folder.day(*last)),
            _ => Ok(()),
        }
    }

    /// Whether rows of a stream may be stored already.
    fn may_be_stored(&self, stream: StreamNumber, rows: &[NewRow]) -> bool {
        let Some(position) = self.positions.get(&stream) else { return false };
        rows.iter().any(|new| position.may_have_row(&new.row))
    }

    /// The rows that are not stored. What follows from the others was opened and removed when they were.
    fn without_stored(&mut self, day: Day, rows: Vec<NewRow>) -> Result<Vec<NewRow>, StoreError> {
        let is_stored = self.with_day(day, |file| file.are_stored(&rows))?;
        let with_stored = rows.into_iter().zip(is_stored);
        Ok(with_stored.filter(|(_, is_stored)| !is_stored).map(|(row, _)| row).collect())
    }

    pub(super) fn open_day(&mut self, day: Day) -> Result<(), StoreError> {
        if let Some((last, file)) = self.days.last()
            && *last != day
        {
            file.release_memory();
        }
        if let Some(at) = self.days.iter().position(|(open, _)| *open == day) {
            let open = self.days.remove(at);
            self.days.push(open);
            return Ok(());
        }
        let path = self.files.folder.day(day);
        match DayFile::open(&path) {
            Ok(file) => self.days.push((day, file)),
            Err(Refusal::Damaged(failure)) => return Err(self.move_day_aside(day, failure)),
            Err(Refusal::Other(failure)) => return Err(failure),
        }
        if self.days.len() > DAYS_MAX {
            self.days.remove(0);
        }
        Ok(())
    }

    /// Works on the day that [`Self::open_day`] has opened last. A connection that failed is not used again.
    pub(super) fn with_day<T>(
        &mut self,
        day: Day,
        work: impl FnOnce(&mut DayFile) -> fault::Sql<T>,
    ) -> Result<T, StoreError> {
        let (_, mut file) = self.days.pop().expect("the day was opened");
        match work(&mut file) {
            Ok(answer) => {
                self.days.push((day, file));
                Ok(answer)
            }
            Err(failure) => {
                drop(file);
                let is_damage = fault::is_damage(&failure);
                let failure = fault::of_sqlite(failure, &self.files.folder.day(day));
                Err(if is_damage { self.move_day_aside(day, failure) } else { failure })
            }
        }
    }

    /// Moves a day aside that is damaged where it is written. Its positions are gone with it, so that after the next start
    /// its messages are read again.
    fn move_day_aside(&mut self, day: Day, failure: StoreError) -> StoreError {
        self.files.readers.close(day);
        let path = self.files.folder.day(day);
        let failure = self.move_aside(&path, failure);
        if self.halted.is_some() {
            self.files.catalog.remove(day);
        }
        failure
    }

    /// Moves the file of what is expected aside, if it is damaged. What was expected is lost: no list has it.
    fn move_open_aside(&mut self, failure: StoreError) -> StoreError {
        if failure.fault() != StoreFault::Damaged {
            return failure;
        }
        let path = self.files.folder.open_file();
        self.move_aside(&path, failure)
    }

    fn move_aside(&mut self, path: &Path, failure: StoreError) -> StoreError {
        let name = match self.files.folder.move_aside(path, Timestamp::now().as_second()) {
            Ok(name) => name,
            Err(failure) => return failure,
        };
        self.note_aside();
        let text = format!(
            "{} was damaged and moved aside as {name}; start imchannel-timeline again: it reads again what the streams \
             still hold of it",
            path.display()
        );
        error!(error = &failure as &dyn std::error::Error, "{text}");
        self.halted = Some(text.clone());
        StoreError::new(StoreFault::Damaged, text, Some(Box::new(failure)))
    }

    fn note_aside(&self) {
        // Without the names, the log has said what was moved.
        self.files.catalog.set_aside(self.files.folder.aside().unwrap_or_default());
    }

    /// Removes the days that end before a time, and expectations that began before it.
    pub(super) fn expire(&mut self, before: Timestamp) -> Result<Expired, StoreError> {
        let mut expired = Expired { days: 0, expectations: self.open.expire(nanoseconds(before))? };
        let mut days: Vec<Day> = self.files.catalog.all().into_iter().map(|known| known.day).collect();
        days.extend(self.files.folder.days_aside()?);
        days.sort_unstable();
        days.dedup();
        days.retain(|day| day.end().is_some_and(|end| end <= before));
        for day in days {
            // A stream without newer messages has its position in this file only.
            let is_here = |position: &&Position| Day::of(position.stored_at) == day;
            let positions: Vec<Position> = self.positions.values().filter(is_here).copied().collect();
            self.open.keep_positions(&positions)?;
            self.days.retain(|(open, _)| *open != day);
            self.last_days.retain(|_, last| *last != day);
            self.files.readers.close(day);
            self.files.folder.remove_day(day)?;
            self.files.catalog.remove(day);
            expired.days += 1;
        }
        if expired.days > 0 {
            self.note_aside();
        }
        // Last, so that a damaged audit log keeps no rows.
        replays::expire(&self.audit, nanoseconds(before))?;
        Ok(expired)
    }
}

/// Counts replays in the audit log. One that cannot be read stops no stream: its entries are lost, and the log says so.
fn count_replays(audit: &AuditFile, rows: &[NewRow]) -> Result<(), StoreError> {
    match replays::count(audit, rows) {
        Err(failure) if failure.fault() == StoreFault::Damaged => {
            error!(
                error = &failure as &dyn std::error::Error,
                "cannot count replays in the audit log: its file is damaged; restore it from a copy, or move it away"
            );
            Ok(())
        }
        counted => counted,
    }
}

/// Divides a batch into the days of its rows, in its order. The last part has the batch's position.
fn runs(batch: Batch) -> Vec<Run> {
    let Batch { rows, position, gaps } = batch;
    let mut runs: Vec<Run> = Vec::new();
    for new in rows {
        let day = Day::of(new.row.stored_at);
        let after = Position { sequence: new.row.pointer.sequence, stored_at: new.row.stored_at, ..position };
        match runs.last_mut() {
            Some(run) if run.day == day => {
                run.position = after;
                run.rows.push(new);
            }
            _ => runs.push(Run { day, rows: vec![new], position: after, gaps: Vec::new() }),
        }
    }
    let last_day = Day::of(position.stored_at);
    match runs.last_mut() {
        Some(run) if run.day == last_day => run.position = position,
        _ => runs.push(Run { day: last_day, rows: Vec::new(), position, gaps: Vec::new() }),
    }
    // They were missed before or between the rows: a crash leaves no position after them without them.
    if let Some(first) = runs.first_mut() {
        first.gaps = gaps;
    }
    runs
}
