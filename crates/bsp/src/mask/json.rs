//! Masks JSON: copies its structure and hides its scalars. It makes one pass over valid JSON and builds no
//! tree, because it runs for every webhook.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::message_id::WAMID;
use super::{LOGGED_BYTES_MAX, NUMBER_DIGITS_MIN, Unmasked, is_plain_name, message_id, numbers};
use crate::{json, utf8};

/// Deepest nesting of a text that is shown. No BSP's body is nested deeper.
const DEPTH_MAX: usize = 64;
/// Initial capacity of the stack of open objects and lists: the depth of most bodies.
const OPEN_USUAL: usize = 8;
const HIDDEN: &[u8] = b"\"***\"";
/// Matches every key of an object in [`Unmasked::texts`].
const ANY_KEY: &[u8] = b"*";

/// The masked text on one line. `None` if the body is not JSON in UTF-8 (RFC 8259) or is nested too deep: in
/// damaged JSON a value may be under another value's key, so all of it must be hidden.
pub(super) fn masked(body: &[u8], readable: Unmasked) -> Option<String> {
    let text = utf8::without_mark(std::str::from_utf8(body).ok()?);
    serde_json::from_str::<&RawValue>(text).ok()?;
    masked_known(text, readable)
}

/// The same of a text that is known to be JSON. `None` where it is nested too deep.
pub(super) fn masked_known(text: &str, readable: Unmasked) -> Option<String> {
    let body = utf8::without_mark(text).as_bytes();
    let line = Vec::with_capacity(body.len().min(LOGGED_BYTES_MAX) + 64);
    let mut walk = Walk { body, readable, line, open: Vec::with_capacity(OPEN_USUAL), key: Key::default() };
    walk.run()?;
    let text = String::from_utf8(walk.line).ok()?;
    // Checks all bytes without an early return, so that the compiler can vectorize it.
    if text.bytes().fold(false, |has_control, byte| has_control | byte.is_ascii_control()) {
        return Some(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect());
    }
    Some(text)
}

/// A key, without its quotes.
#[derive(Debug, Clone, Copy, Default)]
struct Key<'b> {
    name: &'b [u8],
    /// Whether it is one of [`Unmasked::keys`].
    is_readable: bool,
}

/// An object or a list that contains the current position.
struct Open<'b> {
    /// The key of this object or list. A value in a list has the key of the list.
    key: Key<'b>,
    is_list: bool,
    /// The key of the innermost object at this position: this object, or the object that contains this list.
    object: &'b [u8],
    texts: Texts,
}

/// The entries of [`Unmasked::texts`] for one object. Most objects have none, so that no comparison is needed
/// for their values.
#[derive(Debug, Clone, Copy, Default)]
struct Texts {
    /// The part of the list that contains all of them.
    all: &'static [&'static str],
    /// Whether one of them applies to every key.
    has_any_key: bool,
}

struct Walk<'b> {
    body: &'b [u8],
    readable: Unmasked,
    line: Vec<u8>,
    open: Vec<Open<'b>>,
    /// The key of the next value.
    key: Key<'b>,
}

impl<'b> Walk<'b> {
    /// `None` if the JSON is nested too deep.
    fn run(&mut self) -> Option<()> {
        let mut at = 0;
        while at < self.body.len() && self.line.len() <= LOGGED_BYTES_MAX {
            let byte = self.body[at];
            let mut next = at + 1;
            match byte {
                b'{' | b'[' => {
                    if self.open.len() >= DEPTH_MAX {
                        return None;
                    }
                    self.open(byte == b'[');
                    self.line.push(byte);
                }
                b'}' | b']' => {
                    self.open.pop();
                    self.begin_next();
                    self.line.push(byte);
                }
                b',' => {
                    self.begin_next();
                    self.line.push(byte);
                }
                b':' => self.line.push(byte),
                _ if byte.is_ascii_whitespace() => {}
                b'"' => {
                    next = string_end(self.body, at);
                    let token = &self.body[at..next];
                    if next_is_colon(self.body, next) { self.key(token) } else { self.value(token) }
                }
                _ => {
                    next = scalar_end(self.body, at);
                    self.value(&self.body[at..next]);
                }
            }
            at = next;
        }
        Some(())
    }

    fn open(&mut self, is_list: bool) {
        let key = self.key;
        let open = match self.open.last() {
            Some(Open { object, texts, .. }) if is_list => Open { key, is_list, object, texts: *texts },
            None if is_list => Open { key, is_list, object: b"", texts: Texts::default() },
            _ => Open { key, is_list, object: key.name, texts: self.texts_of(key.name) },
        };
        self.open.push(open);
        if !is_list {
            self.key = Key::default();
        }
    }

    fn texts_of(&self, object: &[u8]) -> Texts {
        let texts = self.readable.texts;
        let is_of = |text: &&str| name_in(text, object).is_some();
        let Some(first) = texts.iter().position(is_of) else { return Texts::default() };
        let last = texts.iter().rposition(is_of).unwrap_or(first);
        let has_any_key = texts[first..=last].iter().any(|text| name_in(text, object) == Some(ANY_KEY));
        Texts { all: &texts[first..=last], has_any_key }
    }

    /// In a list, every value has the list's key. In an object, a key comes first.
    fn begin_next(&mut self) {
        self.key = match self.open.last() {
            Some(Open { key, is_list: true, .. }) => *key,
            _ => Key::default(),
        };
    }

    fn key(&mut self, token: &'b [u8]) {
        let name = &token[1..token.len() - 1];
        let is_readable = self.readable.keys.iter().any(|key| is_same(key.as_bytes(), name));
        self.key = Key { name, is_readable };
        let is_shown = is_readable || self.is_plain(name);
        self.line.extend_from_slice(if is_shown { token } else { HIDDEN });
    }

    fn is_plain(&self, name: &[u8]) -> bool {
        // The key may be the name of the field that an error is about.
        let may_be_path = self.open.last().is_some_and(|open| open.texts.has_any_key);
        if !may_be_path {
            return is_plain_name(name);
        }
        let is_of_name = |byte: &u8| !matches!(byte, b'[' | b']');
        let name: Vec<u8> = name.iter().copied().filter(is_of_name).collect();
        is_plain_name(&name)
    }

    fn value(&mut self, token: &[u8]) {
        if self.key.is_readable {
            self.line.extend_from_slice(&readable(token));
        } else if token == b"null" {
            self.line.extend_from_slice(token);
        } else if self.is_text() {
            match text(token) {
                Some(text) => self.line.extend_from_slice(&text),
                None => self.line.extend_from_slice(HIDDEN),
            }
        } else {
            self.line.extend_from_slice(HIDDEN);
        }
    }

    /// Whether the next value is a text to show.
    fn is_text(&self) -> bool {
        let Some(Open { object, texts, .. }) = self.open.last() else { return false };
        let name = self.key.name;
        let is_it = |text: &&str| {
            text.len() == object.len() + 1 + name.len()
                && name_in(text, object).is_some_and(|text| is_same(text, name))
        };
        texts.has_any_key || texts.all.iter().any(is_it)
    }
}

/// The key that an entry of [`Unmasked::texts`] names in this object. `None` if the entry is about another
/// object.
fn name_in<'t>(text: &'t str, object: &[u8]) -> Option<&'t [u8]> {
    let (of, name) = text.as_bytes().split_at_checked(object.len())?;
    // Check the dot first: it rules out nearly all entries without a string comparison.
    let name = name.strip_prefix(b".")?;
    is_same(of, object).then_some(name)
}

/// Equality for keys that nearly always differ in length, or in their first or last byte.
fn is_same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.first() == right.first() && left.last() == right.last() && left == right
}

/// The scalar of a readable key, masked if it is WhatsApp's own id of a message.
fn readable(token: &[u8]) -> Cow<'_, [u8]> {
    let as_it_is = Cow::Borrowed(token);
    let Ok(token) = std::str::from_utf8(token) else { return as_it_is };
    let Some(inner) = token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return as_it_is;
    };
    // An escape may represent any character.
    let text = if inner.contains('\\') {
        let Ok(text) = json::unescape(token) else { return as_it_is };
        Cow::Owned(text)
    } else {
        Cow::Borrowed(inner)
    };
    match message_id(&text) {
        Cow::Borrowed(_) => as_it_is,
        Cow::Owned(masked) => serde_json::to_vec(&masked).map_or(Cow::Borrowed(HIDDEN), Cow::Owned),
    }
}

/// A scalar with its numbers masked. `None` if it cannot be read.
fn text(token: &[u8]) -> Option<Cow<'_, [u8]>> {
    // Most texts have too few digits for a telephone number.
    let digits = token.iter().filter(|byte| byte.is_ascii_digit()).count();
    let has_id = || token.windows(WAMID.len()).any(|part| part.eq_ignore_ascii_case(WAMID.as_bytes()));
    if token.is_ascii() && digits < NUMBER_DIGITS_MIN && !token.contains(&b'\\') && !has_id() {
        return Some(Cow::Borrowed(token));
    }
    let token = std::str::from_utf8(token).ok()?;
    if !token.starts_with('"') {
        let masked = numbers(token);
        return Some(Cow::Borrowed(if masked == token { token.as_bytes() } else { HIDDEN }));
    }
    // An escape may represent a digit.
    let text = json::unescape(token).ok()?;
    serde_json::to_vec(&numbers(&text)).ok().map(Cow::Owned)
}

fn string_end(body: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < body.len() {
        match body[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    body.len()
}

fn scalar_end(body: &[u8], start: usize) -> usize {
    let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
    body[start..].iter().position(ends).map_or(body.len(), |length| start + length.max(1))
}

fn next_is_colon(body: &[u8], from: usize) -> bool {
    body[from..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}
