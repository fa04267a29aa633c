//! Infobip's webhooks carry the channel's webhook password in the header `AccountKey` (AICC, "Receiving and
//! Processing Reports Sent on Infobip").

use std::borrow::Cow;

use http::HeaderMap;

pub(super) fn presented(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    headers.get("accountkey").map(|value| Cow::Borrowed(value.as_bytes()))
}
