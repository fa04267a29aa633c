//! What ingress answers. A 200 is made out of the proof that the webhook is stored, and out of nothing else.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use bus::Stored;

use crate::memory::Full;

/// Seconds after which a sender may try again.
const RETRY_AFTER_S: &str = "5";

/// Why a webhook is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such BSP, or no such path.
    NotFound,
    /// Not a POST.
    MethodNotAllowed,
    /// No credential, from a BSP that shows one only when asked: its normal first call.
    Challenged,
    /// Wrong, missing or unknown credential or signature, or unknown channel; nobody is told which.
    Unauthorized,
    /// Another media type than the BSP's.
    WrongMediaType,
    /// A body that is compressed or otherwise encoded.
    WrongEncoding,
    /// Another charset than UTF-8, and bytes that are not UTF-8.
    WrongCharset,
    /// A body over the limit.
    BodyTooLarge,
    /// A body that did not arrive in time.
    BodyTooSlow,
    /// A body that broke off: nobody is there to read the answer.
    BodyBroken,
    /// Bodies of this channel hold as much memory as one channel may.
    ChannelOverloaded,
    /// Too much is in progress.
    Overloaded,
    /// The channels were not read yet, or this channel's signing keys cannot be.
    NotReady,
    /// Not stored before the deadline.
    NotStored,
}

impl Refusal {
    /// Every refusal, for tables.
    pub(crate) const ALL: [Self; 14] = [
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Challenged,
        Self::Unauthorized,
        Self::WrongMediaType,
        Self::WrongEncoding,
        Self::WrongCharset,
        Self::BodyTooLarge,
        Self::BodyTooSlow,
        Self::BodyBroken,
        Self::ChannelOverloaded,
        Self::Overloaded,
        Self::NotReady,
        Self::NotStored,
    ];

    /// The word in the metrics.
    pub(crate) const fn outcome(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Challenged => "challenged",
            Self::Unauthorized => "unauthorized",
            Self::WrongMediaType => "wrong_media_type",
            Self::WrongEncoding => "wrong_encoding",
            Self::WrongCharset => "wrong_charset",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTooSlow => "body_too_slow",
            Self::BodyBroken => "body_broken",
            Self::ChannelOverloaded => "channel_overloaded",
            Self::Overloaded => "overloaded",
            Self::NotReady => "not_ready",
            Self::NotStored => "not_stored",
        }
    }

    /// Whether some of the body may have been read before this refusal.
    pub(crate) const fn comes_after_body(self) -> bool {
        matches!(
            self,
            Self::WrongCharset | Self::BodyTooLarge | Self::BodyTooSlow | Self::BodyBroken | Self::NotStored
        )
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Challenged | Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::WrongMediaType | Self::WrongEncoding | Self::WrongCharset => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::ChannelOverloaded | Self::Overloaded | Self::NotReady | Self::NotStored => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// The answer, with an empty body. `challenge` goes with a 401.
    pub(crate) fn to_response(self, challenge: Option<&'static str>) -> Response<Body> {
        let mut response = empty(self.status());
        let headers = response.headers_mut();
        match self.status() {
            StatusCode::UNAUTHORIZED => {
                if let Some(challenge) = challenge {
                    headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                }
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            _ => {}
        }
        if self == Self::WrongEncoding {
            // RFC 9110 section 12.5.3.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        response
    }
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        match full {
            Full::Channel => Self::ChannelOverloaded,
            Full::All => Self::Overloaded,
        }
    }
}

/// The answer to a webhook that is stored.
pub(crate) fn stored(_proof: Stored) -> Response<Body> {
    empty(StatusCode::OK)
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
