//! Computes the unread members of an item, and their JSON, from the recorded reads.

use std::cell::RefCell;

use super::path::{self, Step};
use super::trace::{Noted, Place, Position, Span, end_item};
use super::{OTHER_PATHS, PATHS_MAX, Paths, UNREAD_JSON_BYTES_MAX, Unread};
use crate::utf8;

/// Deepest nesting of a member and its contents. A deeper member is omitted, because JSON readers reject it.
const DEPTH_MAX: usize = 64;

/// The source of unread members.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'t> {
    /// The text that is read.
    pub(crate) text: &'t str,
    /// Whether the text contains replacements for invalid UTF-8.
    pub(crate) is_damaged: bool,
    /// Paths that are known and redundant.
    pub(crate) known: &'static [&'static str],
}

/// Buffers that are reused from item to item.
struct Buffers {
    noted: Noted,
    unread: Vec<Span>,
    /// The objects that were read around a position, the innermost last, with their number of reads.
    around: Vec<(Span, usize)>,
    open: Vec<Open>,
    path: String,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = const {
        RefCell::new(Buffers {
            noted: Noted::new(),
            unread: Vec::new(),
            around: Vec::new(),
            open: Vec::new(),
            path: String::new(),
        })
    };
}

/// Ends an item, which is a piece of the current text, and returns its unread members. Counts their paths.
/// `source` is `None` for an item that did not become an event; its members are ignored.
pub(crate) fn of_item(item: &str, from: Position, source: Option<Source<'_>>, paths: &mut Paths) -> Unread {
    BUFFERS.with_borrow_mut(|workplace| {
        let has_marks = end_item(item, from, &mut workplace.noted);
        let source = source.filter(|_| has_marks);
        let span = source.and_then(|source| Span::of(Place::of(source.text), Place::of(item)));
        let (Some(source), Some(span)) = (source, span) else { return Unread::default() };
        workplace.find_unread(span);
        if workplace.unread.is_empty() {
            return Unread::default();
        }
        let Buffers { unread, open, path, .. } = workplace;
        open.clear();
        let mut walk =
            Walk { source, key: Span::default(), open, json: String::new(), is_cut: false, path, paths };
        walk.run(span, unread);
        Unread { json: walk.json, is_cut: walk.is_cut }
    })
}

impl Buffers {
    /// Finds the members that every reader of their object skipped, in the order of the text. A member inside
    /// another is omitted.
    fn find_unread(&mut self, item: Span) {
        let Self { noted, unread, around, .. } = self;
        unread.clear();
        around.clear();
        // Outer pieces come before the pieces inside them.
        let outer_first = |span: &Span| (span.start, usize::MAX - span.end);
        for spans in [&mut noted.marks, &mut noted.readings, &mut noted.taken] {
            spans.sort_unstable_by_key(outer_first);
        }
        let (mut readings, mut taken) = (noted.readings.iter().peekable(), noted.taken.iter().peekable());
        let mut taken_until = 0;
        for same in noted.marks.chunk_by(|one, other| one == other) {
            let member = same[0];
            while let Some(reading) = readings.next_if(|reading| outer_first(reading) <= outer_first(&member))
            {
                add_reading(around, *reading);
            }
            while let Some(span) = taken.next_if(|span| outer_first(span) <= outer_first(&member)) {
                taken_until = taken_until.max(span.end);
            }
            while around.last().is_some_and(|(last, _)| !last.contains(member)) {
                around.pop();
            }
            let readers = match around.last() {
                Some((last, _)) if *last == member => continue,
                Some((_, times)) => *times,
                None => 1,
            };
            let is_inside = unread.last().is_some_and(|last| last.contains(member));
            if same.len() >= readers && member.end > taken_until && !is_inside && item.contains(member) {
                unread.push(member);
            }
        }
    }
}

/// Adds an object that was read again, or the next one.
fn add_reading(around: &mut Vec<(Span, usize)>, reading: Span) {
    if let Some((last, times)) = around.last_mut()
        && *last == reading
    {
        *times += 1;
        return;
    }
    while around.last().is_some_and(|(last, _)| !last.contains(reading)) {
        around.pop();
    }
    around.push((reading, 1));
}

/// The position of a member or element in its parent.
#[derive(Debug, Clone, Copy)]
enum Slot {
    /// The key, without its quotes.
    Key(Span),
    Index(usize),
}

/// An object or list that contains the current position.
struct Open {
    /// Unused for the outermost one.
    slot: Slot,
    is_list: bool,
    /// In a list, the current index.
    index: usize,
    /// Whether its beginning is written.
    is_written: bool,
    /// Number of written members or elements.
    written: usize,
}

/// Writes members with their parents, in one pass over the text up to the last member.
struct Walk<'t, 'w> {
    source: Source<'t>,
    /// The key of the next value.
    key: Span,
    open: &'w mut Vec<Open>,
    json: String,
    is_cut: bool,
    /// The path of the current member.
    path: &'w mut String,
    paths: &'w mut Paths,
}

impl<'t> Walk<'t, '_> {
    fn run(&mut self, item: Span, unread: &[Span]) {
        let text = self.source.text;
        let mut left = unread.iter().peekable();
        let (mut at, mut deeper) = (item.start, 0_usize);
        while at < item.end
            && let Some(next) = left.peek()
        {
            if at == next.start && !self.open.is_empty() {
                self.member(&text[next.start..next.end]);
                at = next.end;
                left.next();
                continue;
            }
            match text.as_bytes()[at] {
                b'{' | b'[' if self.open.len() >= DEPTH_MAX => deeper += 1,
                byte @ (b'{' | b'[') => {
                    let (slot, is_list) = (self.slot(), byte == b'[');
                    self.open.push(Open { slot, is_list, index: 0, is_written: false, written: 0 });
                }
                b'}' | b']' if deeper > 0 => deeper -= 1,
                b'}' | b']' => self.close(),
                b',' if deeper == 0 => {
                    if let Some(list) = self.open.last_mut() {
                        list.index += 1;
                    }
                }
                b'"' => {
                    let end = string_end(text.as_bytes(), at);
                    if text[end..].trim_ascii_start().starts_with(':') {
                        self.key = Span { start: at + 1, end: end - 1 };
                    }
                    at = end;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        self.is_cut |= left.peek().is_some();
        while !self.open.is_empty() {
            self.close();
        }
    }

    /// The position of the next value.
    fn slot(&self) -> Slot {
        match self.open.last() {
            Some(Open { is_list: true, index, .. }) => Slot::Index(*index),
            _ => Slot::Key(self.key),
        }
    }

    fn step(&self, slot: Slot) -> Step<'t> {
        match slot {
            Slot::Key(key) => Step::Key(&self.source.text[key.start..key.end]),
            Slot::Index(index) => Step::Index(index),
        }
    }

    fn close(&mut self) {
        if let Some(Open { is_list, is_written: true, .. }) = self.open.pop() {
            self.json.push(if is_list { ']' } else { '}' });
        }
    }

    /// Counts a member, and writes it if it is not known and fits.
    fn member(&mut self, value: &str) {
        let step = self.step(self.slot());
        self.path.clear();
        for place in 1..self.open.len() {
            let step = self.step(self.open[place].slot);
            path::push(self.path, step);
        }
        path::push(self.path, step);
        if self.source.known.contains(&self.path.as_str()) {
            return;
        }
        count(self.paths, self.path);
        let is_fit = depth(value) + self.open.len() <= DEPTH_MAX && !self.is_damaged(step, value);
        if !is_fit || !self.write(step, value) {
            self.is_cut = true;
        }
    }

    /// Whether a member contains invalid UTF-8. Events contain replaced bytes only in text for people.
    fn is_damaged(&self, step: Step<'_>, value: &str) -> bool {
        let is_key_damaged = matches!(step, Step::Key(key) if key.contains(utf8::PLACEHOLDER));
        self.source.is_damaged && (is_key_damaged || value.contains(utf8::PLACEHOLDER))
    }

    /// Writes a member. Returns whether it fits; if not, nothing of it stays.
    fn write(&mut self, step: Step<'t>, value: &str) -> bool {
        let length = self.json.len();
        let first_new = self.open.iter().position(|open| !open.is_written).unwrap_or(self.open.len());
        let written_before = first_new.checked_sub(1).map_or(0, |place| self.open[place].written);
        let is_written = self.try_write(first_new, step, value)
            && self.json.len() + self.open.len() <= UNREAD_JSON_BYTES_MAX;
        if !is_written {
            self.json.truncate(length);
            for open in &mut self.open[first_new..] {
                (open.is_written, open.written) = (false, 0);
            }
            if let Some(last) = first_new.checked_sub(1) {
                self.open[last].written = written_before;
            }
        }
        is_written
    }

    fn try_write(&mut self, first_new: usize, step: Step<'t>, value: &str) -> bool {
        for place in first_new..self.open.len() {
            let step = self.step(self.open[place].slot);
            let (outer, inner) = self.open.split_at_mut(place);
            if let Some(outer) = outer.last_mut()
                && !begin_member(&mut self.json, outer, step)
            {
                return false;
            }
            inner[0].is_written = true;
            self.json.push(if inner[0].is_list { '[' } else { '{' });
        }
        let has_begun = self.open.last_mut().is_some_and(|last| begin_member(&mut self.json, last, step));
        if has_begun && value.len() <= UNREAD_JSON_BYTES_MAX {
            self.json.push_str(value);
            return true;
        }
        false
    }
}

/// Writes the prefix of a value: its key, or `null` for every preceding element of the list without unread
/// members.
fn begin_member(json: &mut String, outer: &mut Open, step: Step<'_>) -> bool {
    if let Step::Index(index) = step {
        // Do not write them if they do not fit.
        if json.len() + (index - outer.written) * "null,".len() > UNREAD_JSON_BYTES_MAX {
            return false;
        }
        while outer.written < index {
            json.push_str(if outer.written == 0 { "null" } else { ",null" });
            outer.written += 1;
        }
    }
    if outer.written > 0 {
        json.push(',');
    }
    outer.written += 1;
    if let Step::Key(key) = step {
        json.extend(["\"", key, "\":"]);
    }
    true
}

/// Counts a path. Paths beyond the limit are counted together.
pub(super) fn count(paths: &mut Paths, path: &str) {
    if let Some(times) = paths.get_mut(path) {
        *times += 1;
    } else if paths.len() < PATHS_MAX {
        paths.insert(path.to_owned(), 1);
    } else {
        *paths.entry(OTHER_PATHS.to_owned()).or_default() += 1;
    }
}

/// The nesting depth of a value.
fn depth(value: &str) -> usize {
    let bytes = value.as_bytes();
    let (mut at, mut open, mut most) = (0, 0_usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' => open += 1,
            b'}' | b']' => open = open.saturating_sub(1),
            b'"' => at = string_end(bytes, at) - 1,
            _ => {}
        }
        most = most.max(open);
        at += 1;
    }
    most
}

/// The position after the closing quote of the string that begins at `start`.
fn string_end(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < json.len() {
        match json[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    json.len()
}
