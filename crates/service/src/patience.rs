//! How long a connection may take over the head of a request.
//!
//! hyper has one limit for both, waiting for a request and receiving its head. A proxy keeps idle connections for a
//! minute, while a head that trickles for a minute is an attack (slow loris). So the connection is watched here: from
//! the first byte of a head, its end must come within the limit.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// How many requests of a connection have begun and ended. Between a beginning and its end, what is read is a body;
/// after a beginning, the head that was on the way has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Requests {
    pub(crate) fn begin(&self) {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }

    fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::Relaxed)
    }

    fn is_busy(&self) -> bool {
        self.begun() != self.0.ended.load(Ordering::Relaxed)
    }
}

/// A connection whose heads are watched.
#[derive(Debug)]
pub(crate) struct PatientStream {
    stream: TcpStream,
    requests: Requests,
    head_limit: Duration,
    /// When the head that has begun must have ended, and the count of requests that it began at.
    head_ends: Option<(Pin<Box<Sleep>>, u64)>,
}

impl PatientStream {
    pub(crate) fn new(stream: TcpStream, head_limit: Duration, requests: Requests) -> Self {
        Self { stream, requests, head_limit, head_ends: None }
    }
}

impl AsyncRead for PatientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let begun = this.requests.begun();
        if this.requests.is_busy() || this.head_ends.as_ref().is_some_and(|(_, since)| *since != begun) {
            this.head_ends = None;
        }
        if this.requests.is_busy() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if read.is_ready() && buffer.filled().len() > before && this.head_ends.is_none() {
            this.head_ends = Some((Box::pin(sleep(this.head_limit)), begun));
        }
        if let Some((head_ends, _)) = &mut this.head_ends
            && head_ends.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for PatientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
