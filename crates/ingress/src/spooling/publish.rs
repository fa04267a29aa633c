//! Publishes one spooled webhook, however long that takes.

use std::time::Duration;

use bus::{Bus, Headers, PublishError, Subject};
use spool::Entry;
use tokio::time::Instant;

/// Timeout of one publish, within which the bus retries.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Delay after a publish that has failed.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Precision of tokio's timers: a shorter wait would take this long. The rate is kept by the turns of the next webhooks.
const TIMER_STEP: Duration = Duration::from_millis(1);
/// Number of times that JetStream must refuse a webhook before it is kept aside. An outage does not count.
const REFUSALS_MAX: u32 = 10;

/// What has become of a webhook.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// JetStream has acknowledged it.
    Published,
    /// It can never be stored, for that reason.
    Unpublishable(&'static str),
}

/// Publishes webhooks.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) bus: Bus,
}

impl Publisher {
    /// Publishes from `turn` on, until it is stored or can never be.
    pub(super) async fn publish(&self, entry: &Entry, turn: Instant) -> Outcome {
        let Some(subject @ Subject::Webhook(..)) = Subject::parse(&entry.subject) else {
            return Outcome::Unpublishable("its subject is not that of a webhook of a known BSP");
        };
        let Some(headers) = Headers::from_sorted(&entry.headers) else {
            return Outcome::Unpublishable("its headers are invalid");
        };
        if turn > Instant::now() + TIMER_STEP {
            tokio::time::sleep_until(turn).await;
        }
        let mut refusals = 0;
        loop {
            self.bus.available(subject.stream()).await;
            let deadline = Instant::now() + PUBLISH_TIMEOUT;
            match self.bus.store_while_available(&subject, || headers.clone(), &entry.body, deadline).await {
                Ok(_) => return Outcome::Published,
                Err(PublishError::TooLarge) => return Outcome::Unpublishable("it is too large for the bus"),
                Err(PublishError::Refused(_)) => refusals += 1,
                Err(_) => {}
            }
            if refusals >= REFUSALS_MAX {
                return Outcome::Unpublishable("JetStream refused it ten times");
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}
