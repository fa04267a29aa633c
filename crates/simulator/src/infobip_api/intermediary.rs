//! Systems in front of an account that respond in its place: a load balancer without a backend, one that loses the
//! backend after it has accepted the message, a gateway that refuses the key, a redirect.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::json;

/// Responds to sending calls in place of the account, while it is in [`Faults`](super::Faults).
#[derive(Debug, Clone)]
pub struct Intermediary {
    /// Status of its responses.
    pub status: StatusCode,
    /// Body of its responses.
    pub words: IntermediaryBody,
    /// Its header `Retry-After`.
    pub retry_after: Option<RetryAfter>,
    /// Its header `Location`.
    pub location: Option<String>,
    /// Whether the account has accepted the message, and only its response is lost.
    pub is_after: bool,
    /// It responds only to messages to this customer; `None` for all.
    pub recipient: Option<String>,
    /// Share of these messages that it responds to, from 0 to 1.
    pub share: f64,
}

/// The body of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntermediaryBody {
    /// An HTML page, like those of load balancers and proxies.
    Html,
    /// An error of the account with this name, in the form of the older APIs.
    Account(&'static str),
    /// A validation error of a field of the call.
    Invalid {
        /// Its path.
        field: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// The header `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// As a number.
    Seconds(u64),
    /// As a date this far in the future, rounded up to a whole second.
    Date(Duration),
}

impl Intermediary {
    /// A load balancer without a backend.
    ///
    /// # Panics
    /// If the status is invalid.
    pub fn html(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).expect("a status has three digits"),
            words: IntermediaryBody::Html,
            retry_after: None,
            location: None,
            is_after: false,
            recipient: None,
            share: 1.0,
        }
    }

    /// An error of the account with this name.
    ///
    /// # Panics
    /// If the status is invalid.
    pub fn own(status: u16, name: &'static str) -> Self {
        Self { words: IntermediaryBody::Account(name), ..Self::html(status) }
    }

    /// A validation error of a field of the call.
    pub fn invalid(field: &'static str, what: &'static str) -> Self {
        Self { words: IntermediaryBody::Invalid { field, what }, ..Self::html(400) }
    }

    /// Whether it responds to a call with a message to this customer; drawn for every call.
    pub(super) fn answers(&self, recipient: &str) -> bool {
        self.recipient.as_deref().is_none_or(|only| only == recipient) && fastrand::f64() < self.share
    }

    pub(super) fn answer(&self) -> Response<Full<Bytes>> {
        let (kind, body) = match self.words {
            IntermediaryBody::Html => {
                ("text/html", format!("<html><body><h1>{}</h1></body></html>", self.status))
            }
            IntermediaryBody::Account(name) => {
                let exception = json!({ "messageId": name, "text": "It was refused" });
                ("application/json", json!({ "requestError": { "serviceException": exception } }).to_string())
            }
            IntermediaryBody::Invalid { field, what } => {
                let errors = json!({ field: [what] });
                let exception =
                    json!({ "messageId": "BAD_REQUEST", "text": "Bad request", "validationErrors": errors });
                ("application/json", json!({ "requestError": { "serviceException": exception } }).to_string())
            }
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(location) = self.location.as_ref().and_then(|location| location.parse().ok()) {
            headers.insert(LOCATION, location);
        }
        if let Some(retry_after) = self.retry_after {
            headers.insert(RETRY_AFTER, retry_after.value());
        }
        response
    }
}

impl RetryAfter {
    pub(super) fn value(self) -> HeaderValue {
        let text = match self {
            Self::Seconds(seconds) => seconds.to_string(),
            Self::Date(ahead) => {
                let at = SystemTime::now() + ahead + Duration::from_millis(999);
                httpdate::fmt_http_date(at)
            }
        };
        HeaderValue::from_str(&text).expect("digits and a date can be in a header")
    }
}
