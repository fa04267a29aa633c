//! Webhooks with an invalid credential or signature: their log lines, and the delay of their responses.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response, header};
use bsp::BspId;
use bus::rate_limited_log::RateLimitedLog;
use service::Caller;
use service::failures::ResponseDelay;

use crate::channel_cache::ChannelEntry;
use crate::receive::{Ingress, warn};
use crate::response::Rejection;

static UNKNOWN_CHANNEL: RateLimitedLog = RateLimitedLog::new();

impl Ingress {
    /// Logs, at a limited rate, why a known channel's webhook was rejected, and where it came from.
    pub(crate) fn warn_about_rejected(&self, entry: &ChannelEntry, caller: &Caller, why: &str) {
        let Some(turn) = entry.refused.next() else { return };
        let from = self.settings.addresses.log.show(caller.address());
        warn(entry, &format!("rejected a webhook: {why}; it came from {from}{turn}"));
    }

    /// The log does not name the unknown channel, because a stranger may have written the name.
    fn warn_about_unknown_channel(&self, bsp: BspId, caller: &Caller) {
        let Some(turn) = UNKNOWN_CHANNEL.next() else { return };
        let from = self.settings.addresses.log.show(caller.address());
        tracing::warn!(
            function = "ingress",
            "rejected a webhook of {bsp} for an unknown channel; it came from {from}{turn}"
        );
    }

    /// Responds to a webhook with an invalid credential or signature. After too many failures of its caller,
    /// the response is delayed and the connection is closed.
    pub(crate) async fn reject_credential(
        &self,
        rejection: Rejection,
        bsp: BspId,
        channel: &str,
        caller: &Caller,
        parts: &Parts,
        body: Body,
    ) -> Response<Body> {
        let delay = self.failed.count(caller, (bsp, channel));
        if rejection == Rejection::UnknownChannel {
            self.warn_about_unknown_channel(bsp, caller);
        }
        let refuse = self.reject(Some(bsp), rejection, caller, parts, body);
        let (mut response, ()) = tokio::join!(refuse, delay.wait());
        if delay == ResponseDelay::Delayed {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
