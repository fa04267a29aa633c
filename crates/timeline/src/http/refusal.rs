//! Why a request is not served, and the answer that says so (RFC 9457).

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bus::rate_limited_log::RateLimitedLog;

use crate::http::answer::{Fault, GapAnswer, Problem, ReadUntil, UnreadableAnswer};
use crate::store::{StoreError, error::StoreFault};

/// Value of `Retry-After` while the store or a place is not available, in seconds.
const RETRY_AFTER_S: &str = "5";

/// Value of `WWW-Authenticate`.
pub(crate) const BEARER: &str = "Bearer realm=\"imchannel timeline\"";

static STORE_ERRORS: RateLimitedLog = RateLimitedLog::new();

/// Why a request is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Parameters, headers or the body are invalid: every fault.
    Invalid(Vec<Fault>),
    /// Who asks is not known.
    Unauthorized(&'static str),
    /// Who asks is known, or a browser asks for another page: it is not allowed.
    Forbidden(String),
    /// The user may not do this.
    NeedsRole {
        /// The name of the role that may.
        needed: &'static str,
        /// That of the user's role.
        has: &'static str,
    },
    /// There is no such path.
    NoPath,
    /// Nothing was found.
    NotFound {
        /// What was not found.
        detail: String,
        /// The id, as it may be shown.
        id: Option<String>,
        /// How far each stream was read, and what is not in the store.
        known: Box<Known>,
    },
    /// The path has other methods.
    Method,
    /// The body did not arrive in time.
    TooSlow,
    /// The body is too large.
    TooLarge {
        /// Most bytes.
        limit: usize,
    },
    /// Another one is running.
    Busy(String),
    /// Too many searches are kept.
    TooMany(String),
    /// The store does not answer now, or all places are taken.
    Unavailable(String),
    /// The store cannot be read.
    Damaged,
}

/// What an answer says about the store when nothing was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// How far each stream was read.
    pub(crate) read_until: Vec<ReadUntil>,
    /// Messages that were not read.
    pub(crate) missed: Vec<GapAnswer>,
    /// Number of further ranges of them.
    pub(crate) missed_left_out: u64,
    /// What cannot be read.
    pub(crate) unreadable: Vec<UnreadableAnswer>,
}

impl Known {
    /// How far each stream was read, and nothing else.
    pub(crate) fn until(read_until: Vec<ReadUntil>) -> Self {
        Self { read_until, ..Self::default() }
    }
}

impl Refusal {
    /// An invalid part of the request.
    pub(crate) fn invalid(name: &str, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![Fault { name: name.to_owned(), detail: detail.into() }])
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) | Self::NeedsRole { .. } => StatusCode::FORBIDDEN,
            Self::NoPath | Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Busy(_) => StatusCode::CONFLICT,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Damaged => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Invalid(faults) => {
                let all: Vec<_> =
                    faults.iter().map(|fault| format!("{}: {}", fault.name, fault.detail)).collect();
                all.join("; ")
            }
            Self::Unauthorized(detail) => (*detail).to_owned(),
            Self::NeedsRole { needed, has } => {
                format!("this needs the role {needed}, and you have {has}: ask an operator of the timeline")
            }
            Self::Forbidden(detail)
            | Self::Busy(detail)
            | Self::NotFound { detail, .. }
            | Self::TooMany(detail)
            | Self::Unavailable(detail) => detail.clone(),
            Self::NoPath => "no such path; docs/openapi-timeline.yaml lists all paths".to_owned(),
            Self::Method => "this path has other methods; the header Allow lists them".to_owned(),
            Self::TooSlow => "timed out waiting for the body".to_owned(),
            Self::TooLarge { limit } => format!("the body is larger than {limit} bytes"),
            Self::Damaged => {
                "a part of the store cannot be read; the log of timeline names the file".to_owned()
            }
        }
    }

    /// The answer as JSON.
    pub(crate) fn problem(self) -> Problem {
        let (status, detail) = (self.status(), self.detail());
        let (faults, id, known) = match self {
            Self::Invalid(faults) => (faults, None, Known::default()),
            Self::NotFound { id, known, .. } => (Vec::new(), id, *known),
            _ => (Vec::new(), None, Known::default()),
        };
        let Known { read_until, missed, missed_left_out, unreadable } = known;
        Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail,
            faults,
            id,
            read_until,
            missed,
            missed_left_out,
            unreadable,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        if let Some(turn) = STORE_ERRORS.next() {
            tracing::error!(function = "timeline", "cannot answer a request: {error}{turn}");
        }
        match error.fault() {
            StoreFault::Unavailable | StoreFault::Full | StoreFault::Refused => {
                Self::Unavailable("the store does not answer; the log of timeline says why".to_owned())
            }
            StoreFault::Damaged => Self::Damaged,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let header = match &self {
            Self::Unauthorized(_) => Some((WWW_AUTHENTICATE, HeaderValue::from_static(BEARER))),
            Self::TooMany(_) | Self::Unavailable(_) => {
                Some((RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S)))
            }
            _ => None,
        };
        let body = serde_json::to_vec(&self.clone().problem()).expect("texts and numbers are always JSON");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.headers_mut().extend(header);
        // A browser gets a page of it.
        response.extensions_mut().insert(self);
        response
    }
}
