//! Masks JSON: its structure is copied, its scalars are hidden. One walk over bytes that are known to be JSON, and no tree: this
//! runs for every webhook.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{LOGGED_BYTES_MAX, NUMBER_DIGITS_MIN, Readable, is_plain_name, numbers};
use crate::json;

/// A text that is nested deeper is not shown: no BSP's is.
const DEPTH_MAX: usize = 64;
const HIDDEN: &[u8] = b"\"***\"";
/// Stands for every key of an object in [`Readable::texts`].
const ANY_KEY: &[u8] = b"*";

/// The text on one line. `None` where it is no JSON in UTF-8 (RFC 8259), or nested too deep: in damaged JSON a value may stand
/// under another's key, so nothing of it can be shown.
pub(super) fn masked(body: &[u8], readable: Readable) -> Option<String> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    serde_json::from_slice::<&RawValue>(body).ok()?;
    let mut walk = Walk { body, readable, line: Vec::new(), open: Vec::new(), key: b"" };
    walk.line.reserve(body.len().min(LOGGED_BYTES_MAX) + 64);
    walk.run()?;
    let text = String::from_utf8(walk.line).ok()?;
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Some(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect());
    }
    Some(text)
}

/// An object or a list that the walk is in.
struct Open<'b> {
    /// The key under which it stands; that of the list, for what stands in a list.
    key: &'b [u8],
    is_list: bool,
    /// The key of the innermost object here: of this one, or of the one that this list stands in.
    object: &'b [u8],
    /// The part of [`Readable::texts`] in which all entries of that object are. For most objects it is empty, so that nothing is
    /// compared for their values.
    texts: &'static [&'static str],
}

struct Walk<'b> {
    body: &'b [u8],
    readable: Readable,
    line: Vec<u8>,
    open: Vec<Open<'b>>,
    /// The key whose value comes next.
    key: &'b [u8],
}

impl<'b> Walk<'b> {
    /// `None` where it is nested too deep.
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
            Some(Open { object, texts, .. }) if is_list => Open { key, is_list, object, texts },
            None if is_list => Open { key, is_list, object: b"", texts: &[] },
            _ => Open { key, is_list, object: key, texts: self.texts_of(key) },
        };
        self.open.push(open);
        if !is_list {
            self.key = b"";
        }
    }

    fn texts_of(&self, object: &[u8]) -> &'static [&'static str] {
        let texts = self.readable.texts;
        let is_of = |text: &&str| name_in(text, object).is_some();
        let Some(first) = texts.iter().position(is_of) else { return &[] };
        let last = texts.iter().rposition(is_of).unwrap_or(first);
        &texts[first..=last]
    }

    /// In a list every value stands under the list's key; in an object a key comes first.
    fn begin_next(&mut self) {
        self.key = match self.open.last() {
            Some(Open { key, is_list: true, .. }) => key,
            _ => b"",
        };
    }

    fn key(&mut self, token: &'b [u8]) {
        self.key = &token[1..token.len() - 1];
        // The name of a field that an error is about stands as a key.
        let may_be_path = self.is_text(|name| name == ANY_KEY);
        let is_path = |byte: &u8| !matches!(byte, b'[' | b']');
        let is_plain = if may_be_path {
            let name: Vec<u8> = self.key.iter().copied().filter(is_path).collect();
            is_plain_name(&name)
        } else {
            is_plain_name(self.key)
        };
        self.line.extend_from_slice(if is_plain { token } else { HIDDEN });
    }

    fn value(&mut self, token: &[u8]) {
        let is_readable = |key: &&str| is_same(key.as_bytes(), self.key);
        if token == b"null" || self.readable.keys.iter().any(is_readable) {
            self.line.extend_from_slice(token);
        } else if self.is_text(|name| is_same(name, self.key) || name == ANY_KEY) {
            match text(token) {
                Some(text) => self.line.extend_from_slice(&text),
                None => self.line.extend_from_slice(HIDDEN),
            }
        } else {
            self.line.extend_from_slice(HIDDEN);
        }
    }

    /// Whether what stands under a key of this kind in the innermost object is a text to show.
    fn is_text(&self, is_name: impl Fn(&[u8]) -> bool) -> bool {
        let Some(Open { object, texts, .. }) = self.open.last() else { return false };
        texts.iter().filter_map(|text| name_in(text, object)).any(is_name)
    }
}

/// The key that an entry of [`Readable::texts`] names in this object. `None` where it is about another object.
fn name_in<'t>(text: &'t str, object: &[u8]) -> Option<&'t [u8]> {
    let text = text.as_bytes();
    // Looked at first, because it tells nearly all entries apart without comparing a word.
    if text.get(object.len()) != Some(&b'.') {
        return None;
    }
    text.strip_prefix(object)?.strip_prefix(b".")
}

/// Equality for keys that nearly always differ in length or in their first byte.
fn is_same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.first() == right.first() && left == right
}

/// A scalar with the numbers in it masked. `None` where that cannot be said.
fn text(token: &[u8]) -> Option<Cow<'_, [u8]>> {
    // Most texts have too few digits for a number that is hidden.
    let digits = token.iter().filter(|byte| byte.is_ascii_digit()).count();
    if token.is_ascii() && digits < NUMBER_DIGITS_MIN && !token.contains(&b'\\') {
        return Some(Cow::Borrowed(token));
    }
    let token = std::str::from_utf8(token).ok()?;
    if !token.starts_with('"') {
        let masked = numbers(token);
        return Some(Cow::Borrowed(if masked == token { token.as_bytes() } else { HIDDEN }));
    }
    // An escape may stand for a digit.
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
