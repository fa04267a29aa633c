//! Publishing again: the events of a webhook, each under an id of the replay.

use std::time::Duration;

use anyhow::Context as _;
use bsp::{BspId, ChannelId, Item, Outcome};
use bus::{Bus, Delivery, Subject, headers};
use normalizer::event;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Selected, bar, parse};
use crate::Done;
use crate::out::{GOOD, ODD, Out, styled};

/// How long storing one event may take.
const STORE_LIMIT: Duration = Duration::from_secs(10);

/// Publishes the selected webhooks' events, at most `rate` webhooks a second. Says where to go on when it is stopped.
pub(super) async fn run(
    bus: &Bus,
    mut webhooks: Selected,
    number: u64,
    rate: f64,
    out: &Out,
) -> anyhow::Result<Done> {
    let bar = bar(webhooks.count(), "replaying", out);
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    // A slow moment is made up for, so that the rate is held on the whole.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let stop = service::process::stop_on_signal()?;
    let (mut replayed, mut events, mut without) = (0_u64, 0_u64, 0_u64);
    let mut next_sequence = None;
    while let Some(delivery) = webhooks.next().await? {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => {
                next_sequence = Some(delivery.sequence);
                break;
            }
        }
        let published = publish(bus, &delivery, number).await;
        let published = published.with_context(|| stopped_at(delivery.sequence, number))?;
        replayed += 1;
        events += published;
        without += u64::from(published == 0);
        bar.inc(1);
        bar.set_message(format!("{events} events"));
    }
    bar.finish_and_clear();
    out.object(&json!({
        "replay": number, "webhooks": replayed, "events": events, "without_event": without,
        "stopped_before_sequence": next_sequence,
    }));
    let word = styled(GOOD, "replayed");
    out.say(&format!(
        "{word} {replayed} webhooks: {events} events published, {without} webhooks came to none"
    ));
    if let Some(sequence) = next_sequence {
        out.say(&format!("{} {}", styled(ODD, "stopped:"), stopped_at(sequence, number)));
    }
    Ok(Done::Well)
}

fn stopped_at(sequence: u64, number: u64) -> String {
    format!("go on with --from-sequence {sequence} --number {number}")
}

/// Publishes the events of one webhook; gives their number.
async fn publish(bus: &Bus, delivery: &Delivery, number: u64) -> anyhow::Result<u64> {
    let Some((bsp, channel, parsed)) = parse(delivery) else { return Ok(0) };
    let mut published = 0;
    for item in &parsed.items {
        published += u64::from(publish_item(bus, delivery, (bsp, &channel), item, number).await?);
    }
    Ok(published)
}

/// Publishes the event of one item; says whether it has one.
pub(crate) async fn publish_item(
    bus: &Bus,
    delivery: &Delivery,
    (bsp, channel): (BspId, &ChannelId),
    item: &Item,
    number: u64,
) -> anyhow::Result<bool> {
    if matches!(item.outcome, Outcome::Rejected(_)) {
        return Ok(false);
    }
    let Some(event) = event::of_item(item) else { return Ok(false) };
    let event = event.replayed(number);
    let subject = Subject::Event(event.kind, bsp, channel.clone());
    let traceparent = delivery.headers.get(headers::TRACEPARENT);
    let headers = || event.headers(bsp, channel, traceparent);
    let deadline = Instant::now() + STORE_LIMIT;
    bus.store(&subject, headers, &event.payload, deadline).await.context("an event was not stored")?;
    Ok(true)
}
