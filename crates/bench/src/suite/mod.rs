//! The measurements, one file each, and their order.

pub(crate) mod comparison;
pub(crate) mod end_to_end;
pub(crate) mod ingress;
pub(crate) mod media;
pub(crate) mod normalizer;
pub(crate) mod sender;
pub(crate) mod synced;

use std::path::Path;
use std::time::Duration;

use async_nats::jetstream;

use crate::environment::Place;
use crate::report::{self, Report};

/// Amount of the measurements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Duration of one measurement.
    pub(crate) time: Duration,
    /// Rounds of every pair.
    pub(crate) rounds: usize,
    /// Webhooks of the normalizer's measurements.
    pub(crate) webhooks: u64,
}

/// Connections of each load.
pub(crate) const CONNECTIONS: usize = 64;

/// A part of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Ingress against the baseline receiver.
    Ingress,
    /// Ingress against receivers in other languages.
    Against,
    /// The normalizer against the baseline loop.
    Normalizer,
    /// From the first byte to the readable event.
    Chain,
    /// Sends a second, and a channel beside a slow one.
    Sender,
    /// Media against the baseline handler.
    Media,
}

/// Measures `only` these, or everything, and then writes the report. `others` are the folders of FastAPI and Fastify.
pub(crate) async fn run(
    effort: Effort,
    only: &[Part],
    path: &Path,
    others: (Option<&Path>, Option<&Path>),
) -> anyhow::Result<()> {
    let wanted = |part| only.is_empty() || only.contains(&part);
    let mut report = Report::default();
    if wanted(Part::Ingress) {
        report::say("ingress against the bare receiver");
        report.ingress = Some(ingress::measure(effort).await?);
    }
    if wanted(Part::Against) {
        report::say("ingress against what people would write instead");
        report.against = comparison::measure(effort, others.0, others.1).await?;
    }
    if wanted(Part::Normalizer) {
        report::say("normalizer against the bare loop");
        report.normalizer = Some(normalizer::measure(effort).await?);
    }
    if wanted(Part::Chain) {
        report::say("from the first byte to the readable event");
        report.chain = Some(end_to_end::measure(effort).await?);
    }
    if wanted(Part::Sender) {
        report::say("one sender over many channels");
        // On the heap, because it contains a whole sender.
        report.sender = Some(Box::pin(sender::measure(effort)).await?);
    }
    if wanted(Part::Media) {
        report::say("media against the bare handler");
        report.media = Some(media::measure(effort).await?);
    }
    if only.is_empty() {
        report.write(effort, path)?;
        report::say(&format!("written to {}", path.display()));
    } else {
        report::say(&report.to_text(effort)?);
    }
    Ok(())
}

/// Empties streams, so that all measurements start in the same state. The ledger of sends denies purges and grows; ids
/// differ by round.
async fn purge(place: &Place, streams: &[&str]) -> anyhow::Result<()> {
    let jetstream = jetstream::new(async_nats::connect(place.nats.url()).await?);
    for stream in streams {
        jetstream.get_stream(stream).await?.purge().await?;
    }
    Ok(())
}
