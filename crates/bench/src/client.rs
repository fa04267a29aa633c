//! A minimal HTTP/1.1 client: one connection, one request at a time, returns the status. It uses as little CPU as
//! possible, which leaves more for the measured programs.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest response that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Destination of the requests.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) password: String,
}

pub(crate) struct Connection {
    stream: TcpStream,
    head: String,
    out: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(target: &Target) -> std::io::Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nAccountKey: {}\r\nContent-Type: application/json; charset=UTF-8\r\nContent-Length: ",
            target.path, target.address, target.password
        );
        Ok(Self { stream, head, out: Vec::new(), answer: vec![0; ANSWER_BYTES_MAX] })
    }

    /// Posts a body and gives the status of the answer.
    pub(crate) async fn post(&mut self, body: &[u8]) -> std::io::Result<u16> {
        self.out.clear();
        self.out.extend_from_slice(self.head.as_bytes());
        self.out.extend_from_slice(body.len().to_string().as_bytes());
        self.out.extend_from_slice(b"\r\n\r\n");
        self.out.extend_from_slice(body);
        self.stream.write_all(&self.out).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.answer[filled..]).await?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            if let Some(status) = complete(&self.answer[..filled])? {
                return Ok(status);
            }
        }
    }
}

/// Returns the status once the whole response has arrived.
fn complete(answer: &[u8]) -> std::io::Result<Option<u16>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| Error::from(ErrorKind::InvalidData))?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    if answer.len() < end + 4 + length.unwrap_or(0) {
        return Ok(None);
    }
    let status = head.get(9..12).and_then(|digits| digits.parse().ok());
    status.map(Some).ok_or_else(|| ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_its_body() {
        let whole = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";
        for length in 0..whole.len() {
            assert_eq!(complete(&whole[..length]).expect("no fault"), None, "{length}");
        }
        assert_eq!(complete(whole).expect("no fault"), Some(503));
        assert!(complete(b"nonsense\r\n\r\n").is_err());
    }
}
