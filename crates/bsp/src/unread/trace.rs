//! What the readers of one body note: which members they passed over, which objects they read, and what went out whole.

use std::cell::RefCell;

/// A piece of the text that is being read, by its places in it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    /// Where a piece of a text stands in it, by its address; `None` for any other text.
    pub(crate) fn of(address: usize, length: usize, piece: &str) -> Option<Self> {
        let start = (piece.as_ptr() as usize).wrapping_sub(address);
        let end = start.wrapping_add(piece.len());
        (start <= end && end <= length).then_some(Self { start, end })
    }

    pub(crate) fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
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
}

impl Noted {
    const fn new() -> Self {
        Self { marks: Vec::new(), readings: Vec::new(), taken: Vec::new() }
    }

    fn clear(&mut self) {
        self.marks.clear();
        self.readings.clear();
        self.taken.clear();
    }
}

/// How many notes there are, to come back to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Position {
    marks: usize,
    readings: usize,
    taken: usize,
}

struct Trace {
    /// The address of the text that is being read, and its length in bytes: 0 where none is.
    address: usize,
    length: usize,
    noted: Noted,
}

thread_local! {
    static TRACE: RefCell<Trace> = const { RefCell::new(Trace { address: 0, length: 0, noted: Noted::new() }) };
}

impl Trace {
    /// Where a piece of the text stands; `None` for any other text.
    fn span(&self, piece: &str) -> Option<Span> {
        Span::of(self.address, self.length, piece)
    }
}

/// Notes are taken until it is dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct Tracing {
    /// Notes lie on one thread.
    _on_this_thread: std::marker::PhantomData<*const ()>,
}

/// Begins to take notes about a text.
pub(crate) fn begin(text: &str) -> Tracing {
    TRACE.with_borrow_mut(|trace| {
        (trace.address, trace.length) = (text.as_ptr() as usize, text.len());
        trace.noted.clear();
    });
    Tracing { _on_this_thread: std::marker::PhantomData }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        TRACE.with_borrow_mut(|trace| {
            trace.length = 0;
            trace.noted.clear();
        });
    }
}

/// Whether notes are taken.
pub(crate) fn is_on() -> bool {
    TRACE.with_borrow(|trace| trace.length > 0)
}

/// Reads without notes, for a first look at what something is.
pub(crate) fn paused<T>(read: impl FnOnce() -> T) -> T {
    let length = TRACE.with_borrow_mut(|trace| std::mem::take(&mut trace.length));
    let read = read();
    TRACE.with_borrow_mut(|trace| trace.length = length);
    read
}

/// Notes that a reader passes over a value.
pub(crate) fn mark(value: &str) {
    if value == "null" {
        return;
    }
    TRACE.with_borrow_mut(|trace| {
        if let Some(span) = trace.span(value) {
            trace.noted.marks.push(span);
        }
    });
}

/// Notes that a value goes out whole, or was read in another way than by a reader.
pub(crate) fn take(value: &str) {
    TRACE.with_borrow_mut(|trace| {
        if let Some(span) = trace.span(value) {
            trace.noted.taken.push(span);
        }
    });
}

/// Reads an object or a list, and notes that it was read; of one that does not read nothing stays noted.
pub(crate) fn reading<T, E>(text: &str, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let before = position();
    let outcome = read();
    TRACE.with_borrow_mut(|trace| match (&outcome, trace.span(text.trim_ascii())) {
        (Ok(_), Some(span)) => trace.noted.readings.push(span),
        (Ok(_), None) => {}
        (Err(_), _) => trace.noted.marks.truncate(before.marks),
    });
    outcome
}

/// Where the notes are now.
pub(crate) fn position() -> Position {
    TRACE.with_borrow(|Trace { noted, .. }| Position {
        marks: noted.marks.len(),
        readings: noted.readings.len(),
        taken: noted.taken.len(),
    })
}

/// Moves the notes since `from` that are about an item into `into`, which is emptied before; those about what items share stay.
pub(crate) fn take_noted(item: &str, from: Position, into: &mut Noted) {
    into.clear();
    TRACE.with_borrow_mut(|trace| {
        let Some(span) = trace.span(item) else { return };
        let of_item = |note: &mut Span| span.contains(*note);
        let noted = &mut trace.noted;
        into.marks.extend(noted.marks.extract_if(from.marks.min(noted.marks.len()).., of_item));
        into.readings.extend(noted.readings.extract_if(from.readings.min(noted.readings.len()).., of_item));
        into.taken.extend(noted.taken.extract_if(from.taken.min(noted.taken.len()).., of_item));
    });
}
