//! The last webhook and the last result of a send of each channel: the newest message of their subjects in the streams.
//!
//! They are read when an answer needs them, at most every few seconds for a channel, so that no one's page costs NATS anything
//! while it is closed. What was seen stays known after the stream has dropped it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::read::{self, ReadError};
use bus::{Bus, Delivery, EventKind, Subject};
use channel::Channel;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use prost::Message;
use proto::v1::SendResult;
use tokio::time::Instant;

use crate::row::Status;

/// Time for which what was read of a channel is not read again.
const FRESH: Duration = Duration::from_secs(2);
/// Most channels that are read at the same time.
const READS_AT_ONCE: usize = 16;
/// Timeout of reading all channels of an answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The last message of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastMessage {
    /// When its stream stored it.
    pub at: Timestamp,
    /// Where it is stored: `EVENTS/5`.
    pub pointer: String,
}

/// The last messages of a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecentMessages {
    /// The last stored webhook.
    pub webhook: Option<LastMessage>,
    /// The last result of a send.
    pub send: Option<LastMessage>,
    /// The outcome of that result, such as `ACCEPTED`; empty without one.
    pub outcome: &'static str,
}

/// The last messages of channels.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    /// By channel. One that was never read is missing.
    pub by_channel: HashMap<String, RecentMessages>,
    /// Why something was not read now; empty if everything was.
    pub fault: String,
}

/// What was read of a channel.
#[derive(Debug, Clone)]
struct Kept {
    at: Instant,
    messages: RecentMessages,
}

/// Reads the last messages of channels. Clones share what they read.
#[derive(Debug, Clone, Default)]
pub struct RecentReader {
    /// `None`: nothing is ever found.
    bus: Option<Bus>,
    kept: Arc<Mutex<HashMap<String, Kept>>>,
}

impl RecentReader {
    /// A reader of the streams of a bus.
    pub fn of(bus: Bus) -> Self {
        Self { bus: Some(bus), kept: Arc::default() }
    }

    /// The last messages of these channels. It takes at most 3 s, and says so if that was too short.
    pub async fn read(&self, channels: &[Arc<Channel>]) -> Recent {
        let Some(bus) = &self.bus else { return Recent::default() };
        let now = Instant::now();
        let stale: Vec<_> = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let is_stale = |channel: &&Arc<Channel>| {
                kept.get(channel.id.as_str()).is_none_or(|kept| now.duration_since(kept.at) >= FRESH)
            };
            channels.iter().filter(is_stale).cloned().collect()
        };
        let fault = match tokio::time::timeout(TIMEOUT, self.read_all(bus, stale)).await {
            Ok(fault) => fault,
            Err(_) => format!("timed out after {} s waiting for NATS", TIMEOUT.as_secs()),
        };
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |channel: &Arc<Channel>| {
            let id = channel.id.as_str();
            Some((id.to_owned(), kept.get(id)?.messages.clone()))
        };
        Recent { by_channel: channels.iter().filter_map(of).collect(), fault }
    }

    /// Drops what is known of channels that are no longer in the registry.
    pub fn keep(&self, is_kept: impl Fn(&str) -> bool) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|channel, _| is_kept(channel));
    }

    /// Reads channels. Returns why one of them was not read.
    async fn read_all(&self, bus: &Bus, channels: Vec<Arc<Channel>>) -> String {
        let reads = channels.into_iter().map(|channel| self.read_one(bus, channel));
        let mut reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        let mut fault = String::new();
        while let Some(read) = reads.next().await {
            if let Err(error) = read {
                fault = service::words::causes(&error.into());
            }
        }
        fault
    }

    async fn read_one(&self, bus: &Bus, channel: Arc<Channel>) -> Result<(), ReadError> {
        let id = channel.id.clone();
        let bsp = channel.bsp.profile().id;
        let webhook = Subject::Webhook(bsp, id.clone());
        let send = Subject::Event(EventKind::SendResult, bsp, id.clone());
        let webhook = read::last_of_subject(bus, &webhook).await?;
        let send = read::last_of_subject(bus, &send).await?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let last = |delivery: &Delivery, stream: &str| LastMessage {
            at: delivery.stored_at,
            pointer: format!("{stream}/{}", delivery.sequence),
        };
        let known = kept.get(id.as_str()).map(|kept| kept.messages.clone()).unwrap_or_default();
        let messages = RecentMessages {
            webhook: webhook.map(|delivery| last(&delivery, "WEBHOOKS")).or(known.webhook),
            outcome: send.as_ref().map_or(known.outcome, outcome),
            send: send.map(|delivery| last(&delivery, "EVENTS")).or(known.send),
        };
        kept.insert(id.as_str().to_owned(), Kept { at: Instant::now(), messages });
        Ok(())
    }
}

/// The outcome that a result says; empty if it cannot be decoded.
fn outcome(delivery: &Delivery) -> &'static str {
    SendResult::decode(delivery.payload.clone()).map_or("", |result| Status::Outcome(result.outcome()).name())
}
