//! Bodies of type `application/x-www-form-urlencoded`, as the WHATWG URL standard defines their decoding.

use std::borrow::Cow;
use std::cell::Cell;

use percent_encoding::percent_decode;

use crate::utf8::{self, Damaged};

/// A decoded form: names and values in the order of the body.
pub(crate) struct Form<'a> {
    fields: Vec<Field<'a>>,
    damaged: Vec<Damaged>,
}

struct Field<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
    /// Whether a reader has requested it.
    is_read: Cell<bool>,
}

impl<'a> Form<'a> {
    /// Decodes a body. [`utf8::PLACEHOLDER`] replaces each byte of a name or value that is not valid UTF-8.
    pub(crate) fn parse(body: &'a [u8]) -> Self {
        let mut form = Self { fields: Vec::new(), damaged: Vec::new() };
        for (name, value) in pairs(body) {
            let ((name, is_name_utf8), (value, is_value_utf8)) = (to_text(name), to_text(value));
            if !is_name_utf8 {
                form.damaged.push(Damaged::Key);
            } else if !is_value_utf8 {
                form.damaged.push(Damaged::Value { key: name.to_string(), value: value.to_string() });
            }
            form.fields.push(Field { name, value, is_read: Cell::new(false) });
        }
        form
    }

    /// Names and values with invalid UTF-8.
    pub(crate) fn damaged(&self) -> &[Damaged] {
        &self.damaged
    }

    /// The first value of that name, or the empty string.
    pub(crate) fn get(&self, name: &str) -> &str {
        let Some(field) = self.fields.iter().find(|field| field.name == name) else { return "" };
        field.is_read.set(true);
        &field.value
    }

    /// Whether a field of that name exists. This does not mark it as read.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name == name)
    }

    /// All names and values. This marks them as read.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|field| {
            field.is_read.set(true);
            (field.name.as_ref(), field.value.as_ref())
        })
    }

    /// The names and values that no reader has requested.
    pub(crate) fn unread(&self) -> impl Iterator<Item = (&str, &str)> {
        let unread = self.fields.iter().filter(|field| !field.is_read.get());
        unread.map(|field| (field.name.as_ref(), field.value.as_ref()))
    }
}

/// Names and values, decoded to bytes. A byte order mark before the first name is removed, even if it is
/// encoded.
pub(crate) fn pairs(body: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs.enumerate().map(|(position, pair)| {
        let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &pair[pair.len()..]),
        };
        let name = decode(name);
        (if position == 0 { without_mark(name) } else { name }, decode(value))
    })
}

fn without_mark(name: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match name.strip_prefix(utf8::BYTE_ORDER_MARK.as_bytes()) {
        Some(rest) => Cow::Owned(rest.to_vec()),
        None => name,
    }
}

fn decode(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'+') {
        return percent_decode(raw).into();
    }
    let spaced: Vec<u8> = raw.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

/// The text of decoded bytes, and whether they are valid UTF-8.
fn to_text(bytes: Cow<'_, [u8]>) -> (Cow<'_, str>, bool) {
    match bytes {
        Cow::Borrowed(bytes) => {
            let text = utf8::lossy(bytes);
            let is_utf8 = matches!(text, Cow::Borrowed(_));
            (text, is_utf8)
        }
        Cow::Owned(bytes) => match String::from_utf8(bytes) {
            Ok(text) => (Cow::Owned(text), true),
            Err(error) => (Cow::Owned(utf8::lossy(error.as_bytes()).into_owned()), false),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        let form = Form::parse(b"To=whatsapp%3A%2B49151&Body=a+b%20c&Empty=&Flag&&Body=second");
        assert_eq!(form.get("To"), "whatsapp:+49151");
        assert_eq!(form.get("Body"), "a b c");
        assert_eq!(form.get("Absent"), "");
        assert!(form.has("Empty") && form.has("Flag") && !form.has("Absent"));
        assert_eq!(form.unread().map(|(name, _)| name).collect::<Vec<_>>(), ["Empty", "Flag", "Body"]);
        assert_eq!((form.fields().count(), form.unread().count()), (5, 0));
    }

    #[test]
    fn an_invalid_escape_is_kept_and_invalid_utf8_is_reported() {
        assert_eq!(Form::parse(b"a=100%").get("a"), "100%");
        assert_eq!(Form::parse(b"a=%C3%A9").damaged(), []);
        let value = || Damaged::Value { key: "a".to_owned(), value: "x\u{7f} ".to_owned() };
        for damaged in [&b"a=x%FF+"[..], b"a=x\xff+", b"a=x%ff%20"] {
            let form = Form::parse(damaged);
            assert_eq!(form.get("a"), "x\u{7f} ");
            assert_eq!(form.damaged(), [value()]);
        }
        assert_eq!(Form::parse(b"a%FF=1").damaged(), [Damaged::Key]);
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_first_name() {
        for body in [&b"\xef\xbb\xbfa=1&b=2"[..], b"%EF%BB%BFa=1&b=2"] {
            let form = Form::parse(body);
            assert_eq!((form.get("a"), form.get("b")), ("1", "2"));
        }
    }
}
