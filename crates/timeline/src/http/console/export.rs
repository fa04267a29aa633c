//! Lists as CSV (RFC 4180).

use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

/// A file of lines.
pub(super) fn file(name: &str, lines: impl IntoIterator<Item = Vec<String>>) -> Response {
    let text: String = lines.into_iter().map(|line| self::line(&line)).collect();
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.csv\"")),
    ];
    (headers, text).into_response()
}

fn line(fields: &[String]) -> String {
    let fields: Vec<_> = fields.iter().map(|field| self::field(field)).collect();
    format!("{}\r\n", fields.join(","))
}

/// A field in quotes. Programs for tables take a text that begins with one of these signs as a formula.
fn field(text: &str) -> String {
    let prefix = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{prefix}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_is_taken_as_a_formula_or_ends_early() {
        assert_eq!(
            line(&["a".to_owned(), "=1+1".to_owned(), "b\",c".to_owned()]),
            "\"a\",\"'=1+1\",\"b\"\",c\"\r\n"
        );
    }
}
