//! Media against a baseline handler that returns the value of Redis, in turns.

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
use tokio::time::Instant;

use crate::bench_channel::CHANNEL;
use crate::environment::{Environment, Program, free_address};
use crate::output;
use crate::pair::Pair;
use crate::results::{Aim, Measured, Row, WIDTH_MAX_RATE};
use crate::suite::Effort;

/// Files of one size.
#[derive(Debug, Clone, Copy)]
struct Files {
    /// Id and name of the row.
    id: &'static str,
    name: &'static str,
    /// Bytes of each file.
    bytes: usize,
    /// Number of different files.
    count: usize,
    /// Connections. The bare handler has a whole file in memory for each.
    connections: usize,
    /// Least throughput of media, as a share of the baseline handler's.
    ratio_min: f64,
}

/// Pictures from a phone, and long videos or large documents.
const SIZES: [Files; 2] = [
    Files {
        id: "files",
        name: "files/s of 100 KB",
        bytes: 100_000,
        count: 200,
        connections: 64,
        ratio_min: 0.85,
    },
    Files {
        id: "large-files",
        name: "files/s of 10 MB",
        bytes: 10_000_000,
        count: 10,
        connections: 8,
        ratio_min: 0.9,
    },
];
/// Bytes of a file that are stored with one command.
const PART_BYTES: usize = 1_000_000;
/// Timeout of the start of the measured server.
const START_LIMIT: Duration = Duration::from_secs(20);
/// TTL of the files.
const LIFE: Duration = Duration::from_secs(24 * 3600);

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let place = Environment::start(effort.layout).await?;
    let redis = place.redis().await?;
    let (our_address, baseline_address) = (free_address()?, free_address()?);
    let mut ours = place.program(
        "imchannel-media",
        &[
            ("IMCHANNEL_MEDIA_LISTEN", &our_address.to_string()),
            ("IMCHANNEL_REDIS_URL", &redis.url()),
            ("IMCHANNEL_MEDIA_PUBLIC_URL", "http://127.0.0.1:1"),
            ("IMCHANNEL_MEDIA_UPLOAD_TOKEN", "0123456789abcdef"),
        ],
    )?;
    let listen = baseline_address.to_string();
    let mut baseline =
        place.baseline(&["baseline-media", "--listen", &listen, "--redis-url", &redis.url()])?;
    let mut rows = Vec::new();
    for files in SIZES {
        let ids = store(&redis.url(), files).await?;
        let (our_requests, bare_requests) = (requests(our_address, &ids), requests(baseline_address, &ids));
        until_it_serves(&mut ours, our_address, &our_requests[0]).await?;
        until_it_serves(&mut baseline, baseline_address, &bare_requests[0]).await?;
        let our =
            async || fetches_per_second(our_address, &our_requests, files.connections, effort.time).await;
        let bare = async || {
            fetches_per_second(baseline_address, &bare_requests, files.connections, effort.time).await
        };
        let mut pairs = Vec::new();
        for round in 0..effort.rounds {
            let pair = if round.is_multiple_of(2) {
                let baseline = bare().await?;
                Pair { baseline, ours: our().await? }
            } else {
                let ours = our().await?;
                Pair { baseline: bare().await?, ours }
            };
            output::say(&format!("  {}: bare {:.0}, imchannel {:.0}", files.name, pair.baseline, pair.ours));
            pairs.push(pair);
        }
        let row = Row::against(files.id, files.name, pairs.iter().map(|pair| (pair.baseline, pair.ours)));
        rows.extend(
            row.map(|row| row.with_aim(Aim::AtLeast(files.ratio_min)).with_width_max(WIDTH_MAX_RATE)),
        );
        let (id, name) = (format!("{}-memory", files.id), format!("most memory so far, MiB, {}", files.name));
        rows.extend(Row::alone(&id, &name, ours.peak_mib().into_iter()));
    }
    ours.end().await;
    baseline.end().await;
    Ok(Measured { rows, ..Measured::default() })
}

/// One request for each file.
fn requests(address: SocketAddr, ids: &[MediaId]) -> Arc<[Vec<u8>]> {
    let request = |id: &MediaId| {
        let path = format!("/bench/imchannel/getImageMessage/{id}");
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes()
    };
    ids.iter().map(request).collect()
}

/// Stores files like uploads do.
async fn store(redis_url: &str, files: Files) -> anyhow::Result<Vec<MediaId>> {
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

async fn until_it_serves(program: &mut Program, address: SocketAddr, request: &[u8]) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await
            && fetch(&mut stream, request, &mut vec![0; 256 * 1024]).await.is_ok()
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
async fn fetches_per_second(
    address: SocketAddr,
    requests: &Arc<[Vec<u8>]>,
    connections: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    let (done, next) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let began = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..connections {
        let (done, next, requests) = (Arc::clone(&done), Arc::clone(&next), Arc::clone(requests));
        clients.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            let mut answer = vec![0; 256 * 1024];
            while began.elapsed() < time {
                let place = next.fetch_add(1, Ordering::Relaxed) % requests.len();
                fetch(&mut stream, &requests[place], &mut answer).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        }));
    }
    for client in clients {
        client.await??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}

/// Fetches one file and discards it.
async fn fetch(stream: &mut TcpStream, request: &[u8], answer: &mut [u8]) -> anyhow::Result<()> {
    stream.write_all(request).await?;
    let mut filled = 0;
    loop {
        let read = stream.read(&mut answer[filled..]).await?;
        if read == 0 {
            bail!("the connection was closed");
        }
        filled += read;
        let Some(end) = answer[..filled].windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(&answer[..end])?;
        if !head.starts_with("HTTP/1.1 200") {
            bail!("{}", head.lines().next().unwrap_or_default());
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let mut left = (end + 4 + length.context("no length")?).saturating_sub(filled);
        while left > 0 {
            let read = stream.read(answer).await?;
            if read == 0 {
                bail!("the connection was lost before the end of the file");
            }
            left = left.saturating_sub(read);
        }
        return Ok(());
    }
}
