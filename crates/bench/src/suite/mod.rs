//! The measurements, one file each.

pub(crate) mod backlog;
pub(crate) mod comparison;
mod drain;
pub(crate) mod end_to_end;
pub(crate) mod group_commit;
pub(crate) mod ingress;
pub(crate) mod media;
mod media_files;
pub(crate) mod normalizer;
pub(crate) mod rates;
pub(crate) mod sender;
pub(crate) mod sender_setup;
pub(crate) mod synced;
pub(crate) mod timeline;
pub(crate) mod timeline_beside;
pub(crate) mod timeline_figures;
pub(crate) mod timeline_http;
pub(crate) mod timeline_postgres;
pub(crate) mod timeline_rows;

use std::time::Duration;

use async_nats::jetstream;

use crate::cpus::Layout;
use crate::environment::Environment;

/// Amount and CPUs of the measurements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Duration of one measurement.
    pub(crate) time: Duration,
    /// Rounds of every pair.
    pub(crate) rounds: usize,
    /// Webhooks of the normalizer's measurements.
    pub(crate) webhooks: u64,
    /// Webhooks that wait when the CPU time of one is measured, against [`backlog::FEW`].
    pub(crate) backlog: u64,
    /// Rows of the timeline's measurement.
    pub(crate) rows: u64,
    /// CPUs of each role.
    pub(crate) layout: Layout,
}

/// Connections of each load.
pub(crate) const CONNECTIONS: usize = 64;

/// Empties streams, so that all measurements start in the same state. The ledger of sends denies purges and grows; ids
/// differ by round.
async fn purge(place: &Environment, streams: &[&str]) -> anyhow::Result<()> {
    let jetstream = jetstream::new(async_nats::connect(place.nats.url()).await?);
    for stream in streams {
        jetstream.get_stream(stream).await?.purge().await?;
    }
    Ok(())
}
