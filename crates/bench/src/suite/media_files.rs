//! The files of media's measurements: they are stored as uploads store them, and fetched over HTTP and discarded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use blob::{BlobStore, Meta, RedisOptions};
use bsp::media::{MediaId, MediaKind};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bench_channel::CHANNEL;
use crate::environment::Program;

/// Bytes of a file that are stored with one command.
const PART_BYTES: usize = 1_000_000;
/// Bytes that a client reads at a time.
const READ_BYTES: usize = 256 * 1024;
/// Timeout of the start of the measured server.
const START_LIMIT: Duration = Duration::from_secs(20);
/// TTL of the files.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// Files of one size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Files {
    /// Bytes of each file.
    pub(super) bytes: usize,
    /// Number of different files.
    pub(super) count: usize,
}

/// Stores files like uploads do.
pub(super) async fn store(redis_url: &str, files: Files) -> anyhow::Result<Vec<MediaId>> {
    let blobs = BlobStore::new(&RedisOptions::at(redis_url))?;
    let mut ids = Vec::new();
    for number in 0..files.count {
        let mut bits = [0; 16];
        bits[..8].copy_from_slice(&(number as u64).to_be_bytes());
        bits[8..].copy_from_slice(&(files.bytes as u64).to_be_bytes());
        let id = MediaId::from_random(bits);
        let bytes: Vec<u8> = (0..files.bytes).map(|at| (at * 31 + number) as u8).collect();
        let meta = Meta {
            tenant: "bench".to_owned(),
            kind: MediaKind::Image,
            content_type: "image/jpeg".to_owned(),
            size: files.bytes as u64,
            sha256: format!("{number:064x}"),
            file_name: String::new(),
            created_at: Timestamp::now(),
            bsp: "infobip".to_owned(),
            channel: CHANNEL.to_owned(),
            command: String::new(),
        };
        let mut upload = blobs.upload(id.clone());
        for part in bytes.chunks(PART_BYTES) {
            upload.append(part).await?;
        }
        upload.finish(&meta, LIFE).await?;
        ids.push(id);
    }
    Ok(ids)
}

/// A program that serves files of one size.
#[derive(Debug, Clone)]
pub(super) struct FileServer {
    address: SocketAddr,
    /// One request for each file.
    requests: Arc<[Vec<u8>]>,
    /// Bytes of each file.
    bytes: usize,
}

impl FileServer {
    pub(super) fn new(address: SocketAddr, ids: &[MediaId], files: Files) -> Self {
        let request = |id: &MediaId| {
            let path = format!("/bench/imchannel/getImageMessage/{id}");
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes()
        };
        Self { address, requests: ids.iter().map(request).collect(), bytes: files.bytes }
    }

    /// Waits until the program serves a file.
    pub(super) async fn until_it_serves(&self, program: &mut Program) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Ok(mut client) = self.client().await
                && client.fetch(0).await.is_ok()
            {
                return Ok(());
            }
            program.check()?;
            if Instant::now() > deadline {
                bail!("a file server does not respond");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Fetches as fast as responses arrive, over many connections.
    pub(super) async fn fetches_per_second(&self, connections: usize, time: Duration) -> anyhow::Result<f64> {
        let (done, next) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let began = Instant::now();
        let mut clients = JoinSet::new();
        for _ in 0..connections {
            let (done, next, server) = (Arc::clone(&done), Arc::clone(&next), self.clone());
            clients.spawn(async move {
                let mut client = server.client().await?;
                while began.elapsed() < time {
                    client.fetch(next.fetch_add(1, Ordering::Relaxed)).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            });
        }
        while let Some(client) = clients.join_next().await {
            client??;
        }
        Ok(done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
    }

    /// Fetches one file over each connection. No client reads on before all have the head of their response, so that all
    /// files are being sent at the same time: a socket buffers much less than a file.
    pub(super) async fn fetch_together(&self, connections: usize) -> anyhow::Result<()> {
        let all_began = Arc::new(Barrier::new(connections));
        let mut clients = JoinSet::new();
        for number in 0..connections {
            let (all_began, server) = (Arc::clone(&all_began), self.clone());
            clients.spawn(async move {
                let mut client = server.client().await?;
                let left = client.begin(number).await?;
                all_began.wait().await;
                client.discard(left).await
            });
        }
        // The first error ends them all, because the others would wait for that client.
        while let Some(client) = clients.join_next().await {
            client??;
        }
        Ok(())
    }

    async fn client(&self) -> anyhow::Result<Client> {
        let stream = TcpStream::connect(self.address).await?;
        Ok(Client { server: self.clone(), stream, buffer: vec![0; READ_BYTES] })
    }
}

/// A connection to a file server.
struct Client {
    server: FileServer,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Fetches a file and discards it.
    async fn fetch(&mut self, number: usize) -> anyhow::Result<()> {
        let left = self.begin(number).await?;
        self.discard(left).await
    }

    /// Requests a file and reads the head of the response. Returns how many bytes of the file are still to be read.
    async fn begin(&mut self, number: usize) -> anyhow::Result<usize> {
        let Self { server: FileServer { requests, bytes, .. }, stream, buffer } = self;
        stream.write_all(&requests[number % requests.len()]).await?;
        let mut filled = 0;
        loop {
            let read = stream.read(&mut buffer[filled..]).await?;
            if read == 0 {
                bail!("the connection was closed");
            }
            filled += read;
            let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let head = std::str::from_utf8(&buffer[..end])?;
            if !head.starts_with("HTTP/1.1 200") {
                bail!("{}", head.lines().next().unwrap_or_default());
            }
            let length = content_length(head).context("no length")?;
            if length != *bytes {
                bail!("a response of {length} bytes for a file of {bytes}");
            }
            return Ok((end + 4 + length).saturating_sub(filled));
        }
    }

    /// Reads the rest of a file and discards it.
    async fn discard(&mut self, mut left: usize) -> anyhow::Result<()> {
        while left > 0 {
            let read = self.stream.read(&mut self.buffer).await?;
            if read == 0 {
                bail!("the connection was lost before the end of the file");
            }
            left = left.saturating_sub(read);
        }
        Ok(())
    }
}

fn content_length(head: &str) -> Option<usize> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    })
}
