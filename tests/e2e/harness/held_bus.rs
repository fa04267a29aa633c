//! A connection to NATS on which some publishes do not arrive for a while: a proxy that holds the publishes to one subject from a
//! moment on, until they are released, and forwards everything else immediately.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::eventually;
use super::slow_bus::frame;

/// The proxy. It ends with the test's runtime.
pub(crate) struct HeldBus {
    pub(crate) url: String,
    holds: watch::Sender<bool>,
    held: Arc<AtomicUsize>,
}

impl HeldBus {
    /// Starts a proxy in front of the server at `url`, for publishes to subjects with this prefix. It holds none yet.
    pub(crate) async fn start(url: &str, prefix: &'static str) -> Self {
        let server = url.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let (holds, is_holding) = watch::channel(false);
        let held = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&held);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // The server ends before the proxy does.
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let (from_client, mut to_client) = client.into_split();
                let (mut from_server, to_server) = server.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
                let held = Held { prefix, is_holding: is_holding.clone(), count: Arc::clone(&count) };
                tokio::spawn(pass(from_client, to_server, held));
            }
        });
        Self { url, holds, held }
    }

    /// Holds the publishes from now on.
    pub(crate) fn hold(&self) {
        self.holds.send_replace(true);
    }

    /// Forwards those that are held, and all others from now on.
    pub(crate) fn release(&self) {
        self.holds.send_replace(false);
    }

    /// Waits until a publish is held.
    pub(crate) async fn until_held(&self) {
        eventually("a publish is held", || async { (self.held.load(Ordering::Acquire) > 0).then_some(()) })
            .await;
    }
}

struct Held {
    prefix: &'static str,
    is_holding: watch::Receiver<bool>,
    count: Arc<AtomicUsize>,
}

async fn pass(client: OwnedReadHalf, mut server: OwnedWriteHalf, held: Held) {
    let (forwarded, mut frames) = mpsc::unbounded_channel::<Vec<u8>>();
    let (kept, mut kept_frames) = mpsc::unbounded_channel::<Vec<u8>>();
    let (released, mut is_holding) = (forwarded.clone(), held.is_holding.clone());
    tokio::spawn(async move {
        while let Some(frame) = kept_frames.recv().await {
            if is_holding.wait_for(|holds| !*holds).await.is_err() || released.send(frame).is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            if server.write_all(&frame).await.is_err() {
                return;
            }
        }
    });
    let mut client = BufReader::new(client);
    while let Some((subject, frame)) = frame(&mut client).await {
        let is_held = subject.starts_with(held.prefix) && *held.is_holding.borrow();
        let line = if is_held { &kept } else { &forwarded };
        if line.send(frame).is_err() {
            return;
        }
        if is_held {
            held.count.fetch_add(1, Ordering::AcqRel);
        }
    }
}
