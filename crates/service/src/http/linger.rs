//! Closes a connection without losing its last response.
//!
//! If a socket is closed while it holds unread bytes of the peer, or while such bytes are in transit, it
//! sends a reset. A reset may destroy a response that the peer has not read yet (RFC 9112, section 9.6). So
//! the sending direction is closed first, and further bytes are read and dropped for a short time, until the
//! peer closes too.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// Longest time for which a closing connection is still read.
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);
/// Most bytes that are read of a closing connection.
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one read.
const WINDOW_BYTES: usize = 4096;

/// A connection whose sending direction is closed.
#[derive(Debug)]
pub(crate) struct Linger {
    end: Pin<Box<Sleep>>,
    discarded: usize,
}

impl Linger {
    pub(crate) fn start() -> Self {
        Self { end: Box::pin(sleep(LINGER_TIME_MAX)), discarded: 0 }
    }

    /// Ready when the peer has closed or broken the connection, or when the limit of time or bytes is
    /// reached.
    pub(crate) fn poll(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        let mut window = [0; WINDOW_BYTES];
        while self.discarded <= LINGER_BYTES_MAX {
            let mut buffer = ReadBuf::new(&mut window);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return self.end.as_mut().poll(cx),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(()),
                Poll::Ready(Ok(())) => self.discarded += buffer.filled().len(),
            }
        }
        Poll::Ready(())
    }
}
