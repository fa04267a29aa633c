//! What is stored, and its form within a record.

use bytes::{Buf, Bytes};

/// A message for the bus. The spool does not interpret it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is published: BSP and channel. Entries with the same subject are in order.
    pub subject: String,
    /// Its headers, with the id by which a repeat is recognized.
    pub headers: Vec<(String, String)>,
    /// When it arrived, in milliseconds since 1970 (UTC).
    pub arrived_ms: i64,
    /// Its payload.
    pub body: Bytes,
}

impl Entry {
    /// Bytes of its form; `None` if a part is too long for it.
    pub(crate) fn encoded_length(&self) -> Option<usize> {
        let texts = self.headers.iter().flat_map(|(name, value)| [name, value]).chain([&self.subject]);
        let mut length = 2;
        for text in texts {
            u16::try_from(text.len()).ok()?;
            length += 2 + text.len();
        }
        u16::try_from(self.headers.len()).ok()?;
        Some(length + self.body.len())
    }

    /// Appends its form. Every length fits: [`encoded_length`](Self::encoded_length) was checked.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        put_text(into, &self.subject);
        into.extend_from_slice(&(self.headers.len() as u16).to_le_bytes());
        for (name, value) in &self.headers {
            put_text(into, name);
            put_text(into, value);
        }
        into.extend_from_slice(&self.body);
    }

    /// Reads its form. The body is not copied.
    pub(crate) fn decode(mut form: Bytes, arrived_ms: i64) -> Option<Self> {
        let subject = take_text(&mut form)?;
        let count = take_length(&mut form)?;
        let mut headers = Vec::with_capacity(count.min(form.len() / 4));
        for _ in 0..count {
            headers.push((take_text(&mut form)?, take_text(&mut form)?));
        }
        Some(Self { subject, headers, arrived_ms, body: form })
    }
}

fn put_text(into: &mut Vec<u8>, text: &str) {
    into.extend_from_slice(&(text.len() as u16).to_le_bytes());
    into.extend_from_slice(text.as_bytes());
}

fn take_length(form: &mut Bytes) -> Option<usize> {
    form.try_get_u16_le().ok().map(usize::from)
}

fn take_text(form: &mut Bytes) -> Option<String> {
    let length = take_length(form)?;
    if form.len() < length {
        return None;
    }
    String::from_utf8(form.split_to(length).to_vec()).ok()
}
