//! The connections of a port: which are accepted, which is closed when the port is full, and how they end.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::files;
use crate::http::caller::{CallerLimits, Peer};
use crate::http::connections::{Open, Table};
use crate::http::handler::{Handler, handle};
use crate::http::options::HttpServer;
use crate::http::timeouts::{ConnectionTimeouts, TimeoutStream};

/// Longest request head in bytes, and size of the read buffer. This limits the memory that a caller can make
/// a connection use. Complete heads of BSPs and their proxies have less than 4 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Pause after a failed accept (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Interval of the checks for an idle connection while all connections are busy and another one waits.
const CAPACITY_RETRY_DELAY: Duration = Duration::from_millis(20);
/// Divisor that gives the limit of one address from the limit of all connections, if no other limit is set.
const ADDRESS_PART: usize = 10;

/// A port with its connections.
pub(crate) struct Port<H> {
    handler: H,
    builder: http1::Builder,
    tls: Option<TlsAcceptor>,
    timeouts: ConnectionTimeouts,
    limits: Arc<CallerLimits>,
    table: Table,
    connections_max: usize,
    connections: JoinSet<()>,
    graceful: GracefulShutdown,
    ending: CancellationToken,
}

/// An accepted connection that has no place yet.
struct Accepted {
    stream: TcpStream,
    peer: Peer,
}

impl<H: Handler> Port<H> {
    pub(crate) fn new(handler: H, server: HttpServer) -> Self {
        let HttpServer { limits, tls, addresses, metrics, .. } = server;
        let mut builder = http1::Builder::new();
        // Responses are not batched (`pipeline_flush`): the next request of a connection is read after the
        // last response was written. A client that does not read responses gets no more of them. hyper would
        // batch without a limit.
        builder.max_buf_size(HEAD_BYTES_MAX);
        let connections_max = files::connections_max(limits.connections);
        let per_address = addresses.connections_max.unwrap_or((connections_max / ADDRESS_PART).max(1));
        Self {
            handler,
            builder,
            tls,
            timeouts: ConnectionTimeouts { head: limits.head, idle: limits.idle },
            limits: Arc::new(CallerLimits::new(addresses, per_address, metrics)),
            table: Table::new(connections_max, per_address),
            connections_max,
            connections: JoinSet::new(),
            graceful: GracefulShutdown::new(),
            ending: CancellationToken::new(),
        }
    }

    /// Accepts connections until it is dropped. A connection waits while the port is full.
    pub(crate) async fn accept(&mut self, listener: &TcpListener) {
        let mut waiting: Option<Accepted> = None;
        loop {
            if self.table.has_capacity()
                && let Some(arrived) = waiting.take()
            {
                self.begin(arrived);
            }
            let is_full = waiting.is_some();
            if is_full && self.table.make_capacity() {
                self.limits.metrics.closed_longest_idle(self.connections_max);
            }
            tokio::select! {
                Some(ended) = self.connections.join_next_with_id() => {
                    self.table.remove(ended.map_or_else(|error| error.id(), |(id, ())| id));
                    self.limits.metrics.connections.dec();
                }
                accepted = listener.accept(), if !is_full => match accepted {
                    Ok((stream, from)) => waiting = self.admit(stream, from.ip()),
                    Err(error) => {
                        tracing::warn!(function = "http", "cannot accept a connection: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = tokio::time::sleep(CAPACITY_RETRY_DELAY), if is_full => {}
            }
        }
    }

    /// Closes the connection of an address that has reached its limit.
    fn admit(&self, stream: TcpStream, address: IpAddr) -> Option<Accepted> {
        let peer = Peer::new(address, Arc::clone(&self.limits));
        if peer.counted_for().is_some_and(|address| !self.table.admits(address)) {
            let CallerLimits { addresses, per_address, metrics, .. } = &*self.limits;
            metrics.refused_connection(address, *per_address, addresses.log);
            return None;
        }
        Some(Accepted { stream, peer })
    }

    /// Serves a connection in a separate task. A broken connection is not logged: its sender received no
    /// response and retries.
    fn begin(&mut self, arrived: Accepted) {
        let Accepted { stream, peer } = arrived;
        // Send data when it is ready; waiting to fill a packet only adds latency.
        let _ = stream.set_nodelay(true);
        let (requests, address) = (peer.requests.clone(), peer.counted_for());
        let stream = TimeoutStream::new(stream, self.timeouts, requests.clone(), self.ending.clone());
        let (handler, peer) = (self.handler.clone(), Arc::new(peer));
        let service =
            hyper::service::service_fn(move |request| handle(handler.clone(), Arc::clone(&peer), request));
        let task = match &self.tls {
            None => {
                let connection = self.builder.serve_connection(TokioIo::new(stream), service);
                let connection = self.graceful.watch(connection);
                self.connections.spawn(async move {
                    let _ = connection.await;
                })
            }
            Some(tls) => {
                let (builder, watcher) = (self.builder.clone(), self.graceful.watcher());
                let (handshake, ending) = (tls.accept(stream), self.ending.clone());
                self.connections.spawn(async move {
                    // The timeout of a head is also the timeout of a TLS handshake. An unfinished handshake
                    // does not delay the stop.
                    let stream = tokio::select! {
                        stream = handshake => stream,
                        () = ending.cancelled() => return,
                    };
                    if let Ok(mut stream) = stream {
                        stream.get_mut().0.reset();
                        let _ = watcher.watch(builder.serve_connection(TokioIo::new(stream), service)).await;
                    }
                })
            }
        };
        self.limits.metrics.connections.inc();
        self.table.insert(Open { address, requests, task, is_leaving: false });
    }

    /// Finishes what is in progress.
    pub(crate) async fn end(mut self, grace: Duration) {
        self.ending.cancel();
        if tokio::time::timeout(grace, self.graceful.shutdown()).await.is_err() {
            tracing::warn!(function = "http", "some connections were still busy after the grace period");
        }
        // The caller continues only when all connections have ended.
        self.connections.shutdown().await;
        self.limits.metrics.connections.set(0);
    }
}
