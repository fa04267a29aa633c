//! The measurements, one file each.

pub(crate) mod comparison;
pub(crate) mod end_to_end;
pub(crate) mod ingress;
pub(crate) mod media;
pub(crate) mod normalizer;
pub(crate) mod sender;
pub(crate) mod sender_setup;
pub(crate) mod synced;
pub(crate) mod timeline;
pub(crate) mod timeline_postgres;

use std::time::Duration;

use async_nats::jetstream;

use crate::environment::Environment;

/// Amount of the measurements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Duration of one measurement.
    pub(crate) time: Duration,
    /// Rounds of every pair.
    pub(crate) rounds: usize,
    /// Webhooks of the normalizer's measurements.
    pub(crate) webhooks: u64,
    /// Rows of the timeline's measurement.
    pub(crate) rows: u64,
}

/// Connections of each load.
pub(crate) const CONNECTIONS: usize = 64;

/// A part of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Ingress against the baseline receiver.
    Ingress,
    /// Ingress against receivers in other languages.
    Comparison,
    /// The normalizer against the baseline loop.
    Normalizer,
    /// From the first byte to the readable event.
    EndToEnd,
    /// Sends a second, and a channel beside a slow one.
    Sender,
    /// Media against the baseline handler.
    Media,
    /// The timeline's embedded store: rows a second, look-ups, bytes.
    Timeline,
    /// The same for its store in PostgreSQL, with a quarter of the rows.
    TimelinePostgres,
}

/// Empties streams, so that all measurements start in the same state. The ledger of sends denies purges and grows; ids
/// differ by round.
async fn purge(place: &Environment, streams: &[&str]) -> anyhow::Result<()> {
    let jetstream = jetstream::new(async_nats::connect(place.nats.url()).await?);
    for stream in streams {
        jetstream.get_stream(stream).await?.purge().await?;
    }
    Ok(())
}
