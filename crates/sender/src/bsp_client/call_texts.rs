//! What the log and the result of a command show of a call: its bodies, masked, and the BSP's id of the call. Writes the log
//! lines. The contents of both bodies are the BSP's ([`bsp::sending`]).

use std::borrow::Cow;

use bsp::mask::{self, Unmasked};
use bsp::sending::{Request, Sending};
use reqwest::header::HeaderMap;
use service::LogPayloads;

use crate::result::attempts::BODY_BYTES_MAX;

/// Longest id of a call that is shown, in bytes. Those of BSPs are shorter.
const TRACE_ID_BYTES_MAX: usize = 128;

/// The texts of one call.
pub(super) struct CallTexts<'a> {
    pub(super) function: &'static str,
    pub(super) channel: &'a str,
    pub(super) message_id: &'a str,
    pub(super) url: &'a str,
    pub(super) sending: &'static dyn Sending,
    /// What is logged of bodies. It does not matter for the result.
    pub(super) payloads: LogPayloads,
}

impl CallTexts<'_> {
    /// Logs the request, and returns its body for the result.
    pub(super) fn request(&self, request: &Request) -> String {
        let Self { function, channel, message_id, url, payloads, .. } = *self;
        let masked = mask_json(&request.body, Unmasked { keys: request.event_keys, texts: &[] });
        let logged = match payloads {
            LogPayloads::Masked if request.logged_keys == request.event_keys => {
                Cow::Borrowed(masked.as_str())
            }
            // The log may have the URL of our file.
            LogPayloads::Masked => {
                Cow::Owned(mask_json(&request.body, Unmasked { keys: request.logged_keys, texts: &[] }))
            }
            LogPayloads::Full => Cow::Owned(mask::unmasked(&request.body)),
            LogPayloads::Off => Cow::Borrowed(message_id),
        };
        tracing::info!(
            function,
            channel,
            message_id,
            "request to [{url}] Data [{logged}] with api key header"
        );
        mask::for_event(&masked, BODY_BYTES_MAX)
    }

    /// Logs the response, and returns its body for the result.
    pub(super) fn response(&self, status: u16, body: &[u8]) -> String {
        let Self { function, channel, message_id, url, sending, payloads } = *self;
        let readable = Unmasked { keys: sending.answer_logged_keys(), texts: sending.answer_error_texts() };
        let masked = mask_json(body, readable);
        let logged = match payloads {
            LogPayloads::Masked => Cow::Borrowed(masked.as_str()),
            LogPayloads::Full => Cow::Owned(mask::unmasked(body)),
            LogPayloads::Off => Cow::Owned(format!("{status} {message_id}")),
        };
        tracing::info!(function, channel, message_id, status, "response of [{url}]: {logged}");
        mask::for_event(&masked, BODY_BYTES_MAX)
    }

    /// Logs that no response came.
    pub(super) fn no_response(&self, why: &str) {
        let Self { function, channel, message_id, url, .. } = *self;
        tracing::info!(
            function,
            channel,
            message_id,
            "no response of [{url}] to message {message_id}: {why}"
        );
    }
}

fn mask_json(body: &[u8], readable: Unmasked) -> String {
    mask::body("application/json", body, readable)
}

/// Returns the BSP's id of a call, from the header that has it; empty if there is none, or if it is not an id.
pub(super) fn trace_id(headers: &HeaderMap, name: Option<&str>) -> String {
    let id = name.and_then(|name| headers.get(name)?.to_str().ok()).unwrap_or_default();
    let is_of_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte);
    if id.len() <= TRACE_ID_BYTES_MAX && id.bytes().all(is_of_id) { id.to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_header_is_an_id_and_only_if_it_looks_like_one() {
        let id = |name: Option<&str>, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-trace", value.parse().unwrap());
            headers.insert("authorization", "App secret".parse().unwrap());
            trace_id(&headers, name)
        };
        assert_eq!(id(Some("X-Trace"), "00-0af7:65/19=+_."), "00-0af7:65/19=+_.");
        assert_eq!(id(Some("x-request-id"), "a"), "");
        assert_eq!(id(None, "a"), "");
        for value in ["", "two words", "<b>", "é", &"a".repeat(TRACE_ID_BYTES_MAX + 1)] {
            assert_eq!(id(Some("x-trace"), value), "", "{value}");
        }
    }
}
