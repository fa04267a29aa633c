//! The file name in `Content-Disposition`. Reads every form of RFC 6266 and RFC 8187, and writes both forms.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_DISPOSITION;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// All characters outside of `attr-char` (RFC 8187 section 3.2.1).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Longest file name, in characters: the limit of WhatsApp.
const FILE_NAME_LENGTH_MAX: usize = 240;

/// Reads the name in a request's header; empty if the header has no name. The extended form (`filename*`)
/// wins over the plain form. The name has no path and no control characters.
pub(crate) fn read(headers: &HeaderMap) -> String {
    let Some(value) = headers.get(CONTENT_DISPOSITION) else { return String::new() };
    // A value that is not UTF-8 is Latin-1, as earlier versions of HTTP defined headers.
    let value = String::from_utf8(value.as_bytes().to_vec()).unwrap_or_else(|_| latin_1(value.as_bytes()));
    let parameters = parameters(&value);
    let values = |wanted: &'static str| {
        let found = parameters.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, text)| text.as_str())
    };
    let extended = values("filename*").find_map(extended);
    let plain = || values("filename").map(clean).find(|name| !name.is_empty());
    extended.or_else(plain).unwrap_or_default()
}

/// The value of a response's header: a plain form for clients that support no other, with an underscore for
/// each character that it cannot contain, and the extended form (RFC 6266 section 5 and appendix D).
pub(crate) fn write(name: &str) -> String {
    // Some clients decode a percent sign in the plain form.
    let is_plain = |c: char| (c == ' ' || c.is_ascii_graphic()) && !matches!(c, '"' | '\\' | '%');
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    format!("inline; filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(name, ESCAPED))
}

/// Reads `charset'language'name` (RFC 8187 section 3.2.1), in the charsets that RFC 5987 required of every
/// client; `None` if it is invalid or the name is empty.
fn extended(text: &str) -> Option<String> {
    let (charset, rest) = text.split_once('\'')?;
    let (_language, encoded) = rest.split_once('\'')?;
    let bytes: Vec<u8> = percent_decode_str(encoded).collect();
    let name = match charset {
        _ if charset.eq_ignore_ascii_case("utf-8") => String::from_utf8(bytes).ok()?,
        _ if charset.eq_ignore_ascii_case("iso-8859-1") => latin_1(&bytes),
        _ => return None,
    };
    Some(clean(&name)).filter(|name| !name.is_empty())
}

fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Removes leading folders, control characters and surrounding blanks from a name (RFC 6266 section 4.3).
fn clean(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    match name.trim() {
        "." | ".." => String::new(),
        name => name.chars().take(FILE_NAME_LENGTH_MAX).collect(),
    }
}

/// The parameters of a header's value. A quoted value may contain semicolons (RFC 9110 section 5.6.6).
fn parameters(value: &str) -> Vec<(String, String)> {
    let (mut parts, mut part, mut is_quoted, mut is_escaped) = (Vec::new(), String::new(), false, false);
    for c in value.chars() {
        match c {
            _ if is_escaped => {
                part.push(c);
                is_escaped = false;
            }
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ';' if !is_quoted => parts.push(std::mem::take(&mut part)),
            _ => part.push(c),
        }
    }
    parts.push(part);
    let pair = |part: &String| {
        let (name, text) = part.split_once('=')?;
        Some((name.trim().to_owned(), text.trim().to_owned()))
    };
    parts.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read_bytes(value: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_DISPOSITION, HeaderValue::from_bytes(value).unwrap());
        read(&headers)
    }

    #[test]
    fn a_name_is_read_in_every_form_and_has_no_path() {
        let cases: [(&[u8], &str); 24] = [
            (b"attachment; filename=a.pdf", "a.pdf"),
            (b"attachment; filename=\"a b.pdf\"", "a b.pdf"),
            (b"form-data; name=\"f\"; filename=\"a.pdf\"", "a.pdf"),
            (b"filename = \"a.pdf\"", "a.pdf"),
            (b"inline;FILENAME=a.pdf;size=7", "a.pdf"),
            (b"attachment; filename=\"r;ep\\\"s.pdf\"", "r;ep\"s.pdf"),
            (b"attachment; filename=\"50%25 off.pdf\"", "50%25 off.pdf"),
            (b"attachment; filename=a.pdf; filename*=UTF-8''gr%C3%BC%C3%9Fe.pdf", "grüße.pdf"),
            (b"attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe.pdf; filename=a.pdf", "grüße.pdf"),
            (b"attachment; filename*=utf-8'en-US'%E2%82%AC%20rates.pdf", "€ rates.pdf"),
            (b"attachment; filename*=iso-8859-1'de'gr%FC%DFe.pdf", "grüße.pdf"),
            (b"attachment; FileName* = UTF-8''a.pdf", "a.pdf"),
            (b"attachment; filename*=\"UTF-8''a%20b.pdf\"", "a b.pdf"),
            // An invalid extended form falls back to the plain form.
            (b"attachment; filename=a.pdf; filename*=UTF-8''gr%FCn.pdf", "a.pdf"),
            (b"attachment; filename=a.pdf; filename*=KOI8-R''%C1.pdf", "a.pdf"),
            (b"attachment; filename=a.pdf; filename*=b.pdf", "a.pdf"),
            (b"attachment; filename=a.pdf; filename*=UTF-8''", "a.pdf"),
            // The form that HTML forms and older programs write.
            ("attachment; filename=\"grüße.pdf\"".as_bytes(), "grüße.pdf"),
            (b"attachment; filename=\"gr\xfc\xdfe.pdf\"", "grüße.pdf"),
            (b"inline; filename=\"../../etc/passwd\"", "passwd"),
            (b"attachment; filename*=UTF-8''C%3A%5Cx%5Ca%0D%0A.pdf", "a.pdf"),
            (b"attachment; filename=\"..\"", ""),
            (b"attachment; filename=\"\"", ""),
            (b"attachment", ""),
        ];
        for (value, expected) in cases {
            assert_eq!(read_bytes(value), expected, "{}", String::from_utf8_lossy(value));
        }
        let long = format!("attachment; filename=\"{}\"", "a".repeat(300));
        assert_eq!(read_bytes(long.as_bytes()).len(), FILE_NAME_LENGTH_MAX);
        assert_eq!(read(&HeaderMap::new()), "");
    }

    #[test]
    fn a_name_is_written_in_both_forms_and_read_again() {
        for (name, expected) in [
            ("a b.pdf", "inline; filename=\"a b.pdf\"; filename*=UTF-8''a%20b.pdf"),
            ("grüße.pdf", "inline; filename=\"gr__e.pdf\"; filename*=UTF-8''gr%C3%BC%C3%9Fe.pdf"),
            ("50% \"off\".pdf", "inline; filename=\"50_ _off_.pdf\"; filename*=UTF-8''50%25%20%22off%22.pdf"),
        ] {
            assert_eq!(write(name), expected);
            assert_eq!(read_bytes(expected.as_bytes()), name);
        }
        assert_eq!(write("a\r\nb"), "inline; filename=\"a__b\"; filename*=UTF-8''a%0D%0Ab");
    }
}
