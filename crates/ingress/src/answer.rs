//! What ingress answers. A 200 is made out of the proof that the webhook is stored, and out of nothing else.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use bus::Stored;

use crate::memory::Full;

/// Value of `Retry-After`, in seconds.
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
    /// The channel is not known. This and the next four are answered alike: nobody outside is told which it was.
    UnknownChannel,
    /// The channel is another BSP's.
    OtherBsp,
    /// No credential.
    NoCredential,
    /// A credential that is none of the channel's.
    WrongCredential,
    /// A signature that does not hold.
    WrongSignature,
    /// A header that is stored with the webhook, and that is too long for it.
    HeaderTooLarge,
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
    /// Every refusal.
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

    /// The cause in the metrics, for operators: what has to be mended, and where.
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

    /// The outcome in the metrics: one word for all that is answered 401.
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

    /// Whether it is answered 401 because of a credential, a signature or a channel.
    pub(crate) fn is_unauthorized(self) -> bool {
        self.outcome() == Self::UnknownChannel.outcome()
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
