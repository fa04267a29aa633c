//! An HTTP/1.1 server that resists slow clients and too many clients: it limits connections, request heads
//! and idle time. A stop lets every request in progress receive its response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::addresses::Addresses;
use crate::caller::{Caller, Peer, TooManyRequests};
use crate::drain_body::drain_body;
use crate::in_flight::InFlightRequest;
use crate::limits::PortMetrics;
use crate::port::Port;

/// Value of `Retry-After` for a caller with too many requests in flight, in seconds.
const RETRY_AFTER_S: &str = "5";

/// Limits of an HTTP server.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// Most open connections. When a further one arrives, the connection that is idle for longest is closed;
    /// if none is idle, the new one waits.
    pub connections: usize,
    /// Timeout of a request head, from its first byte to its end.
    pub head: Duration,
    /// Timeout of a connection without a request. It should be longer than the timeout of the load balancer,
    /// so that the load balancer closes the connection.
    pub idle: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        let (head, idle) = (Duration::from_secs(10), Duration::from_secs(75));
        Self { connections: 4096, head, idle }
    }
}

/// Options of an HTTP server.
#[derive(Clone, Default)]
pub struct HttpServer {
    /// Its limits.
    pub limits: HttpLimits,
    /// TLS acceptor; `None` for plain HTTP.
    pub tls: Option<TlsAcceptor>,
    /// Time for which requests are still accepted after a stop, so that load balancers notice that the process is not
    /// ready.
    pub drain_delay: Duration,
    /// The proxies in front, and the limits of each address.
    pub addresses: Addresses,
    /// Metrics of the port.
    pub metrics: PortMetrics,
}

impl std::fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpServer").field("limits", &self.limits).finish_non_exhaustive()
    }
}

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

/// Serves until `stop` and the drain delay after it, then finishes the requests in progress within `grace`.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    handler: H,
    server: HttpServer,
    stop: CancellationToken,
    grace: Duration,
) {
    let drain_delay = server.drain_delay;
    let mut port = Port::new(handler, server);
    let closing = async {
        stop.cancelled().await;
        tokio::time::sleep(drain_delay).await;
    };
    tokio::select! {
        () = closing => {}
        () = port.accept(&listener) => {}
    }
    drop(listener);
    port.end(grace).await;
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
    if !drain_body(&parts.headers, body, false).await {
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
