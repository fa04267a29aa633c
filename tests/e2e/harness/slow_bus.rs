//! A NATS server with one slow operation: a proxy that forwards publishes of one subject one after another, each after
//! a delay, and everything else immediately. A stream whose disk writes one message at a time behaves like this.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The proxy. It ends with the test's runtime.
pub(crate) struct SlowBus {
    pub(crate) url: String,
    handed_on: Arc<AtomicU64>,
}

/// Configuration of the delays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slow {
    /// Publishes to subjects with this prefix are delayed.
    pub(crate) prefix: &'static str,
    /// Delay of each.
    pub(crate) each: Duration,
    /// Delay of the publish with this number, counted from 1.
    pub(crate) stall: Option<(u64, Duration)>,
}

impl SlowBus {
    /// Starts a proxy in front of the server at `url`.
    pub(crate) async fn start(url: &str, slow: Slow) -> Self {
        let server = url.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let handed_on = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&handed_on);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // The server ends before the proxy does.
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let (from_client, mut to_client) = client.into_split();
                let (mut from_server, to_server) = server.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
                tokio::spawn(pass(from_client, to_server, slow, Arc::clone(&count)));
            }
        });
        Self { url, handed_on }
    }

    /// Number of delayed publishes that were forwarded.
    pub(crate) fn handed_on(&self) -> u64 {
        self.handed_on.load(Ordering::Relaxed)
    }
}

async fn pass(client: OwnedReadHalf, mut server: OwnedWriteHalf, slow: Slow, handed_on: Arc<AtomicU64>) {
    let (quick, mut quick_frames) = mpsc::unbounded_channel::<Vec<u8>>();
    let (slow_line, mut slow_frames) = mpsc::unbounded_channel::<Vec<u8>>();
    let after_slow = quick.clone();
    tokio::spawn(async move {
        let mut next = Instant::now();
        while let Some(frame) = slow_frames.recv().await {
            // Counted from the end of the last one, so that the timer's inaccuracy does not add up.
            next = next.max(Instant::now() - slow.each) + slow.each;
            let number = handed_on.fetch_add(1, Ordering::Relaxed) + 1;
            if let Some((stalled, time)) = slow.stall
                && number == stalled
            {
                next += time;
            }
            tokio::time::sleep_until(next).await;
            let _ = after_slow.send(frame);
        }
    });
    tokio::spawn(async move {
        while let Some(frame) = quick_frames.recv().await {
            if server.write_all(&frame).await.is_err() {
                return;
            }
        }
    });
    let mut client = BufReader::new(client);
    while let Some((subject, frame)) = frame(&mut client).await {
        let line = if subject.starts_with(slow.prefix) { &slow_line } else { &quick };
        if line.send(frame).is_err() {
            return;
        }
    }
}

/// One operation of the client, with its payload; the subject is empty unless it is a publish.
pub(super) async fn frame(client: &mut BufReader<OwnedReadHalf>) -> Option<(String, Vec<u8>)> {
    let mut frame = Vec::new();
    if client.read_until(b'\n', &mut frame).await.ok()? == 0 {
        return None;
    }
    let line = String::from_utf8_lossy(&frame).into_owned();
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [verb, subject, .., length] = words.as_slice() else { return Some((String::new(), frame)) };
    if !["PUB", "HPUB"].contains(&verb.to_ascii_uppercase().as_str()) {
        return Some((String::new(), frame));
    }
    let length: usize = length.parse().ok()?;
    let head = frame.len();
    frame.resize(head + length + 2, 0);
    client.read_exact(&mut frame[head..]).await.ok()?;
    Some(((*subject).to_owned(), frame))
}
