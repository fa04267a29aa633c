//! The query of a page, which its links change.

use axum::http::Uri;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::http::parameters::decoded;
use crate::http::refusal::Refusal;

/// Characters of a time as a form's field for a time without seconds gives it: `2026-03-01T10:00`.
const MINUTE_CHARS: usize = 16;

/// The pairs of a query.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// The pairs that have a value.
    pub(super) fn of(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(name, value)| (decoded(name), decoded(value)));
        Self(pairs.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// The first value of a name; empty if it is absent.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(of, _)| of == name).map_or("", |(_, value)| value)
    }

    /// Every value of a name.
    pub(super) fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> + 'q {
        self.0.iter().filter(move |(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    /// With another value of a name, or without it where the value is empty.
    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let mut pairs = self.0.clone();
        pairs.retain(|(of, _)| of != name);
        if !value.is_empty() {
            pairs.push((name.to_owned(), value.to_owned()));
        }
        Self(pairs)
    }

    /// Whether it has no value.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A path with this query.
    pub(super) fn on(&self, path: &str) -> String {
        let pairs = self.0.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        let pairs: Vec<_> = pairs.collect();
        if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
    }

    /// The same question to the JSON interface, with the times of forms as UTC.
    ///
    /// # Errors
    /// [`Refusal`] when it is too long.
    pub(super) fn to_uri(&self, path: &str) -> Result<Uri, Refusal> {
        self.on(path).parse().map_err(|_| Refusal::invalid("query", "is too long"))
    }

    /// Times that a form gives without seconds and zone, as UTC.
    pub(super) fn times_in_utc(&self) -> Self {
        let mut query = self.clone();
        for name in ["since", "until"] {
            let value = self.get(name);
            if value.len() == MINUTE_CHARS && value.contains('T') {
                query = query.with(name, &format!("{value}:00Z"));
            }
        }
        query
    }
}

/// A text in a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_the_same_after_it_was_written() {
        let query = Query::of(Some("channel=a%26b&status=&since=2026-03-01T10%3A00&id=x&id=y"));
        assert_eq!(query.get("channel"), "a&b");
        assert_eq!(query.all("id").collect::<Vec<_>>(), ["x", "y"]);
        let written = query.with("cursor", "c").on("/p");
        assert_eq!(written, "/p?channel=a%26b&since=2026%2D03%2D01T10%3A00&id=x&id=y&cursor=c");
        assert_eq!(query.times_in_utc().get("since"), "2026-03-01T10:00:00Z");
        assert_eq!(Query::default().on("/p"), "/p");
    }
}
