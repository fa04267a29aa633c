//! Webhooks without a right credential or signature: what the log says of them, and how fast they are answered.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response, header};
use bsp::BspId;
use bus::seldom::Seldom;
use service::Caller;
use service::failures::Pace;

use crate::answer::Refusal;
use crate::doors::Door;
use crate::receive::{Ingress, warn};

static UNKNOWN_CHANNEL: Seldom = Seldom::new();

impl Ingress {
    /// Says in the log now and then why a known channel's webhook was refused, and where it came from.
    pub(crate) fn warn_of_refused(&self, door: &Door, caller: &Caller, why: &str) {
        let Some(turn) = door.refused.turn() else { return };
        let from = self.settings.addresses.log.show(caller.address());
        warn(door, &format!("a webhook was refused: {why}; it came from {from}{turn}"));
    }

    /// A made-up channel is not named: the log holds what we know, and not what strangers write.
    fn warn_of_unknown(&self, bsp: BspId, caller: &Caller) {
        let Some(turn) = UNKNOWN_CHANNEL.turn() else { return };
        let from = self.settings.addresses.log.show(caller.address());
        tracing::warn!(
            function = "ingress",
            "a webhook of {bsp} for a channel that is not known was refused; it came from {from}{turn}"
        );
    }

    /// Answers a webhook without a right credential or signature. After too many failures of its caller, the answer waits
    /// and the connection is closed.
    pub(crate) async fn refuse_credential(
        &self,
        refusal: Refusal,
        bsp: BspId,
        channel: &str,
        caller: &Caller,
        parts: &Parts,
        body: Body,
    ) -> Response<Body> {
        let pace = self.failed.count(caller, (bsp, channel));
        if refusal == Refusal::UnknownChannel {
            self.warn_of_unknown(bsp, caller);
        }
        let refuse = self.refuse(Some(bsp), refusal, caller, parts, body);
        let (mut response, ()) = tokio::join!(refuse, pace.wait());
        if pace == Pace::Delayed {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
