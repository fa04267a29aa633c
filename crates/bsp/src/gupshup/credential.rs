//! Gupshup's webhooks carry the channel's webhook password as the whole value of `Authorization` (AICC,
//! "Interface for receiving and processing report messages sent by Gupshup"). Gupshup sends such a header only
//! for a subscription made through its partner API.

use std::borrow::Cow;

use http::{HeaderMap, header};

pub(super) fn presented(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    headers.get(header::AUTHORIZATION).map(|value| Cow::Borrowed(value.as_bytes()))
}
