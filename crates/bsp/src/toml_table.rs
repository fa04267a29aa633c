//! Reads a table of the channels file and records every fault with its line, instead of stopping at the first
//! one.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One error in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TomlError {
    /// Its line, from 1.
    pub line: usize,
    /// The error. It never quotes a value, which may be a password.
    pub message: String,
}

impl fmt::Display for TomlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Collects the errors of a source text.
#[derive(Debug)]
pub struct TomlErrors<'s> {
    source: &'s str,
    found: Vec<TomlError>,
}

impl<'s> TomlErrors<'s> {
    /// A collector for `source`, without errors.
    pub fn new(source: &'s str) -> Self {
        Self { source, found: Vec::new() }
    }

    /// Adds an error at a byte offset of the source.
    pub fn add(&mut self, offset: usize, message: impl Into<String>) {
        let before = &self.source.as_bytes()[..offset.min(self.source.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        self.found.push(TomlError { line, message: message.into() });
    }

    /// All errors, by line.
    pub fn finish(mut self) -> Vec<TomlError> {
        self.found.sort_by_key(|fault| fault.line);
        self.found
    }
}

/// A table that is being read. Every requested key counts as known.
#[derive(Debug)]
pub struct Table<'t, 's> {
    name: String,
    offset: usize,
    entries: Option<&'t DeTable<'s>>,
    known: Vec<&'static str>,
    faults: &'t mut TomlErrors<'s>,
}

/// A value with its position.
#[derive(Debug, Clone, Copy)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its byte offset in the file.
    pub offset: usize,
}

impl<'t, 's> Table<'t, 's> {
    /// A table that begins at byte `offset`. Messages call it `name`.
    pub fn new(
        name: impl Into<String>,
        offset: usize,
        entries: Option<&'t DeTable<'s>>,
        faults: &'t mut TomlErrors<'s>,
    ) -> Self {
        Self { name: name.into(), offset, entries, known: Vec::new(), faults }
    }

    /// Whether the file has this table.
    pub fn is_present(&self) -> bool {
        self.entries.is_some()
    }

    /// Adds an error at a byte offset.
    pub fn add_fault(&mut self, offset: usize, message: impl fmt::Display) {
        self.faults.add(offset, format!("{}: {message}", self.name));
    }

    /// Byte offset of the table.
    pub fn offset(&self) -> usize {
        self.offset
    }

    fn entry(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'s>>> {
        self.known.push(key);
        let entries = self.entries?;
        entries.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(_, value)| value)
    }

    /// The string of `key`, if it exists.
    pub fn string(&mut self, key: &'static str) -> Option<At<&'t str>> {
        let entry = self.entry(key)?;
        let offset = entry.span().start;
        if let DeValue::String(text) = entry.get_ref() {
            return Some(At { value: text, offset });
        }
        self.add_fault(offset, format_args!("'{key}' must be a string"));
        None
    }

    /// The string of `key`. A missing or empty string is an error.
    pub fn required_string(&mut self, key: &'static str) -> Option<At<&'t str>> {
        let Some(found) = self.string(key) else {
            if self
                .entries
                .is_some_and(|entries| !entries.iter().any(|(name, _)| name.get_ref().as_ref() == key))
            {
                self.add_fault(self.offset, format_args!("missing key '{key}'"));
            }
            return None;
        };
        if found.value.trim().is_empty() {
            self.add_fault(found.offset, format_args!("'{key}' is empty"));
            return None;
        }
        Some(found)
    }

    /// The integer of `key` from `min` to `max`, if it exists.
    pub fn integer(&mut self, key: &'static str, min: u32, max: u32) -> Option<u32> {
        let entry = self.entry(key)?;
        let offset = entry.span().start;
        let number = match entry.get_ref() {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let in_range =
            number.and_then(|number| u32::try_from(number).ok()).filter(|n| (min..=max).contains(n));
        if in_range.is_none() {
            self.add_fault(offset, format_args!("'{key}' must be a whole number from {min} to {max}"));
        }
        in_range
    }

    /// The boolean of `key`, if it exists.
    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.boolean_at(key).map(|found| found.value)
    }

    /// The same with its position.
    pub fn boolean_at(&mut self, key: &'static str) -> Option<At<bool>> {
        let entry = self.entry(key)?;
        let offset = entry.span().start;
        if let DeValue::Boolean(value) = entry.get_ref() {
            return Some(At { value: *value, offset });
        }
        self.add_fault(offset, format_args!("'{key}' must be true or false"));
        None
    }

    /// The list of strings of `key`; empty if the key is missing.
    pub fn strings(&mut self, key: &'static str) -> Vec<At<&'t str>> {
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = entry.get_ref() else {
            self.add_fault(entry.span().start, format_args!("'{key}' must be a list of strings"));
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => texts.push(At { value: text.as_ref(), offset: item.span().start }),
                _ => self.add_fault(item.span().start, format_args!("'{key}' must contain only strings")),
            }
        }
        texts
    }

    /// The table of `key`. If it is missing, the result is not [present](Self::is_present).
    pub fn table(&mut self, key: &'static str) -> Table<'_, 's> {
        let name = format!("{}.{key}", self.name);
        let Some(entry) = self.entry(key) else {
            return Table::new(name, self.offset, None, self.faults);
        };
        let offset = entry.span().start;
        let DeValue::Table(entries) = entry.get_ref() else {
            self.add_fault(offset, format_args!("'{key}' must be a table"));
            return Table::new(name, offset, None, self.faults);
        };
        Table::new(name, offset, Some(entries), self.faults)
    }

    /// Calls `read` for each table of the list `key`, and returns their number.
    pub fn tables(&mut self, key: &'static str, mut read: impl FnMut(Table<'_, 's>)) -> usize {
        let Some(entry) = self.entry(key) else { return 0 };
        let DeValue::Array(items) = entry.get_ref() else {
            self.add_fault(entry.span().start, format_args!("'{key}' must be a list of tables"));
            return 0;
        };
        for (position, item) in items.iter().enumerate() {
            let DeValue::Table(entries) = item.get_ref() else {
                self.add_fault(item.span().start, format_args!("'{key}' must contain only tables"));
                continue;
            };
            let name = format!("{}.{key}[{position}]", self.name);
            read(Table::new(name, item.span().start, Some(entries), self.faults));
        }
        items.len()
    }

    /// Adds an error for every unknown key.
    pub fn refuse_unknown_keys(&mut self) {
        let Some(entries) = self.entries else { return };
        for (name, _) in entries.iter() {
            if !self.known.contains(&name.get_ref().as_ref()) {
                self.add_fault(name.span().start, format_args!("unknown key '{}'", name.get_ref()));
            }
        }
    }
}
