//! What the readers of one body note: which members they passed over, which objects they read, and what went out whole.

use std::cell::{Cell, RefCell};

/// A piece of the text that is being read, by its places in it, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    /// Where a piece of a text stands in it, both by their addresses and lengths; `None` for a piece of any other text.
    pub(crate) fn of(text: Place, piece: Place) -> Option<Self> {
        let start = piece.address.wrapping_sub(text.address);
        let end = start.wrapping_add(piece.length);
        (start <= end && end <= text.length).then_some(Self { start, end })
    }

    pub(crate) fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

/// Where a text lies in memory.
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

/// Notes about a text or an item of it.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// Members that a reader of their object passed over, once for each such reader.
    pub(crate) marks: Vec<Span>,
    /// Objects and lists that were read, once for each time.
    pub(crate) readings: Vec<Span>,
    /// What went out whole, or has its own notes.
    pub(crate) taken: Vec<Span>,
    /// Where the marks of the item begin that is being read.
    item: usize,
}

impl Noted {
    pub(crate) const fn new() -> Self {
        Self { marks: Vec::new(), readings: Vec::new(), taken: Vec::new(), item: 0 }
    }

    /// Removes the latest mark of a value that is read after all.
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

/// Where the notes of an item begin.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Position {
    marks: usize,
    readings: usize,
    taken: usize,
    /// Where those of what lies around it begin.
    outer: usize,
}

thread_local! {
    /// The text that is being read; of no length where none is.
    static TEXT: Cell<Place> = const { Cell::new(NOWHERE) };
    static NOTED: RefCell<Noted> = const { RefCell::new(Noted::new()) };
}

const NOWHERE: Place = Place { address: 0, length: 0 };

/// Marks that are looked at when an object is read whose own mark is to go; of older ones it stays, which costs time alone.
const LATEST_MARKS: usize = 16;

/// Where a piece of the text stands; `None` where no notes are taken.
fn span(piece: Place) -> Option<Span> {
    let text = TEXT.get();
    if text.length > 0 { Span::of(text, piece) } else { None }
}

/// Notes are taken until it is dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct Tracing {
    /// Notes lie on one thread.
    _on_this_thread: std::marker::PhantomData<*const ()>,
}

/// Begins to take notes about a text.
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

/// Whether notes are taken.
pub(crate) fn is_on() -> bool {
    TEXT.get().length > 0
}

/// Reads without notes, for a first look at what something is.
pub(crate) fn paused<T>(read: impl FnOnce() -> T) -> T {
    let text = TEXT.replace(NOWHERE);
    let read = read();
    TEXT.set(text);
    read
}

/// Notes that a reader passes over a value.
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

/// Notes that a value goes out whole, or was read in another way than by a reader.
pub(crate) fn take(value: &str) {
    if let Some(span) = span(Place::of(value)) {
        NOTED.with_borrow_mut(|noted| {
            noted.unmark(span);
            noted.taken.push(span);
        });
    }
}

/// Reads an object or a list, and notes that it was read; of one that does not read nothing stays noted.
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

/// Begins an item: what is noted from now on may be about it.
pub(crate) fn begin_item() -> Position {
    NOTED.with_borrow_mut(|noted| {
        let (marks, readings, taken) = (noted.marks.len(), noted.readings.len(), noted.taken.len());
        Position { marks, readings, taken, outer: std::mem::replace(&mut noted.item, marks) }
    })
}

/// Ends an item, and moves the notes about it into `into`; those about what items share stay. Says whether a member was passed
/// over; where none was, the notes stay as they are.
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
