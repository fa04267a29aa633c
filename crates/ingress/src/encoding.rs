//! Decides from the headers which encodings of a body are accepted. The normalizer reads bodies as plain
//! UTF-8, so everything else is rejected here: after a 200 the BSP would not send the body again.

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderValue};

/// Labels of bodies that are read as UTF-8.
const UTF8_LABELS: [&str; 3] = ["utf-8", "utf8", "us-ascii"];

/// Whether the body is compressed or encoded in another way that ingress does not decode (RFC 9110 section
/// 8.4). The HTTP server decodes `chunked`, and no other transfer coding.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    names_another(headers, CONTENT_ENCODING, "identity")
        || names_another(headers, TRANSFER_ENCODING, "chunked")
}

fn names_another(headers: &HeaderMap, header: HeaderName, known: &str) -> bool {
    let is_other = |coding: &str| !coding.is_empty() && !coding.eq_ignore_ascii_case(known);
    headers.get_all(header).iter().any(|value| match value.to_str() {
        Ok(codings) => codings.split(',').any(|coding| is_other(coding.trim())),
        Err(_) => true,
    })
}

/// Whether the content type names another charset than UTF-8. The body may be UTF-8 anyway.
pub(crate) fn names_another_charset(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::to_str);
    let Some(Ok(content_type)) = content_type else { return false };
    let parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let charset = parameters.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    let label = charset.map_or("", |(_, label)| label.trim().trim_matches('"').trim());
    !label.is_empty() && !UTF8_LABELS.iter().any(|known| label.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_identity_and_chunked_do_not_count_as_encodings() {
        for (header, plain) in [(CONTENT_ENCODING, "Identity"), (TRANSFER_ENCODING, "Chunked")] {
            for taken in [&[][..], &[""], &[plain], &[plain, plain]] {
                assert!(!is_encoded(&headers(&header, taken)), "{header} {taken:?}");
            }
            for refused in [&["gzip"][..], &["x-gzip"], &["br, identity"], &[plain, "deflate"], &["\u{e9}"]] {
                assert!(is_encoded(&headers(&header, refused)), "{header} {refused:?}");
            }
        }
    }

    #[test]
    fn utf8_has_three_labels() {
        let other = |content_type: &str| names_another_charset(&headers(&CONTENT_TYPE, &[content_type]));
        for label in ["utf-8", "UTF-8", "Utf8", "US-ASCII", "\"utf-8\"", " utf-8 ", "", "utf-8; boundary=x"] {
            assert!(!other(&format!("application/json; charset={label}")), "{label}");
        }
        assert!(!other("application/json") && !other("application/json;CHARSET=utf8") && !other("a/b; x"));
        for label in ["iso-8859-1", "\"windows-1252\"", "utf-16", "latin1"] {
            assert!(other(&format!("application/json; x=y; Charset={label}")), "{label}");
        }
    }
}
