//! Runs the measurements in their order, and writes the report.

use std::path::Path;

use crate::output;
use crate::report::Report;
use crate::suite::{
    Effort, Part, comparison, end_to_end, ingress, media, normalizer, sender, timeline, timeline_postgres,
};

/// Measures `only` these, or everything, and then writes the report.
pub(crate) async fn run(
    effort: Effort,
    only: &[Part],
    path: &Path,
    others: comparison::Folders<'_>,
) -> anyhow::Result<()> {
    let wanted = |part| only.is_empty() || only.contains(&part);
    let mut report = Report::default();
    if wanted(Part::Ingress) {
        output::say("ingress against the bare receiver");
        report.ingress = Some(ingress::measure(effort).await?);
    }
    if wanted(Part::Comparison) {
        output::say("ingress against what people would write instead");
        report.comparisons = comparison::measure(effort, others).await?;
    }
    if wanted(Part::Normalizer) {
        output::say("normalizer against the bare loop");
        report.normalizer = Some(normalizer::measure(effort).await?);
    }
    if wanted(Part::EndToEnd) {
        output::say("from the first byte to the readable event");
        report.end_to_end = Some(end_to_end::measure(effort).await?);
    }
    if wanted(Part::Sender) {
        output::say("one sender over many channels");
        // On the heap, because it contains a whole sender.
        report.sender = Some(Box::pin(sender::measure(effort)).await?);
    }
    if wanted(Part::Media) {
        output::say("media against the bare handler");
        report.media = Some(media::measure(effort).await?);
    }
    if wanted(Part::Timeline) {
        output::say("the timeline's embedded store");
        report.timeline = Some(timeline::measure(effort).await?);
    }
    if wanted(Part::TimelinePostgres) {
        output::say("the timeline's store in PostgreSQL");
        report.timeline_postgres = Some(timeline_postgres::measure(effort).await?);
    }
    if only.is_empty() {
        report.write(effort, path)?;
        output::say(&format!("written to {}", path.display()));
    } else {
        output::say(&report.to_text(effort)?);
    }
    Ok(())
}
