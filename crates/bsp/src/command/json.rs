//! Reads proto3 JSON of a back end. An error names the field, the expected value and its position.
//!
//! The generated readers reject explicit nulls of a `oneof` or of a scalar, and serde_json's errors quote
//! values and name no field. So this module splits every object into its members. A `null` member is omitted
//! as if it were absent (as protobuf's JSON mapping requires), and an error contains the expected value but
//! never the actual one.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;

/// Longest field name that an error shows, in bytes. No field of the messages has a longer name.
const NAME_LENGTH_MAX: usize = 64;
/// Number of consecutive digits from which a field name is hidden, because it may be a telephone number.
const DIGITS_MAX: usize = 3;
/// Text that replaces a hidden field name.
const HIDDEN: &str = "*";

/// The error in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The field by its name in the .proto file, such as `text.preview_url`; empty for the whole text.
    pub(super) field: String,
    /// The error, as a phrase that follows the field's name.
    pub(super) rule: String,
    pub(super) line: usize,
    /// In characters, from 1.
    pub(super) column: usize,
}

/// Reads a text. Ignores a byte order mark and white space before it.
///
/// # Errors
/// The first [`Fault`].
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    let whole = text.strip_prefix('\u{feff}').unwrap_or(text);
    let body = without_lead(whole);
    let raw = serde_json::from_str::<&RawValue>(body).map_err(|error| syntax(whole, body, &error))?;
    let root = Node { raw: raw.get(), path: String::new() };
    T::deserialize(root).map_err(|error| error.into_fault(whole))
}

/// The text without leading byte order marks and white space.
pub(super) fn without_lead(text: &str) -> &str {
    text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n'])
}

fn syntax(whole: &str, body: &str, error: &serde_json::Error) -> Fault {
    let line_start = match error.line() {
        0 | 1 => 0,
        line => body.match_indices('\n').nth(line - 2).map_or(0, |(at, _)| at + 1),
    };
    let at = (line_start + error.column().saturating_sub(1)).min(body.len());
    let (line, column) = place(whole, &body[body.floor_char_boundary(at)..]);
    // serde_json's syntax errors consist of fixed text and the position.
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or_default();
    Fault { field: String::new(), rule: format!("is not valid JSON: {said}"), line, column }
}

/// Line and column of `part`, which is a part of `whole`.
fn place(whole: &str, part: &str) -> (usize, usize) {
    let at = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize).min(whole.len());
    let before = &whole[..whole.floor_char_boundary(at)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// The value or field that a reader expected.
#[derive(Debug)]
enum Expectation {
    /// A value of this type, as its reader describes it.
    Expected(String),
    /// One of these fields.
    Field(&'static [&'static str]),
    /// A field that is set only once.
    Once,
    /// The reader does not describe the expected value.
    Undescribed,
}

/// An error of a reader. The node adds its position.
#[derive(Debug)]
struct Error<'t> {
    what: Expectation,
    at: Option<(String, &'t str)>,
}

impl<'t> Error<'t> {
    fn new(what: Expectation) -> Self {
        Self { what, at: None }
    }

    /// Keeps the innermost position.
    fn at(mut self, path: &str, raw: &'t str) -> Self {
        self.at.get_or_insert_with(|| (path.to_owned(), raw));
        self
    }

    fn expecting(mut self, expected: &str) -> Self {
        if matches!(self.what, Expectation::Undescribed) {
            self.what = Expectation::Expected(expected.to_owned());
        }
        self
    }

    fn into_fault(self, whole: &str) -> Fault {
        let (field, raw) = self.at.unwrap_or((String::new(), whole));
        let (line, column) = place(whole, raw);
        let rule = match self.what {
            Expectation::Expected(expected) => rule(&expected),
            Expectation::Field(names) => {
                let names = names.iter().filter(|name| !name.contains(|c: char| c.is_ascii_uppercase()));
                format!("is not a known field; use one of {}", names.copied().collect::<Vec<_>>().join(", "))
            }
            Expectation::Once => "is set twice, or together with a field that excludes it".to_owned(),
            // Only the reader of numbers tries several types and describes none of them.
            Expectation::Undescribed => "must be a number".to_owned(),
        };
        Fault { field, rule, line, column }
    }
}

/// Converts a reader's description into an error text.
fn rule(expected: &str) -> String {
    match expected {
        "a boolean" => "must be true or false".to_owned(),
        "a base64 string" => "must be a string in Base64".to_owned(),
        "a date string" => {
            "must be a time with its offset from UTC, such as 2026-03-01T18:00:00Z (RFC 3339)".to_owned()
        }
        "a sequence" => "must be a list".to_owned(),
        message if message.starts_with("struct ") => "must be an object".to_owned(),
        other => format!("must be {other}"),
    }
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for Error<'_> {}

impl de::Error for Error<'_> {
    fn custom<T: fmt::Display>(_may_quote_a_value: T) -> Self {
        Self::new(Expectation::Undescribed)
    }

    fn invalid_type(_found: de::Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Expectation::Expected(expected.to_string()))
    }

    fn invalid_value(_found: de::Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Expectation::Expected(expected.to_string()))
    }

    fn invalid_length(_length: usize, expected: &dyn Expected) -> Self {
        Self::new(Expectation::Expected(expected.to_string()))
    }

    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Expectation::Expected(format!("one of {}", expected.join(", "))))
    }

    fn unknown_field(_field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Expectation::Field(expected))
    }

    fn duplicate_field(_field: &'static str) -> Self {
        Self::new(Expectation::Once)
    }
}

/// A value of the text and the field that it belongs to.
struct Node<'t> {
    raw: &'t str,
    path: String,
}

impl<'t> Deserializer<'t> for Node<'t> {
    type Error = Error<'t>;

    fn deserialize_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error<'t>> {
        let Self { raw, path } = self;
        let place = |error: Error<'t>| error.at(&path, raw);
        match raw.as_bytes().first() {
            Some(b'{') => {
                let members = members(raw).map_err(|()| place(Error::new(Expectation::Undescribed)))?;
                let mut members = Members { left: members.into_iter(), path: &path, last: None };
                let read = visitor.visit_map(&mut members);
                // A reader rejects a duplicate field before it reads its value.
                read.map_err(|error| match &members.last {
                    Some(last) => error.at(&last.path, last.key),
                    None => place(error),
                })
            }
            Some(b'[') => {
                let items: Vec<&RawValue> =
                    serde_json::from_str(raw).map_err(|_| place(Error::new(Expectation::Undescribed)))?;
                visitor.visit_seq(Items { left: items.into_iter().enumerate(), path: &path }).map_err(place)
            }
            _ => {
                let expected = (&visitor as &dyn Expected).to_string();
                scalar(raw, visitor).map_err(|error| place(error.expecting(&expected)))
            }
        }
    }

    fn deserialize_option<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error<'t>> {
        if self.raw == "null" { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    forward_to_deserialize_any! {
        <W: Visitor<'t>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

fn scalar<'t, V: Visitor<'t>>(raw: &'t str, visitor: V) -> Result<V::Value, Error<'t>> {
    let unsaid = |_| Error::new(Expectation::Undescribed);
    match raw {
        "null" => visitor.visit_unit(),
        "true" => visitor.visit_bool(true),
        "false" => visitor.visit_bool(false),
        _ if raw.starts_with('"') && !raw.contains('\\') => {
            visitor.visit_borrowed_str(&raw[1..raw.len() - 1])
        }
        _ if raw.starts_with('"') => visitor.visit_string(serde_json::from_str(raw).map_err(unsaid)?),
        _ => {
            let number: serde_json::Number = serde_json::from_str(raw).map_err(unsaid)?;
            match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            }
        }
    }
}

/// A member of an object: the key as it appears in the text, with its quotes, and the value.
type Member<'t> = (&'t str, &'t str);

/// The members that are not null. `Err` if a key cannot be read.
fn members(raw: &str) -> Result<Vec<Member<'_>>, ()> {
    struct Pairs;
    impl<'t> Visitor<'t> for Pairs {
        type Value = Vec<Member<'t>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<M: MapAccess<'t>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut all = Vec::new();
            while let Some((key, value)) = map.next_entry::<&'t RawValue, &'t RawValue>()? {
                if value.get() != "null" {
                    all.push((key.get(), value.get()));
                }
            }
            Ok(all)
        }
    }
    serde_json::Deserializer::from_str(raw).deserialize_map(Pairs).map_err(|_| ())
}

/// The current position of a reader.
struct Last<'t> {
    path: String,
    key: &'t str,
    value: &'t str,
}

struct Members<'t, 'p> {
    left: std::vec::IntoIter<Member<'t>>,
    path: &'p str,
    last: Option<Last<'t>>,
}

impl<'t> MapAccess<'t> for Members<'t, '_> {
    type Error = Error<'t>;

    fn next_key_seed<K: DeserializeSeed<'t>>(&mut self, seed: K) -> Result<Option<K::Value>, Error<'t>> {
        let Some((key, value)) = self.left.next() else {
            self.last = None;
            return Ok(None);
        };
        let name: String = serde_json::from_str(key).unwrap_or_default();
        let path = below(self.path, &shown(&name));
        let read =
            seed.deserialize(StrDeserializer::new(&name)).map_err(|error: Error<'t>| error.at(&path, key));
        self.last = Some(Last { path, key, value });
        read.map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'t>>(&mut self, seed: V) -> Result<V::Value, Error<'t>> {
        let Some(last) = &self.last else { return Err(Error::new(Expectation::Undescribed)) };
        let node = Node { raw: last.value, path: last.path.clone() };
        seed.deserialize(node).map_err(|error| error.at(&last.path, last.value))
    }
}

struct Items<'t, 'p> {
    left: std::iter::Enumerate<std::vec::IntoIter<&'t RawValue>>,
    path: &'p str,
}

impl<'t> SeqAccess<'t> for Items<'t, '_> {
    type Error = Error<'t>;

    fn next_element_seed<S: DeserializeSeed<'t>>(&mut self, seed: S) -> Result<Option<S::Value>, Error<'t>> {
        let Some((place, raw)) = self.left.next() else { return Ok(None) };
        let path = format!("{}[{place}]", self.path);
        let node = Node { raw: raw.get(), path: path.clone() };
        seed.deserialize(node).map(Some).map_err(|error| error.at(&path, raw.get()))
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A name in the form of the .proto files. A name that may be a misplaced value is hidden.
fn shown(name: &str) -> String {
    let is_plain = (1..=NAME_LENGTH_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    let has_number =
        name.as_bytes().windows(DIGITS_MAX + 1).any(|digits| digits.iter().all(u8::is_ascii_digit));
    if !is_plain || has_number {
        return HIDDEN.to_owned();
    }
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
