//! Decodes the bytes of a command: detects which of its two encodings they have, and reports errors.

use bytes::Bytes;
use prost::Message;
use proto::v1::{CommandFault, SendCommand};
use serde::de::DeserializeOwned;

use super::json;

/// Field name of an error about the command as a whole.
const WHOLE: &str = "command";
/// Byte order mark of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How a command is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Proto3 JSON.
    Json,
    /// Protobuf.
    Protobuf,
}

impl Encoding {
    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "proto3 JSON",
            Self::Protobuf => "protobuf",
        }
    }

    /// The encoding by the header `Content-Type`: `application/json` and `application/*+json` (RFC 6839, and
    /// RFC 9996 for `application/protobuf+json`) are JSON, all other values are protobuf. Without a header, a
    /// leading brace means JSON, also after a byte order mark and white space: no command in protobuf begins
    /// so, because its first field would be an invalid id.
    pub fn of(content_type: Option<&str>, payload: &[u8]) -> Self {
        let declared = content_type.and_then(|text| text.split(';').next()).map(str::trim);
        let is_json = match declared.filter(|text| !text.is_empty()) {
            Some(declared) => is_json_type(declared),
            None => begins_with_brace(payload),
        };
        if is_json { Self::Json } else { Self::Protobuf }
    }
}

fn is_json_type(declared: &str) -> bool {
    let Some((kind, subtype)) = declared.split_once('/') else { return false };
    let is_suffixed =
        subtype.len() > 5 && subtype.as_bytes()[subtype.len() - 5..].eq_ignore_ascii_case(b"+json");
    kind.eq_ignore_ascii_case("application") && (subtype.eq_ignore_ascii_case("json") || is_suffixed)
}

fn begins_with_brace(mut payload: &[u8]) -> bool {
    loop {
        match payload {
            [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] => payload = rest,
            _ => match payload.strip_prefix(BYTE_ORDER_MARK) {
                Some(rest) => payload = rest,
                None => return payload.first() == Some(&b'{'),
            },
        }
    }
}

/// Bytes that could not be decoded as a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Undecodable {
    /// The encoding in which they were read.
    pub encoding: Encoding,
    /// The `command_id`, if it could be read; otherwise empty.
    pub command_id: String,
    /// The error. It quotes no value.
    pub fault: CommandFault,
}

/// Decodes a command.
///
/// # Errors
/// [`Undecodable`] with the first fault.
pub fn decode(content_type: Option<&str>, payload: &Bytes) -> Result<SendCommand, Undecodable> {
    match Encoding::of(content_type, payload) {
        Encoding::Json => from_json(payload),
        Encoding::Protobuf => from_protobuf(payload),
    }
}

fn from_json(payload: &[u8]) -> Result<SendCommand, Undecodable> {
    let text = match std::str::from_utf8(payload) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            let rule = format!("is not valid UTF-8 (byte {})", at + 1);
            let readable = String::from_utf8_lossy(payload);
            return Err(undecodable(Encoding::Json, loose_id(&readable), WHOLE, rule));
        }
    };
    read_json(text).map_err(|fault| {
        let field = if fault.field.is_empty() { WHOLE } else { &fault.field };
        undecodable(Encoding::Json, loose_id(text), field, fault.rule)
    })
}

/// Parses proto3 JSON of any message by the same rules as a command.
///
/// # Errors
/// The first fault, with line and column. Its field is empty for the whole text. It never quotes a value.
pub fn read_json<T: DeserializeOwned>(text: &str) -> Result<T, CommandFault> {
    json::read(text).map_err(|fault| {
        let json::Fault { field, rule, line, column } = fault;
        CommandFault { field, rule: format!("{rule}; line {line}, column {column}") }
    })
}

fn from_protobuf(payload: &Bytes) -> Result<SendCommand, Undecodable> {
    let mut command = SendCommand::default();
    // The fields before the fault stay in `command`.
    match command.merge(&mut payload.clone()) {
        Ok(()) => Ok(command),
        Err(error) => {
            // prost's error names the message, the field and the wire type.
            let said = error.to_string();
            let said = said.strip_prefix("failed to decode Protobuf message: ").unwrap_or(&said);
            let rule = format!("is not a valid SendCommand in protobuf: {said}");
            Err(undecodable(Encoding::Protobuf, command.command_id, WHOLE, rule))
        }
    }
}

fn undecodable(encoding: Encoding, command_id: String, field: &str, rule: String) -> Undecodable {
    Undecodable { encoding, command_id, fault: CommandFault { field: field.to_owned(), rule } }
}

/// The command id in a JSON text that is not a valid command.
fn loose_id(text: &str) -> String {
    let loose = serde_json::from_str::<serde_json::Value>(json::without_lead(text)).unwrap_or_default();
    let id = [&loose["commandId"], &loose["command_id"]].into_iter().find_map(|id| id.as_str());
    id.unwrap_or_default().to_owned()
}
