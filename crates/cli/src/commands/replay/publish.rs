//! Publishes the events of webhooks again, each under an id of the replay.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bsp::{BspId, ChannelId, Item};
use bus::replay::ReplayRun;
use bus::streams::EVENTS;
use bus::{Bus, Delivery, Subject, fill, headers};
use normalizer::event;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Selected, bar, parse};
use crate::exit::Exit;
use crate::output::{GOOD, Out, styled, text};
use crate::repair::refuse_gone_back;
use crate::words::pluralize;

/// Timeout of storing one event.
const STORE_LIMIT: Duration = Duration::from_secs(10);
/// Interval of the checks whether the stream has room.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Publishes the events of the selected webhooks, at most `rate` webhooks a second. If it is stopped, it prints how to
/// continue.
pub(super) async fn run(
    bus: &Bus,
    mut webhooks: Selected,
    run: &ReplayRun,
    rate: f64,
    out: &Out,
) -> anyhow::Result<Exit> {
    let bar = bar(webhooks.count(), "replaying", out);
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stop = service::process::stop_on_signal()?;
    let _room = Room::watch(bus).await?;
    let (mut replayed, mut events, mut without) = (0_u64, 0_u64, 0_u64);
    let mut stopped_before = None;
    while let Some(delivery) = webhooks.next().await? {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => {
                stopped_before = Some(delivery.sequence);
                break;
            }
        }
        let published = publish(bus, &delivery, run).await;
        let published = published.with_context(|| go_on(delivery.sequence, webhooks.last, run))?;
        replayed += 1;
        events += published;
        without += u64::from(published == 0);
        bar.inc(1);
        bar.set_message(pluralize(events, "event"));
    }
    bar.finish_and_clear();
    out.object(&json!({
        "replay": run.number, "webhooks": replayed, "events": events, "without_event": without,
        "stopped_before_sequence": stopped_before,
    }));
    let word = styled(GOOD, "replayed");
    out.print(&text!(
        "{word} {}: {} published, {} without an event",
        pluralize(replayed, "webhook"),
        pluralize(events, "event"),
        pluralize(without, "webhook")
    ));
    webhooks.say_cut(out);
    match stopped_before {
        Some(sequence) => bail!("stopped; {}", go_on(sequence, webhooks.last, run)),
        None => Ok(Exit::Ok),
    }
}

fn go_on(sequence: u64, last: u64, run: &ReplayRun) -> String {
    // The selection of webhooks, and the texts without which the audit log has a second entry.
    let same = "and the same --bsp, --channel, --until, --by and --note";
    format!("continue with --from-sequence {sequence} --to-sequence {last} --number {} {same}", run.number)
}

/// Checks whether EVENTS has room: this process runs no purger that would do so, and a replay must not fill the stream.
#[must_use]
pub(crate) struct Room(#[expect(dead_code, reason = "its drop ends the checks")] DropGuard);

impl Room {
    /// Checks once, and then at intervals until this is dropped. Fails if new events would not be delivered to readers.
    pub(crate) async fn watch(bus: &Bus) -> anyhow::Result<Self> {
        refuse_gone_back(bus, &EVENTS).await?;
        fill::refresh(bus, EVENTS.id).await?;
        let stop = CancellationToken::new();
        let (bus, stopped) = (bus.clone(), stop.clone());
        tokio::spawn(async move { fill::watch(&bus, &[EVENTS.id], LOOK_EVERY, stopped).await });
        Ok(Self(stop.drop_guard()))
    }
}

/// Publishes the events of one webhook, and returns their number.
async fn publish(bus: &Bus, delivery: &Delivery, run: &ReplayRun) -> anyhow::Result<u64> {
    let Some((bsp, channel, parsed)) = parse(delivery) else { return Ok(0) };
    let replay = WebhookReplay { webhook: delivery, bsp, channel: &channel, run };
    let mut published = 0;
    for item in &parsed.items {
        published += u64::from(replay.publish_item(bus, item).await?);
    }
    Ok(published)
}

/// A stored webhook whose events are published again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WebhookReplay<'r> {
    pub(crate) webhook: &'r Delivery,
    pub(crate) bsp: BspId,
    pub(crate) channel: &'r ChannelId,
    /// The run that does it.
    pub(crate) run: &'r ReplayRun,
}

impl WebhookReplay<'_> {
    /// Publishes the event of one item. Returns whether it has one.
    pub(crate) async fn publish_item(self, bus: &Bus, item: &Item) -> anyhow::Result<bool> {
        let Some(event) = event::of_item(item) else { return Ok(false) };
        let event = event.replayed(self.run);
        let subject = Subject::Event(event.kind, self.bsp, self.channel.clone());
        let traceparent = self.webhook.headers.get(headers::TRACEPARENT);
        let headers = || event.headers(self.bsp, self.channel, traceparent);
        let deadline = Instant::now() + STORE_LIMIT;
        bus.store(&subject, headers, &event.payload, deadline).await.context("an event was not stored")?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_that_is_stopped_says_with_which_options_it_continues() {
        let run = ReplayRun { number: 7, by: None, reason: None };
        assert_eq!(
            go_on(3, 9, &run),
            "continue with --from-sequence 3 --to-sequence 9 --number 7 and the same --bsp, --channel, --until, --by and --note"
        );
    }
}
