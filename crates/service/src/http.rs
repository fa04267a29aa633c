//! An HTTP/1.1 server that slow or many senders cannot wear out: limits on connections, heads and idleness, and a
//! stop that lets every request in progress have its answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::patience::{Patience, PatientStream, Requests};

/// Bytes of a request's head at most, and of what is read of a connection at once: what a stranger can make a connection
/// hold. Whole heads of BSPs and their proxies have less than 4 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// After a failed accept (too many open files), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The limits of a server.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// Connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// From the first byte of a head to its end.
    pub head: Duration,
    /// How long a connection may stay without a request. Longer than the load balancer's own limit, so that it and
    /// not we closes a connection.
    pub idle: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        let (head, idle) = (Duration::from_secs(10), Duration::from_secs(75));
        Self { connections: 4096, head, idle }
    }
}

/// How a port is served.
#[derive(Clone, Default)]
pub struct HttpServer {
    /// Its limits.
    pub limits: HttpLimits,
    /// HTTPS; HTTP without it.
    pub tls: Option<TlsAcceptor>,
    /// After a stop, for how long requests are still taken, so that load balancers notice that the process is not ready.
    pub drain_delay: Duration,
}

impl std::fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpServer").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What answers requests. axum's router does, and a service whose every request goes the same way may do without one.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers a request.
    fn handle(self, request: Request) -> impl Future<Output = Response> + Send;
}

impl Handler for Router {
    async fn handle(self, request: Request) -> Response {
        self.oneshot(request).await.unwrap_or_else(|never| match never {})
    }
}

/// Serves until `stop` and the drain delay after it, then finishes what is in progress within `grace`.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    handler: H,
    server: HttpServer,
    stop: CancellationToken,
    grace: Duration,
) {
    let HttpServer { limits, tls, drain_delay } = server;
    let mut builder = http1::Builder::new();
    // Answers are never gathered (`pipeline_flush`): the next request of a connection is read when the last one's answer has
    // gone out, so that a sender that reads no answers is not given any more of them. hyper would gather without a limit.
    builder.max_buf_size(HEAD_BYTES_MAX);
    let patience = Patience { head: limits.head, idle: limits.idle };
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let closing = async {
        stop.cancelled().await;
        tokio::time::sleep(drain_delay).await;
    };
    let mut closing = std::pin::pin!(closing);
    let ending = CancellationToken::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = &mut closing => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let requests = Requests::default();
        let stream = PatientStream::new(stream, patience, requests.clone(), ending.clone());
        let handler = handler.clone();
        let service =
            hyper::service::service_fn(move |request| handle(handler.clone(), requests.clone(), request));
        // A connection that breaks is the sender's affair; it has no answer and will come again.
        let Some(tls) = &tls else {
            let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
            connections.spawn(async move {
                let _ = connection.await;
                drop(place);
            });
            continue;
        };
        let (builder, watcher, handshake) = (builder.clone(), graceful.watcher(), tls.accept(stream));
        let ending = ending.clone();
        connections.spawn(async move {
            // The patience with a head is the patience with a handshake too. An unfinished one does not hold up the end.
            let stream = tokio::select! {
                stream = handshake => stream,
                () = ending.cancelled() => return,
            };
            if let Ok(mut stream) = stream {
                stream.get_mut().0.wait_anew();
                let _ = watcher.watch(builder.serve_connection(TokioIo::new(stream), service)).await;
            }
            drop(place);
        });
    }
    drop(listener);
    ending.cancel();
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!(function = "http", "some connections were still busy after the grace time");
    }
    // Whoever called goes on when nothing of them is left.
    connections.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // What is ready goes out: waiting to fill a packet only costs time.
            let _ = stream.set_nodelay(true);
            Some((stream, place))
        }
        Err(error) => {
            tracing::warn!(function = "http", "cannot accept a connection: {error}");
            None
        }
    }
}

async fn handle<H: Handler>(
    handler: H,
    requests: Requests,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    requests.begin();
    let response = handler.handle(request.map(Body::new)).await;
    if response.body().is_end_stream() {
        requests.end();
        return Ok(response);
    }
    // An answer with a body has not ended before its last byte: a long one is no idleness.
    Ok(response.map(|body| Body::new(Answering { body, requests })))
}

/// The body of an answer, which ends its request when it is dropped.
struct Answering {
    body: Body,
    requests: Requests,
}

impl http_body::Body for Answering {
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

impl Drop for Answering {
    fn drop(&mut self) {
        self.requests.end();
    }
}
