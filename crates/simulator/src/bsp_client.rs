//! The interface of a simulated BSP: format, authentication and timeouts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::endpoint::Endpoint;
use crate::event::{Event, Ids, Notice, Step};
use crate::expected::Expected;
use crate::plan::{Plan, RunTag};

/// A body and the expected events.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    /// `report` or `message`: the URL that this BSP posts it to.
    pub(crate) route: &'static str,
    pub(crate) bytes: Bytes,
    pub(crate) expected: Arc<[Expected]>,
}

/// Result of a call that was not answered 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Another status.
    Status(u16),
    /// The connection was refused.
    NotConnected,
    /// The BSP's timeout has passed.
    TimedOut,
    /// The connection was lost: it is unknown whether the webhook was accepted.
    Broken,
}

/// A simulated BSP.
pub(crate) trait BspClient: Sync + std::fmt::Debug {
    /// Whether it reports such a step.
    fn reports(&self, step: Step) -> bool;

    /// Most items in one of its bodies.
    fn batch_max(&self, _plan: &Plan) -> usize {
        1
    }

    /// Ids of a new message, in this BSP's form. Both contain the run's tag and end with the number as twelve
    /// hexadecimal digits.
    fn ids(&self, run: RunTag, number: u64, random: &mut fastrand::Rng) -> Ids;

    /// One body for these events.
    fn body(&self, endpoint: &Endpoint, events: &[Event]) -> Body;

    /// One body about the account or a customer; `None` if the BSP does not report it here.
    fn notice(&self, _endpoint: &Endpoint, _notice: &Notice) -> Option<Body> {
        None
    }

    /// Body that it posts before anything else.
    fn greetings(&self) -> Vec<Body> {
        Vec::new()
    }

    /// Whether it treats a response as success.
    fn is_success(&self, status: StatusCode, _body: &[u8]) -> bool {
        status == StatusCode::OK
    }

    /// Timeout of a call.
    fn timeout(&self) -> Duration;

    /// Delay before the retry of this number, from 0; `None` if it gives up.
    fn retry_delay(&self, repeat: u32, failure: Failure, plan: &Plan) -> Option<Duration>;

    /// The headers of its call.
    fn headers(&self, endpoint: &Endpoint, body: &Body) -> HeaderMap;

    /// Headers of the second call, if the response to the first requested a credential.
    fn answer_challenge(&self, _endpoint: &Endpoint, _challenge: &str) -> Option<HeaderMap> {
        None
    }
}

/// Creates headers from names and values that are known to be valid.
pub(crate) fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        if let Ok(value) = value.parse() {
            headers.insert(*name, value);
        }
    }
    headers
}

/// An id in the form of a UUID, with the run's tag at the beginning and the number at its end.
pub(crate) fn uuid(run: RunTag, number: u64, random: &mut fastrand::Rng) -> String {
    format!(
        "{run}-{:04x}-4{:03x}-8{:03x}-{number:012x}",
        random.u16(..),
        random.u16(..0x1000),
        random.u16(..0x1000)
    )
}
