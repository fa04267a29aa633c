//! Closing a connection without losing its last answer.
//!
//! A socket that is closed while bytes of the other side lie unread in it, or are still on the way, is reset, and a reset
//! may destroy an answer that the other side has not read yet (RFC 9112, section 9.6). So our direction is closed first,
//! and what still comes is thrown away until the other side closes too, for a short time.

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

    /// Ready when the other side has closed or broken the connection, or has had its time or its bytes.
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
