//! Answers without a file: always an empty body, and never a type that a browser would guess.

use axum::body::Body;
use axum::http::header::{CONNECTION, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use blob::BlobError;

pub(crate) const NOSNIFF: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));

/// Why a request was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A parameter is missing or wrong.
    BadRequest,
    /// No bearer token, or another.
    Unauthorized,
    /// Unknown, expired, malformed, or another tenant's: nobody is told which.
    NotFound,
    /// Another method.
    Method,
    /// The body did not arrive in time.
    TooSlow,
    /// The body broke off.
    Broken,
    /// The file is larger than WhatsApp takes.
    TooLarge,
    /// WhatsApp does not take such files.
    Type,
    /// Redis has no memory left.
    OutOfMemory,
    /// Redis is away.
    Unavailable,
    /// Too many at once.
    Overloaded,
}

impl Failure {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::Broken => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Type => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::OutOfMemory => StatusCode::INSUFFICIENT_STORAGE,
            Self::Unavailable | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A word for a metric's label.
    pub(crate) fn outcome(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::Method => "method",
            Self::TooSlow => "too_slow",
            Self::Broken => "broken",
            Self::TooLarge => "too_large",
            Self::Type => "type",
            Self::OutOfMemory => "out_of_memory",
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
        }
    }
}

impl From<&BlobError> for Failure {
    fn from(error: &BlobError) -> Self {
        match error {
            BlobError::OutOfMemory => Self::OutOfMemory,
            BlobError::Unavailable(_) | BlobError::Refused(_) | BlobError::Url(_) | BlobError::Expired => {
                Self::Unavailable
            }
        }
    }
}

pub(crate) fn failure(failure: Failure) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = failure.status();
    let headers = response.headers_mut();
    headers.insert(NOSNIFF.0, NOSNIFF.1);
    match failure {
        Failure::Unauthorized => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"imchannel\""));
        }
        Failure::Unavailable | Failure::Overloaded | Failure::OutOfMemory => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        Failure::BadRequest
        | Failure::Broken
        | Failure::NotFound
        | Failure::Method
        | Failure::TooSlow
        | Failure::TooLarge
        | Failure::Type => {}
    }
    response
}

/// The same, on a connection that cannot be used again because some of the body is still to come.
pub(crate) fn failure_and_close(which: Failure) -> Response<Body> {
    let mut response = failure(which);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
