//! Timeouts of a connection: idle time, and the time for a request head.
//!
//! hyper has one timeout for both, and sets a timer for every request. A proxy keeps idle connections for a
//! minute, but a head that takes a minute is an attack (slow loris). So this stream measures the time from
//! the first byte of a head to its end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::http::linger::Linger;
use crate::http::requests::Requests;

/// Fewest bytes of a response that a client must read within the idle timeout to keep its connection.
const TAKEN_BYTES_MIN: usize = 256 * 1024;

/// The timeouts of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionTimeouts {
    /// From the first byte of a head to its end.
    pub(crate) head: Duration,
    /// Idle time without a request.
    pub(crate) idle: Duration,
}

/// A connection that is timed between requests and during a head. It has one timer. A request does not reset
/// the timer; if the timer fires too early, it is extended.
#[derive(Debug)]
pub(crate) struct TimeoutStream {
    stream: TcpStream,
    requests: Requests,
    timeouts: ConnectionTimeouts,
    wait: Wait,
    alarm: Option<Pin<Box<Sleep>>>,
    /// Set while the peer reads a response more slowly than it is written.
    slow: Option<Slow>,
    /// Canceled when the server stops.
    ending: CancellationToken,
    /// It was idle for too long, so the peer sends nothing that could be lost.
    was_given_up: bool,
    linger: Option<Linger>,
}

/// A response that the peer reads slowly.
#[derive(Debug)]
struct Slow {
    since: Instant,
    /// Bytes that the peer has read since then.
    taken: usize,
    /// The number of requests at the beginning: a later response is a different one.
    begun: u64,
}

/// The current wait for a request.
#[derive(Debug)]
struct Wait {
    since: Instant,
    /// Whether a part of the head has arrived.
    is_head: bool,
    /// The number of requests at the beginning.
    begun: u64,
}

impl TimeoutStream {
    pub(crate) fn new(
        stream: TcpStream,
        timeouts: ConnectionTimeouts,
        requests: Requests,
        ending: CancellationToken,
    ) -> Self {
        let wait = Wait { since: Instant::now(), is_head: false, begun: requests.started() };
        let (alarm, slow, was_given_up, linger) = (None, None, false, None);
        Self { stream, requests, timeouts, wait, alarm, slow, ending, was_given_up, linger }
    }

    /// The bytes so far were not part of a request: the connection waits for its first request from now on.
    pub(crate) fn reset(&mut self) {
        self.wait = Wait { since: Instant::now(), is_head: false, begun: self.requests.started() };
    }

    /// Keeps a timer set that ends nothing. After a response, hyper does not check for the next request until
    /// something wakes it, so the connection of a vanished sender would otherwise stay open.
    fn keep_timer_armed(&mut self, cx: &mut Context<'_>) {
        let idle = self.timeouts.idle;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + idle)));
        while alarm.as_mut().poll(cx).is_ready() {
            alarm.as_mut().reset(Instant::now() + idle);
        }
    }

    /// Returns the result of a write. Closes the connection if the peer has read almost nothing of a response
    /// for the idle timeout: otherwise it could keep the response open without a limit.
    fn watch_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &written
            && let Some(slow) = &mut self.slow
        {
            slow.taken += count;
        }
        if written.is_ready() {
            return written;
        }
        let begun = self.requests.started();
        let fresh = Slow { since: Instant::now(), taken: 0, begun };
        let slow = match self.slow.take() {
            Some(slow) if slow.begun == begun => slow,
            _ => fresh,
        };
        if !self.is_past(cx, slow.since + self.timeouts.idle) {
            self.slow = Some(slow);
            return Poll::Pending;
        }
        if slow.taken < TAKEN_BYTES_MIN {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.keep_timer_armed(cx);
        Poll::Pending
    }

    /// Whether the timeout has passed. If not, the task is woken when it has.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let limit = if self.wait.is_head { self.timeouts.head } else { self.timeouts.idle };
        self.is_past(cx, self.wait.since + limit)
    }

    /// Whether a time has passed. If not, the task is woken when it has.
    fn is_past(&mut self, cx: &mut Context<'_>, end: Instant) -> bool {
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if alarm.deadline() > end {
            alarm.as_mut().reset(end);
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if Instant::now() >= end {
                return true;
            }
            // The timer was set for an earlier wait.
            alarm.as_mut().reset(end);
        }
        false
    }
}

impl AsyncRead for TimeoutStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.requests.is_busy() || this.alarm.is_none() {
            this.keep_timer_armed(cx);
        }
        if this.requests.is_busy() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let begun = this.requests.started();
        if this.wait.begun != begun {
            this.wait = Wait { since: Instant::now(), is_head: false, begun };
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        match read {
            Poll::Pending if this.is_over(cx) => {
                this.was_given_up = true;
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Ready(_) if buffer.filled().len() > before && !this.wait.is_head => {
                this.wait = Wait { since: Instant::now(), is_head: true, begun };
                read
            }
            _ => read,
        }
    }
}

impl AsyncWrite for TimeoutStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buffer);
        self.watch_write(cx, written)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        // A stop waits for responses, but not for peers to close idle connections.
        if this.was_given_up || this.ending.is_cancelled() {
            return Poll::Ready(Ok(()));
        }
        this.linger.get_or_insert_with(Linger::start).poll(&mut this.stream, cx).map(Ok)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.watch_write(cx, written)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    const IDLE: Duration = Duration::from_secs(75);

    /// A connection whose two ends have small buffers.
    async fn pair() -> (TimeoutStream, TcpStream, Requests) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(4096).unwrap();
        let ours = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        let (other, _) = listener.accept().await.unwrap();
        let (requests, timeouts) = (Requests::default(), ConnectionTimeouts { head: IDLE, idle: IDLE });
        let ours = TimeoutStream::new(ours, timeouts, requests.clone(), CancellationToken::new());
        (ours, other, requests)
    }

    /// Writes until the peer has to read, and returns the number of bytes.
    async fn fill(stream: &mut TimeoutStream) -> io::Result<usize> {
        let mut filled = 0;
        poll_fn(|cx| {
            loop {
                match Pin::new(&mut *stream).poll_write(cx, &[0; 1024]) {
                    Poll::Ready(Ok(count)) => filled += count,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Ready(Ok(filled)),
                }
            }
        })
        .await
    }

    async fn later(time: Duration) {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_of_a_response_is_disconnected() {
        let (mut ours, _other, requests) = pair().await;
        assert!(requests.begin());
        fill(&mut ours).await.unwrap();
        later(IDLE / 2).await;
        fill(&mut ours).await.unwrap();
        later(IDLE).await;
        assert_eq!(fill(&mut ours).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_slow_response_does_not_count_for_a_later_one() {
        let (mut ours, mut other, requests) = pair().await;
        assert!(requests.begin());
        let filled = fill(&mut ours).await.unwrap();
        assert!(filled < TAKEN_BYTES_MIN);
        other.read_exact(&mut vec![0; filled]).await.unwrap();
        requests.end();
        later(IDLE * 2).await;
        assert!(requests.begin());
        assert!(fill(&mut ours).await.is_ok());
    }
}
