//! Whether the bus is as a service needs it: connected, and its streams as they are defined.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connect::Bus;
use crate::provision::{self, Scope};

/// Between two looks while all is well.
const INTERVAL_GOOD: Duration = Duration::from_secs(10);
/// Between two looks while something differs: a service should be ready soon after the streams are applied.
const INTERVAL_BAD: Duration = Duration::from_millis(250);

/// What was last found: `Ok`, or what differs in words.
pub type StreamsState = watch::Receiver<Result<(), String>>;

/// Looks at the streams again and again until `stop`.
pub fn follow(bus: &Bus, stop: CancellationToken) -> StreamsState {
    let (sender, receiver) = watch::channel(Err("not looked at yet".to_owned()));
    let bus = bus.clone();
    tokio::spawn(async move {
        loop {
            let found = look(&bus).await;
            let interval = if matches!(found, Some(Ok(()))) { INTERVAL_GOOD } else { INTERVAL_BAD };
            // No answer says nothing about the streams: what was found last stands.
            if let Some(found) = found {
                report_change(&sender, found);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
        }
    });
    receiver
}

/// `None` when the server does not answer.
async fn look(bus: &Bus) -> Option<Result<(), String>> {
    bus.connected().await;
    let differences = provision::check(bus, Scope::Contract).await.ok()?;
    if differences.is_empty() {
        return Some(Ok(()));
    }
    let texts = differences.iter().map(|difference| {
        format!(
            "{}: {} is {}, not {}",
            difference.of, difference.setting, difference.found, difference.wanted
        )
    });
    Some(Err(texts.collect::<Vec<_>>().join("; ")))
}

fn report_change(sender: &watch::Sender<Result<(), String>>, found: Result<(), String>) {
    if *sender.borrow() == found {
        return;
    }
    match &found {
        Ok(()) => tracing::info!(function = "bus", "the streams are as they are defined"),
        Err(text) => tracing::warn!(function = "bus", "the streams are not as they are defined: {text}"),
    }
    let _ = sender.send_replace(found);
}
