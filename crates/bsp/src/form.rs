//! Bodies of type `application/x-www-form-urlencoded`, as the WHATWG URL standard defines their decoding.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// A decoded form: names and values in the order of the body.
#[derive(Clone)]
pub(crate) struct Form<'a> {
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// A body with a name or value that is not UTF-8 after decoding.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8;

impl<'a> Form<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, NotUtf8> {
        let mut fields = Vec::new();
        for pair in body.split(|byte| *byte == b'&') {
            if pair.is_empty() {
                continue;
            }
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &pair[pair.len()..]),
            };
            fields.push((decode(name)?, decode(value)?));
        }
        Ok(Self { fields })
    }

    /// The first value of that name, or the empty text.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, _)| field == name)
    }

    pub(crate) fn fields(&self) -> &[(Cow<'a, str>, Cow<'a, str>)] {
        &self.fields
    }
}

fn decode(raw: &[u8]) -> Result<Cow<'_, str>, NotUtf8> {
    if !raw.contains(&b'+') {
        return percent_decode(raw).decode_utf8().map_err(|_| NotUtf8);
    }
    let spaced: Vec<u8> = raw.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let text = percent_decode(&spaced).decode_utf8().map_err(|_| NotUtf8)?;
    Ok(Cow::Owned(text.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        let form = Form::parse(b"To=whatsapp%3A%2B49151&Body=a+b%20c&Empty=&Flag&&Body=second").unwrap();
        assert_eq!(form.get("To"), "whatsapp:+49151");
        assert_eq!(form.get("Body"), "a b c");
        assert_eq!(form.get("Absent"), "");
        assert!(form.has("Empty") && form.has("Flag") && !form.has("Absent"));
        assert_eq!(form.fields().len(), 5);
    }

    #[test]
    fn a_broken_escape_stays_and_broken_utf8_is_told() {
        assert_eq!(Form::parse(b"a=100%").unwrap().get("a"), "100%");
        assert_eq!(Form::parse(b"a=%FF").err(), Some(NotUtf8));
    }
}
