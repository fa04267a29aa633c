//! The responses of ingress. A 200 can be created only from the proof that the webhook is stored.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};

use crate::body_memory::Full;
use crate::stored::Stored;

/// Value of `Retry-After`, in seconds.
const RETRY_AFTER_S: &str = "5";

/// The reason why a webhook is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// No such BSP, or no such path.
    NotFound,
    /// Not a POST.
    MethodNotAllowed,
    /// No credential, from a BSP that sends it only after a 401. This is its normal first call.
    Challenged,
    /// The channel is unknown. This and the next four have the same response, so that callers cannot tell
    /// which one applies.
    UnknownChannel,
    /// The channel belongs to another BSP.
    OtherBsp,
    /// No credential.
    NoCredential,
    /// The credential does not belong to the channel.
    WrongCredential,
    /// The signature is invalid.
    WrongSignature,
    /// A header that is stored with the webhook is too long.
    HeaderTooLarge,
    /// The media type is not the BSP's.
    WrongMediaType,
    /// The body is compressed or otherwise encoded.
    WrongEncoding,
    /// The charset is not UTF-8, and the body contains bytes that are not UTF-8.
    WrongCharset,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// The body did not arrive within its timeout.
    BodyTooSlow,
    /// The connection ended during the body, so no one reads the response.
    BodyBroken,
    /// The bodies of this channel have reached their share of memory.
    ChannelOverloaded,
    /// Too many requests are in progress.
    Overloaded,
    /// The channels were not read within the time that a webhook waits for them, or this channel's signing keys cannot be read.
    NotReady,
    /// The webhook was not stored before the deadline, and not spooled.
    NotStored,
}

impl Rejection {
    /// Every reason.
    pub(crate) const ALL: [Self; 19] = [
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Challenged,
        Self::UnknownChannel,
        Self::OtherBsp,
        Self::NoCredential,
        Self::WrongCredential,
        Self::WrongSignature,
        Self::HeaderTooLarge,
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

    /// The cause in the metrics. It tells operators what to fix, and where.
    pub(crate) const fn cause(self) -> &'static str {
        match self {
            Self::UnknownChannel => "unknown_channel",
            Self::OtherBsp => "other_bsp",
            Self::NoCredential => "no_credential",
            Self::WrongCredential => "wrong_credential",
            Self::WrongSignature => "wrong_signature",
            other => other.outcome(),
        }
    }

    /// The outcome in the metrics: one label value for all responses with 401.
    pub(crate) const fn outcome(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Challenged => "challenged",
            Self::UnknownChannel
            | Self::OtherBsp
            | Self::NoCredential
            | Self::WrongCredential
            | Self::WrongSignature => "unauthorized",
            Self::HeaderTooLarge => "header_too_large",
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

    /// Whether the response is 401 because of a credential, a signature or a channel.
    pub(crate) fn is_unauthorized(self) -> bool {
        self.outcome() == Self::UnknownChannel.outcome()
    }

    /// Whether some of the body may have been read before this rejection.
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
            Self::Challenged
            | Self::UnknownChannel
            | Self::OtherBsp
            | Self::NoCredential
            | Self::WrongCredential
            | Self::WrongSignature => StatusCode::UNAUTHORIZED,
            // RFC 6585 section 5.
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
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

    /// The response, with an empty body. A 401 contains `challenge`.
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

impl From<Full> for Rejection {
    fn from(full: Full) -> Self {
        match full {
            Full::Channel => Self::ChannelOverloaded,
            Full::All => Self::Overloaded,
        }
    }
}

/// The response to a stored webhook.
pub(crate) fn stored(_proof: Stored) -> Response<Body> {
    empty(StatusCode::OK)
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
