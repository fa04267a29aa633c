//! A connection to NATS that is lost right after one publish has arrived: a proxy that forwards the publish, closes the connection before
//! the acknowledgement comes back, and on the next connection withholds requests to one subject until it is released.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::slow_bus::frame;

/// What is cut and what is withheld.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// The connection is closed after the next publish to a subject with this prefix.
    pub(crate) after: &'static str,
    /// Requests to this subject are withheld afterwards.
    pub(crate) withheld: &'static str,
}

/// The proxy. It ends with the test's runtime.
pub(crate) struct CutBus {
    pub(crate) url: String,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    is_armed: AtomicBool,
    withholds: AtomicBool,
    withheld: AtomicU64,
}

impl CutBus {
    /// Starts a proxy in front of the server at `url`.
    pub(crate) async fn start(url: &str, cut: Cut) -> Self {
        let server = url.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let state = Arc::<State>::default();
        let all = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // The server ends before the proxy does.
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                tokio::spawn(pass(client, server, cut, Arc::clone(&all)));
            }
        });
        Self { url, state }
    }

    /// Cuts the connection after the next publish.
    pub(crate) fn arm(&self) {
        self.state.is_armed.store(true, Ordering::Release);
    }

    /// Number of requests that were withheld.
    pub(crate) fn withheld(&self) -> u64 {
        self.state.withheld.load(Ordering::Acquire)
    }

    /// Forwards everything from now on.
    pub(crate) fn release(&self) {
        self.state.withholds.store(false, Ordering::Release);
    }
}

async fn pass(client: TcpStream, server: TcpStream, cut: Cut, state: Arc<State>) {
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        from_server
    });
    let answering = answers.abort_handle();
    let mut from_client = BufReader::new(from_client);
    while let Some((subject, frame)) = frame(&mut from_client).await {
        let is_cut = subject.starts_with(cut.after) && state.is_armed.swap(false, Ordering::AcqRel);
        if is_cut {
            // Before the publish is forwarded, so that its acknowledgement cannot come back.
            answering.abort();
            state.withholds.store(true, Ordering::Release);
        } else if subject == cut.withheld && state.withholds.load(Ordering::Acquire) {
            state.withheld.fetch_add(1, Ordering::AcqRel);
            continue;
        }
        if to_server.write_all(&frame).await.is_err() || is_cut {
            break;
        }
    }
    let _ = to_server.shutdown().await;
}
