//! `--dry-run`: compares, webhook by webhook, and publishes nothing.

use bus::Bus;

use super::compare::{self, Origin};
use super::published::Published;
use super::show::Summary;
use super::{Selected, bar, parse};
use crate::Done;
use crate::out::Out;

pub(super) async fn run(
    bus: &Bus,
    mut webhooks: Selected,
    examples: usize,
    reveal: bool,
    out: &Out,
) -> anyhow::Result<Done> {
    let mut summary = Summary::new(examples);
    let count = webhooks.count();
    let Some(first) = webhooks.next().await? else {
        return Ok(summary.finish(out));
    };
    let reading = bar(0, "reading what was published", out);
    let published = Published::read(bus, first.stored_at, &reading).await?;
    reading.finish_and_clear();
    let comparing = bar(count, "comparing", out);
    let mut next = Some(first);
    while let Some(delivery) = next {
        if let Some((bsp, channel, parsed)) = parse(&delivery) {
            let origin = Origin { sequence: delivery.sequence, stored_at: delivery.stored_at };
            for item in compare::webhook(origin, &parsed.items, &published, reveal) {
                let name = format!("{bsp}/{channel}");
                comparing.suspend(|| summary.take(&name, delivery.sequence, &item, out));
            }
            summary.webhooks += 1;
        }
        comparing.inc(1);
        next = webhooks.next().await?;
    }
    comparing.finish_and_clear();
    Ok(summary.finish(out))
}
