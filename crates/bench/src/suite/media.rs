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
use crate::suite::{CONNECTIONS, Effort};

/// Size of each file in bytes, as large as a picture from a phone.
const BLOB_BYTES: usize = 100_000;
/// Number of different files.
const BLOBS: usize = 200;
/// Timeout of the start of the measured server.
const START_LIMIT: Duration = Duration::from_secs(20);
/// TTL of the files.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// Least throughput of media, as a share of the baseline handler's.
const FILES_RATIO_MIN: f64 = 0.85;

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let place = Environment::start(effort.layout).await?;
    let redis = place.redis().await?;
    let ids = store(&redis.url()).await?;
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
    let requests = |address: SocketAddr| -> Arc<[Vec<u8>]> {
        let request = |id: &MediaId| {
            let path = format!("/bench/imchannel/getImageMessage/{id}");
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes()
        };
        ids.iter().map(request).collect()
    };
    let (our_requests, baseline_requests) = (requests(our_address), requests(baseline_address));
    until_it_serves(&mut ours, our_address, &our_requests[0]).await?;
    until_it_serves(&mut baseline, baseline_address, &baseline_requests[0]).await?;
    let mut pairs = Vec::new();
    for round in 0..effort.rounds {
        let bare = async || fetches_per_second(baseline_address, &baseline_requests, effort.time).await;
        let our = async || fetches_per_second(our_address, &our_requests, effort.time).await;
        let pair = if round.is_multiple_of(2) {
            let baseline = bare().await?;
            Pair { baseline, ours: our().await? }
        } else {
            let ours = our().await?;
            Pair { baseline: bare().await?, ours }
        };
        output::say(&format!("  bare {:.0}/s, imchannel {:.0}/s", pair.baseline, pair.ours));
        pairs.push(pair);
    }
    let peak_mib = ours.peak_mib();
    ours.end().await;
    baseline.end().await;
    let files = Row::against("files", "files/s", pairs.iter().map(|pair| (pair.baseline, pair.ours)));
    let files = files.map(|row| row.with_aim(Aim::AtLeast(FILES_RATIO_MIN)).with_width_max(WIDTH_MAX_RATE));
    let memory = Row::alone("memory", "most memory, MiB", peak_mib.into_iter());
    Ok(Measured { rows: files.into_iter().chain(memory).collect(), ..Measured::default() })
}

/// Stores files like uploads do.
async fn store(redis_url: &str) -> anyhow::Result<Vec<MediaId>> {
    let blobs = BlobStore::new(&RedisOptions::at(redis_url))?;
    let mut ids = Vec::new();
    for number in 0..BLOBS {
        let mut bits = [7; 16];
        bits[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let id = MediaId::from_random(bits);
        let bytes: Vec<u8> = (0..BLOB_BYTES).map(|at| (at * 31 + number) as u8).collect();
        let meta = Meta {
            tenant: "bench".to_owned(),
            kind: MediaKind::Image,
            content_type: "image/jpeg".to_owned(),
            size: BLOB_BYTES as u64,
            sha256: format!("{number:064x}"),
            file_name: String::new(),
            created_at: Timestamp::now(),
            bsp: "infobip".to_owned(),
            channel: CHANNEL.to_owned(),
            command: String::new(),
        };
        let mut upload = blobs.upload(id.clone());
        upload.append(&bytes).await?;
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
    time: Duration,
) -> anyhow::Result<f64> {
    let (done, next) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let began = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
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
