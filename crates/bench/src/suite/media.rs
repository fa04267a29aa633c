//! Media against a baseline handler that returns the value of Redis, in turns; and the memory of media alone while it serves
//! many of the longest files.

use std::net::SocketAddr;

use crate::environment::{Environment, Program, free_address};
use crate::output;
use crate::pair::Pair;
use crate::results::{Aim, Measured, Row, WIDTH_MAX_RATE};
use crate::suite::Effort;
use crate::suite::media_files::{self, FileServer, Files};

/// A throughput that is measured.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// Id and name of the row.
    id: &'static str,
    name: &'static str,
    files: Files,
    /// Connections. The bare handler has a whole file in memory for each.
    connections: usize,
    /// Least throughput of media, as a share of the baseline handler's.
    ratio_min: f64,
}

/// Pictures from a phone, and long videos or large documents.
const LOADS: [Load; 2] = [
    Load {
        id: "files",
        name: "files/s of 100 KB",
        files: Files { bytes: 100_000, count: 200 },
        connections: 64,
        ratio_min: 0.85,
    },
    Load {
        id: "large-files",
        name: "files/s of 10 MB",
        files: Files { bytes: 10_000_000, count: 10 },
        connections: 8,
        ratio_min: 0.9,
    },
];

/// The longest documents, of which the memory is measured.
const LONGEST: Files = Files { bytes: 100_000_000, count: 2 };
/// Fetches of them at the same time.
const LONGEST_AT_ONCE: usize = 50;
/// Most memory of media during that, in MiB.
const LONGEST_MEMORY_MAX_MIB: f64 = 64.0;

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let place = Environment::start(effort.layout).await?;
    let redis = place.redis().await?;
    let (our_address, baseline_address) = (free_address()?, free_address()?);
    let mut ours = start(&place, our_address, &redis.url())?;
    let listen = baseline_address.to_string();
    let mut baseline =
        place.baseline(&["baseline-media", "--listen", &listen, "--redis-url", &redis.url()])?;
    let mut rows = Vec::new();
    for load in LOADS {
        let ids = media_files::store(&redis.url(), load.files).await?;
        let our_server = FileServer::new(our_address, &ids, load.files);
        let bare_server = FileServer::new(baseline_address, &ids, load.files);
        our_server.until_it_serves(&mut ours).await?;
        bare_server.until_it_serves(&mut baseline).await?;
        let our = async || our_server.fetches_per_second(load.connections, effort.time).await;
        let bare = async || bare_server.fetches_per_second(load.connections, effort.time).await;
        let mut pairs = Vec::new();
        for round in 0..effort.rounds {
            let pair = if round.is_multiple_of(2) {
                let baseline = bare().await?;
                Pair { baseline, ours: our().await? }
            } else {
                let ours = our().await?;
                Pair { baseline: bare().await?, ours }
            };
            output::say(&format!("  {}: bare {:.0}, imchannel {:.0}", load.name, pair.baseline, pair.ours));
            pairs.push(pair);
        }
        let row = Row::against(load.id, load.name, pairs.iter().map(|pair| (pair.baseline, pair.ours)));
        rows.extend(row.map(|row| row.with_aim(Aim::AtLeast(load.ratio_min)).with_width_max(WIDTH_MAX_RATE)));
        let (id, name) = (format!("{}-memory", load.id), format!("most memory so far, MiB, {}", load.name));
        rows.extend(Row::alone(&id, &name, ours.peak_mib().into_iter()));
    }
    ours.end().await;
    baseline.end().await;
    rows.extend(longest_files(&place, &redis.url(), effort.rounds).await?);
    Ok(Measured { rows, ..Measured::default() })
}

fn start(place: &Environment, listen: SocketAddr, redis_url: &str) -> anyhow::Result<Program> {
    place.program(
        "imchannel-media",
        &[
            ("IMCHANNEL_MEDIA_LISTEN", &listen.to_string()),
            ("IMCHANNEL_REDIS_URL", redis_url),
            ("IMCHANNEL_MEDIA_PUBLIC_URL", "http://127.0.0.1:1"),
            ("IMCHANNEL_MEDIA_UPLOAD_TOKEN", "0123456789abcdef"),
        ],
    )
}

/// The most memory of a new process in every round. It is a limit, so the row has the most of all rounds. There is no bare figure:
/// the bare handler would have 5 GB in memory.
async fn longest_files(place: &Environment, redis_url: &str, rounds: usize) -> anyhow::Result<Option<Row>> {
    let ids = media_files::store(redis_url, LONGEST).await?;
    let mut most: Option<f64> = None;
    for _ in 0..rounds {
        let address = free_address()?;
        let server = FileServer::new(address, &ids, LONGEST);
        let mut media = start(place, address, redis_url)?;
        server.until_it_serves(&mut media).await?;
        server.fetch_together(LONGEST_AT_ONCE).await?;
        if let Some(peak) = media.peak_mib() {
            output::say(&format!("  most memory during {LONGEST_AT_ONCE} fetches of 100 MB: {peak:.1} MiB"));
            most = Some(most.unwrap_or_default().max(peak));
        }
        media.end().await;
    }
    let name = format!("most memory, MiB, {LONGEST_AT_ONCE} fetches of 100 MB at the same time");
    let row = Row::alone("longest-files-memory", &name, most.into_iter());
    Ok(row.map(|row| row.with_aim(Aim::AtMost(LONGEST_MEMORY_MAX_MIB))))
}
