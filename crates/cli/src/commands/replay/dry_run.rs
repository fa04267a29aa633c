//! Replay without `--publish`: compares, webhook by webhook, and publishes nothing.
//!
//! The webhooks are parsed first. Then only the events that may belong to them are kept, because there may be many
//! others.

use bsp::Parsed;
use bus::Bus;
use bus::subject::Filter;

use super::compare::{self, Origin};
use super::history::{ExpectedEvents, Published};
use super::show::Summary;
use super::{Selected, bar, parse};
use crate::exit::Exit;
use crate::mask::PersonalData;
use crate::output::Out;

/// A webhook, parsed by this version.
struct Read {
    origin: Origin,
    channel: String,
    parsed: Parsed,
}

/// What a comparison prints.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReportOptions {
    /// Most examples of each kind of difference.
    pub(super) examples: usize,
    /// Whether examples show personal data.
    pub(super) personal: PersonalData,
}

pub(super) async fn run(
    bus: &Bus,
    mut webhooks: Selected,
    filter: &Filter,
    report: ReportOptions,
    out: &Out,
) -> anyhow::Result<Exit> {
    let mut summary = Summary::new(report.examples);
    let parsing = bar(webhooks.count(), "parsing", out);
    let mut all = Vec::new();
    let mut wanted = ExpectedEvents::default();
    while let Some(delivery) = webhooks.next().await? {
        parsing.inc(1);
        let Some((bsp, channel, parsed)) = parse(&delivery) else { continue };
        wanted.add(delivery.sequence, delivery.stored_at, &parsed);
        let origin = Origin { sequence: delivery.sequence, stored_at: delivery.stored_at };
        all.push(Read { origin, channel: format!("{bsp}/{channel}"), parsed });
    }
    parsing.finish_and_clear();
    let reading = bar(0, "reading published events", out);
    let published = Published::read(bus, filter, wanted, &reading).await?;
    reading.finish_and_clear();
    for Read { origin, channel, parsed } in &all {
        for item in compare::webhook(*origin, &parsed.items, &published, report.personal) {
            summary.add(channel, origin.sequence, &item, out);
        }
        summary.webhooks += 1;
    }
    webhooks.say_cut(out);
    let done = summary.finish(out);
    out.print("nothing was published; use --publish to publish");
    Ok(done)
}
