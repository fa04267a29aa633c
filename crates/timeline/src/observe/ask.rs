//! Asks one admin port for its metrics: one request over one connection, with a timeout and a largest answer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::page::{InvalidPage, Page};

/// Timeout of one admin port, from the connection to the end of its answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Largest answer, in bytes. A thousand channels are about one MiB.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Why an admin port was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("the connection ended during the answer")]
    Broken(#[from] hyper::Error),
    #[error("timed out after {} s", TIMEOUT.as_secs())]
    TimedOut,
    #[error("/metrics answers {}", .0.as_u16())]
    Status(StatusCode),
    #[error("/metrics is larger than {} MiB", ANSWER_BYTES_MAX / 1024 / 1024)]
    TooLarge,
    #[error("/metrics is not UTF-8")]
    NotText,
    #[error(transparent)]
    Invalid(#[from] InvalidPage),
}

/// Reads an admin port. `host` is the `Host` of the request.
pub(super) async fn ask(address: SocketAddr, host: &str) -> Result<Page, AskError> {
    tokio::time::timeout(TIMEOUT, read(address, host)).await.map_err(|_| AskError::TimedOut)?
}

async fn read(address: SocketAddr, host: &str) -> Result<Page, AskError> {
    let stream = TcpStream::connect(address).await.map_err(AskError::Connect)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get("/metrics")
        .header(HOST, host)
        .header(ACCEPT, "text/plain")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .expect("a host of a URL is a header's value");
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(AskError::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(broken)?;
    let bytes = body.to_bytes();
    let text = std::str::from_utf8(&bytes).map_err(|_| AskError::NotText)?;
    Ok(Page::read(text)?)
}

fn broken(error: Box<dyn std::error::Error + Send + Sync>) -> AskError {
    match error.downcast::<hyper::Error>() {
        Ok(error) => AskError::Broken(*error),
        Err(other) if other.is::<LengthLimitError>() => AskError::TooLarge,
        Err(_) => AskError::NotText,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A port that answers one request with these bytes, and then keeps the connection.
    async fn port(answer: Vec<u8>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
            std::future::pending::<()>().await;
        });
        address
    }

    fn answer(status: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    async fn failed(address: SocketAddr) -> String {
        ask(address, "localhost").await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_port_is_read() {
        let text = "imchannel_build_info{program=\"imchannel-sender\",version=\"1\"} 1\n";
        let page = ask(port(answer("200 OK", text)).await, "localhost").await.unwrap();
        assert_eq!(page.program, "imchannel-sender");
    }

    #[tokio::test]
    async fn every_other_answer_says_what_is_wrong() {
        assert_eq!(failed(port(answer("503 Service Unavailable", "")).await).await, "/metrics answers 503");
        assert!(
            failed(port(answer("200 OK", "up 1\n")).await).await.contains("not an admin port of imchannel")
        );
        let large = "x".repeat(ANSWER_BYTES_MAX + 1);
        assert_eq!(failed(port(answer("200 OK", &large)).await).await, "/metrics is larger than 8 MiB");
        let invalid = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff".to_vec();
        assert_eq!(failed(port(invalid).await).await, "/metrics is not UTF-8");
        assert!(failed(port(b"nonsense\r\n\r\n".to_vec()).await).await.contains("connection ended"));
        // Free a moment ago.
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(failed(closed).await.starts_with("cannot connect: "));
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_that_does_not_answer_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert_eq!(failed(listener.local_addr().unwrap()).await, "timed out after 2 s");
    }
}
