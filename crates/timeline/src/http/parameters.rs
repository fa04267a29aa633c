//! Query parameters. Reading reports every fault, and a name that the path does not have is one: a filter with a spelling mistake
//! would otherwise let everything through.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use crate::http::answer::Fault;
use crate::http::refusal::Refusal;

/// Longest value of a parameter, in bytes. Ids of BSPs and cursors are shorter.
pub(crate) const VALUE_BYTES_MAX: usize = 1024;
/// Longest name of an unknown parameter that an error quotes, in characters.
const QUOTED_CHARS_MAX: usize = 32;

/// The parameters of a request.
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    faults: Vec<Fault>,
}

impl Parameters {
    /// The parameters of a query, decoded as forms are (WHATWG URL, section 5.1).
    pub(crate) fn of(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        });
        Self { pairs: pairs.collect(), known: Vec::new(), faults: Vec::new() }
    }

    /// Adds a fault of a parameter.
    pub(crate) fn fault(&mut self, name: &str, detail: impl Into<String>) {
        self.faults.push(Fault { name: name.to_owned(), detail: detail.into() });
    }

    /// A value; `None` if it is absent or empty, as forms leave fields empty.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let mut values = self.pairs.iter().filter(|(of, _)| of == name).map(|(_, value)| value);
        let value = values.next().cloned();
        let is_repeated = values.next().is_some();
        if is_repeated {
            self.fault(name, "is given more than once");
        }
        let value = value.filter(|value| !value.is_empty())?;
        if value.len() > VALUE_BYTES_MAX {
            self.fault(name, format!("is longer than {VALUE_BYTES_MAX} bytes"));
            return None;
        }
        Some(value)
    }

    /// A value of a list.
    pub(crate) fn one_of(&mut self, name: &'static str, values: &[&'static str]) -> Option<&'static str> {
        let text = self.text(name)?;
        let found = values.iter().find(|value| value.eq_ignore_ascii_case(&text)).copied();
        if found.is_none() {
            self.fault(name, format!("must be one of {}", values.join(", ")));
        }
        found
    }

    /// A time in RFC 3339.
    pub(crate) fn time(&mut self, name: &'static str) -> Option<Timestamp> {
        let text = self.text(name)?;
        let time = text.parse().ok();
        if time.is_none() {
            self.fault(name, "is not a time; write 2026-03-01T10:00:00Z (and %2B for the + of an offset)");
        }
        time
    }

    /// A whole number in a range.
    pub(crate) fn number(&mut self, name: &'static str, range: RangeInclusive<usize>) -> Option<usize> {
        let text = self.text(name)?;
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.fault(name, format!("must be a whole number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// Ends reading.
    ///
    /// # Errors
    /// Every fault, also names that were not read.
    pub(crate) fn finish(mut self) -> Result<(), Refusal> {
        let unknown: Vec<String> = self
            .pairs
            .iter()
            .filter(|(name, _)| !self.known.contains(&name.as_str()))
            .map(|(name, _)| name.chars().take(QUOTED_CHARS_MAX).collect())
            .collect();
        let known = self.known.join(", ");
        for name in unknown {
            self.fault(&name, format!("is not a parameter of this path, which has: {known}"));
        }
        if self.faults.is_empty() { Ok(()) } else { Err(Refusal::Invalid(self.faults)) }
    }
}

/// A part of a query or form without its encoding.
pub(crate) fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(parameters: Parameters) -> Vec<(String, String)> {
        match parameters.finish() {
            Err(Refusal::Invalid(faults)) => {
                faults.into_iter().map(|fault| (fault.name, fault.detail)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_are_decoded_as_forms_are() {
        let mut all =
            Parameters::of(Some("id=a%2Fb%20c+d&since=2026-03-01T10:00:00%2B01:00&limit=5&empty=&x=%ff"));
        assert_eq!(all.text("id").as_deref(), Some("a/b c d"));
        assert_eq!(all.time("since").unwrap().to_string(), "2026-03-01T09:00:00Z");
        assert_eq!(all.number("limit", 1..=10), Some(5));
        assert_eq!(all.text("empty"), None);
        assert_eq!(all.text("x").as_deref(), Some("\u{fffd}"));
        assert_eq!(all.text("absent"), None);
        assert_eq!(all.finish(), Ok(()));
        assert_eq!(Parameters::of(None).finish(), Ok(()));
    }

    #[test]
    fn every_fault_is_reported() {
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        let query = format!("since=yesterday&limit=0&status=DELIVRED&chanel=c&id=a&id=b&cursor={long}");
        let mut all = Parameters::of(Some(&query));
        assert_eq!(all.time("since"), None);
        assert_eq!(all.number("limit", 1..=10), None);
        assert_eq!(all.one_of("status", &["DELIVERED", "READ"]), None);
        assert_eq!(all.text("id").as_deref(), Some("a"));
        assert_eq!(all.text("cursor"), None);
        let faults = faults(all);
        let names: Vec<_> = faults.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["since", "limit", "status", "id", "cursor", "chanel"]);
        assert_eq!(faults[2].1, "must be one of DELIVERED, READ");
        assert_eq!(
            faults[5].1,
            "is not a parameter of this path, which has: since, limit, status, id, cursor"
        );
    }
}
