//! Checks at intervals whether the bus has what a service needs ([`crate::provision::needs`]).

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::client::connect::Bus;
use crate::provision::needs::Needs;

/// Interval of the checks while nothing is wrong.
const INTERVAL_GOOD: Duration = Duration::from_secs(10);
/// Interval of the checks while something is missing: a service should be ready soon after the streams are created.
const INTERVAL_BAD: Duration = Duration::from_millis(250);

/// Result of the last check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamsCheck {
    /// The server has not answered since the start of the process.
    Unknown,
    /// The streams have what the service needs.
    Met,
    /// What is missing, as text for people.
    Unmet(String),
}

impl StreamsCheck {
    /// As a condition of readiness.
    ///
    /// # Errors
    /// A text for people that says what is missing.
    pub fn condition(&self) -> Result<(), String> {
        match self {
            Self::Unknown => Err("not checked yet".to_owned()),
            Self::Met => Ok(()),
            Self::Unmet(text) => Err(text.clone()),
        }
    }
}

/// The last check, whenever it is read.
pub type StreamsState = watch::Receiver<StreamsCheck>;

/// Checks at intervals what a service needs, until `stop`.
pub fn follow(bus: &Bus, needs: &'static Needs, stop: CancellationToken) -> StreamsState {
    let (sender, receiver) = watch::channel(StreamsCheck::Unknown);
    let bus = bus.clone();
    tokio::spawn(async move {
        loop {
            let found = look(&bus, needs).await;
            let interval =
                if matches!(found, Some(StreamsCheck::Met)) { INTERVAL_GOOD } else { INTERVAL_BAD };
            // Without a response the state is unknown, so the last one stays.
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

/// `None` when the server does not respond.
async fn look(bus: &Bus, needs: &Needs) -> Option<StreamsCheck> {
    bus.connected().await;
    let differences = needs.unmet(bus).await.ok()?;
    if differences.is_empty() {
        return Some(StreamsCheck::Met);
    }
    let texts = differences.iter().map(|difference| {
        format!(
            "{}: {} is {}, not {}",
            difference.object, difference.setting, difference.found, difference.wanted
        )
    });
    Some(StreamsCheck::Unmet(texts.collect::<Vec<_>>().join("; ")))
}

fn report_change(sender: &watch::Sender<StreamsCheck>, found: StreamsCheck) {
    if *sender.borrow() == found {
        return;
    }
    match &found {
        StreamsCheck::Unknown => {}
        StreamsCheck::Met => tracing::info!(function = "bus", "the streams have what this service needs"),
        StreamsCheck::Unmet(text) => {
            tracing::warn!(
                function = "bus",
                "the streams do not have what this service needs: run `imchannel setup` of this version ({text})"
            )
        }
    }
    let _ = sender.send_replace(found);
}
