//! One request of a connection: it is counted for its caller and passed to the handler, and it ends with the last byte of its
//! response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tower::ServiceExt;

use crate::http::caller::{Caller, Peer, TooManyRequests};
use crate::http::drain_body::{BodyState, drain_body};
use crate::http::in_flight::InFlightRequest;

/// Value of `Retry-After` for a caller with too many requests in flight, in seconds.
const RETRY_AFTER_S: &str = "5";

/// Responds to requests. axum's router implements it. A service whose requests all go to one function can
/// implement it too.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Responds to a request of a caller.
    fn handle(self, caller: Caller, request: Request) -> impl Future<Output = Response> + Send;
}

/// The caller is in the request's extensions.
impl Handler for Router {
    async fn handle(self, caller: Caller, mut request: Request) -> Response {
        request.extensions_mut().insert(caller);
        self.oneshot(request).await.unwrap_or_else(|never| match never {})
    }
}

/// The connection is being closed to make room, so this request does not begin.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed to make room for another one")]
pub(crate) struct ClosedForOther;

/// Responds to a request of a connection.
pub(crate) async fn handle<H: Handler>(
    handler: H,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> Result<Response, ClosedForOther> {
    if !peer.requests.begin() {
        return Err(ClosedForOther);
    }
    let request = request.map(Body::new);
    let (response, in_flight) = match peer.admit(request.headers()) {
        Ok(admitted) => (handler.handle(admitted.caller, request).await, admitted.in_flight),
        Err(TooManyRequests) => (refuse(&peer, request).await, None),
    };
    if response.body().is_end_stream() {
        peer.requests.end();
        return Ok(response);
    }
    // A response with a body ends with its last byte. Until then the connection is not idle.
    Ok(response.map(|body| Body::new(TrackedBody { body, peer, _in_flight: in_flight })))
}

/// Answers 503 to a caller that has too many requests in flight.
async fn refuse(peer: &Peer, request: Request) -> Response {
    peer.requests.release_permit();
    let (parts, body) = request.into_parts();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    if !drain_body(&parts.headers, body, BodyState::Unread).await {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The body of a response. Dropping it ends the request.
struct TrackedBody {
    body: Body,
    peer: Arc<Peer>,
    _in_flight: Option<InFlightRequest>,
}

impl http_body::Body for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.peer.requests.end();
    }
}
