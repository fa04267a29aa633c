//! Responses without a file. The body is empty unless a reason helps the caller. Browsers must not guess the
//! media type.

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use blob::BlobError;
use bsp::media::{MediaKind, OtherFormat};
use serde_json::json;

/// Header of every response that stops browsers from guessing the media type.
pub(crate) const NOSNIFF: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));

/// The reason why a request was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A parameter is missing or invalid.
    BadRequest,
    /// No bearer token, or a wrong one.
    Unauthorized,
    /// The file is unknown, expired, malformed, or another tenant's. The response does not tell which.
    NotFound,
    /// The method is not allowed.
    Method,
    /// The body did not arrive within its timeout.
    TooSlow,
    /// The connection ended during the body.
    Broken,
    /// The file is larger than WhatsApp accepts.
    TooLarge,
    /// WhatsApp does not accept this type of file.
    Type(TypeFault),
    /// Redis has no memory left.
    OutOfMemory,
    /// Redis is unavailable.
    Unavailable,
    /// Too many requests are in progress.
    Overloaded,
}

/// The error in a file's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TypeFault {
    /// WhatsApp does not accept the announced type for this kind, or the type is missing.
    NotTaken(MediaKind),
    /// The bytes do not match the announced type.
    OtherFormat(OtherFormat),
}

impl TypeFault {
    fn detail(self) -> String {
        match self {
            Self::NotTaken(kind) => {
                let (name, types) = (kind.name(), kind.content_types().join(", "));
                format!("Content-Type must be one of these for kind={name}: {types}")
            }
            Self::OtherFormat(other) => format!("The file does not match its Content-Type: {other}"),
        }
    }
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
            Self::Type(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::OutOfMemory => StatusCode::INSUFFICIENT_STORAGE,
            Self::Unavailable | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The value of a metric's label.
    pub(crate) fn outcome(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::Method => "method",
            Self::TooSlow => "too_slow",
            Self::Broken => "broken",
            Self::TooLarge => "too_large",
            Self::Type(_) => "type",
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
            BlobError::Unavailable(_)
            | BlobError::Refused(_)
            | BlobError::Url(_)
            | BlobError::NoFunctions
            | BlobError::MayNotCall(_)
            | BlobError::Expired => Self::Unavailable,
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
        Failure::Type(fault) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
            *response.body_mut() = Body::from(problem(failure.status(), &fault.detail()));
        }
        Failure::BadRequest
        | Failure::Broken
        | Failure::NotFound
        | Failure::Method
        | Failure::TooSlow
        | Failure::TooLarge => {}
    }
    response
}

/// Problem details (RFC 9457). With the type `about:blank`, the title is the status's reason phrase.
fn problem(status: StatusCode, detail: &str) -> String {
    let title = status.canonical_reason().unwrap_or_default();
    json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail }).to_string()
}

/// The same, on a connection that cannot be reused because some of the body is still to arrive.
pub(crate) fn failure_and_close(which: Failure) -> Response<Body> {
    let mut response = failure(which);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
