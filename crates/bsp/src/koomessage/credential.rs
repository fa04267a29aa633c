//! KooMessage's webhooks carry the channel's webhook password as the whole value of `Authorization`, without a
//! scheme (AICC, "Interface for receiving and processing report messages sent by KooMessage").

use std::borrow::Cow;

use http::{HeaderMap, header};

pub(super) fn presented(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    headers.get(header::AUTHORIZATION).map(|value| Cow::Borrowed(value.as_bytes()))
}
