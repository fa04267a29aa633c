//! Records what the readers of one body do: which members they skip, which objects they read, and which
//! values are passed on as a whole.

use std::cell::{Cell, RefCell};

/// A piece of the current text, by its byte offsets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    /// The position of a piece in a text, computed from their addresses and lengths; `None` for a piece of
    /// another text.
    pub(crate) fn of(text: Place, piece: Place) -> Option<Self> {
        let start = piece.address.wrapping_sub(text.address);
        let end = start.wrapping_add(piece.length);
        (start <= end && end <= text.length).then_some(Self { start, end })
    }

    pub(crate) fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

/// The address and length of a text in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) address: usize,
    pub(crate) length: usize,
}

impl Place {
    pub(crate) fn of(text: &str) -> Self {
        Self { address: text.as_ptr() as usize, length: text.len() }
    }
}

/// The record of a text or of one of its items.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// Members that a reader of their object skipped, one entry per reader.
    pub(crate) marks: Vec<Span>,
    /// Objects and lists that were read, one entry per read.
    pub(crate) readings: Vec<Span>,
    /// Values that were passed on as a whole, or have their own record.
    pub(crate) taken: Vec<Span>,
    /// Index of the first mark of the current item.
    item: usize,
}

impl Noted {
    pub(crate) const fn new() -> Self {
        Self { marks: Vec::new(), readings: Vec::new(), taken: Vec::new(), item: 0 }
    }

    /// Removes the latest mark of a value that is read later.
    fn unmark(&mut self, value: Span) {
        let latest = self.marks.len().saturating_sub(LATEST_MARKS).max(self.item);
        if let Some(place) = self.marks[latest..].iter().rposition(|mark| *mark == value) {
            self.marks.remove(latest + place);
        }
    }

    fn clear(&mut self) {
        self.marks.clear();
        self.readings.clear();
        self.taken.clear();
        self.item = 0;
    }
}

/// The start of the record of an item.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Position {
    marks: usize,
    readings: usize,
    taken: usize,
    /// Start of the record of the item's surroundings.
    outer: usize,
}

thread_local! {
    /// The current text; of length 0 while no text is read.
    static TEXT: Cell<Place> = const { Cell::new(NOWHERE) };
    static NOTED: RefCell<Noted> = const { RefCell::new(Noted::new()) };
}

const NOWHERE: Place = Place { address: 0, length: 0 };

/// Most recent marks that are searched when an object is read whose own mark must be removed. Older marks
/// stay, which costs only time.
const LATEST_MARKS: usize = 16;

/// The position of a piece of the text; `None` if recording is off.
fn span(piece: Place) -> Option<Span> {
    let text = TEXT.get();
    if text.length > 0 { Span::of(text, piece) } else { None }
}

/// Recording is on until this is dropped, including by a panic.
#[derive(Debug)]
pub(crate) struct Tracing {
    /// The record belongs to one thread.
    _on_this_thread: std::marker::PhantomData<*const ()>,
}

/// Starts recording for a text.
pub(crate) fn begin(text: &str) -> Tracing {
    TEXT.set(Place::of(text));
    NOTED.with_borrow_mut(Noted::clear);
    Tracing { _on_this_thread: std::marker::PhantomData }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        TEXT.set(NOWHERE);
        NOTED.with_borrow_mut(Noted::clear);
    }
}

/// Whether recording is on.
pub(crate) fn is_on() -> bool {
    TEXT.get().length > 0
}

/// Reads without recording, to detect the kind of a value.
pub(crate) fn paused<T>(read: impl FnOnce() -> T) -> T {
    let text = TEXT.replace(NOWHERE);
    let read = read();
    TEXT.set(text);
    read
}

/// Records that a reader skips a value.
pub(crate) fn mark(value: &str) {
    if value != "null" {
        mark_place(Place::of(value));
    }
}

pub(crate) fn mark_place(value: Place) {
    if let Some(span) = span(value) {
        NOTED.with_borrow_mut(|noted| noted.marks.push(span));
    }
}

/// Records that a value is passed on as a whole, or was read in another way.
pub(crate) fn mark_read(value: &str) {
    if let Some(span) = span(Place::of(value)) {
        NOTED.with_borrow_mut(|noted| {
            noted.unmark(span);
            noted.taken.push(span);
        });
    }
}

/// Reads an object or a list, and records the read. If it fails, nothing stays recorded.
pub(crate) fn reading<T, E>(text: &str, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let Some(span) = span(Place::of(text.trim_ascii())) else { return read() };
    let marks = NOTED.with_borrow(|noted| noted.marks.len());
    let outcome = read();
    NOTED.with_borrow_mut(|noted| {
        if outcome.is_ok() {
            noted.unmark(span);
            noted.readings.push(span);
        } else {
            noted.marks.truncate(marks);
        }
    });
    outcome
}

/// Begins an item: later records may be about it.
pub(crate) fn begin_item() -> Position {
    NOTED.with_borrow_mut(|noted| {
        let (marks, readings, taken) = (noted.marks.len(), noted.readings.len(), noted.taken.len());
        Position { marks, readings, taken, outer: std::mem::replace(&mut noted.item, marks) }
    })
}

/// Ends an item, and moves its record into `into`. Records about shared parts stay. Returns whether a member
/// was skipped; if not, the records stay unchanged.
pub(crate) fn end_item(item: &str, from: Position, into: &mut Noted) -> bool {
    let Some(span) = span(Place::of(item)) else { return false };
    NOTED.with_borrow_mut(|noted| {
        noted.item = from.outer;
        if noted.marks.len() <= from.marks {
            return false;
        }
        into.clear();
        let of_item = |note: &mut Span| span.contains(*note);
        into.marks.extend(noted.marks.extract_if(from.marks.., of_item));
        into.readings.extend(noted.readings.extract_if(from.readings.min(noted.readings.len()).., of_item));
        into.taken.extend(noted.taken.extract_if(from.taken.min(noted.taken.len()).., of_item));
        !into.marks.is_empty()
    })
}
