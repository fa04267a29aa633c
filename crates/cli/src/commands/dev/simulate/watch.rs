//! Reads the events that the gateway publishes and passes them to the check.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bus::read::{self, Messages, StartAt};
use bus::streams::{DEADLETTERS, EVENTS, NORMALIZER, StreamDefinition};
use bus::{Bus, Delivery, EventKind, Subject, lag};
use prost::Message;
use proto::v1::{AccountEvent, CustomerEvent, InboundMessage, ReportEvent};
use simulator::{Observed, Simulator};
use tokio::task::JoinHandle;

/// Time without a message after which the reader is created again from its last message: a restarted server has lost
/// it.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Delay after a failed attempt to read.
const PAUSE: Duration = Duration::from_millis(500);

/// The readers of both streams.
#[derive(Debug)]
pub(crate) struct Watch {
    bus: Bus,
    readers: Vec<Reader>,
}

#[derive(Debug)]
struct Reader {
    stream: &'static StreamDefinition,
    /// Sequence of the last message that was passed to the check.
    last: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.readers.iter().for_each(|reader| reader.task.abort());
    }
}

impl Watch {
    /// Starts with the messages that are stored from now on.
    pub(crate) async fn start(bus: Bus, simulator: &Simulator) -> anyhow::Result<Self> {
        let mut readers = Vec::new();
        for (stream, filter) in [(&EVENTS, "imchannel.event.>"), (&DEADLETTERS, "imchannel.deadletter.>")] {
            let first = read::last_sequence(&bus, stream).await?;
            let last = Arc::new(AtomicU64::new(first));
            let task =
                tokio::spawn(read_forever(bus.clone(), stream, filter, Arc::clone(&last), simulator.clone()));
            readers.push(Reader { stream, last, task });
        }
        Ok(Self { bus, readers })
    }

    /// Whether every webhook is processed and all stored events were passed to the check.
    pub(crate) async fn is_processed(&self) -> bool {
        if !matches!(lag::backlog(&self.bus, &NORMALIZER).await, Ok(0)) {
            return false;
        }
        for reader in &self.readers {
            let stored = read::last_sequence(&self.bus, reader.stream).await;
            if stored.is_err() || stored.ok() > Some(reader.last.load(Ordering::Relaxed)) {
                return false;
            }
        }
        true
    }
}

async fn read_forever(
    bus: Bus,
    stream: &'static StreamDefinition,
    filter: &'static str,
    last: Arc<AtomicU64>,
    simulator: Simulator,
) {
    loop {
        let next = StartAt::Sequence(last.load(Ordering::Relaxed) + 1);
        if let Ok(messages) = read::subscribe(&bus, stream, filter.to_owned(), next).await {
            until_silence(messages, &last, &simulator).await;
        } else {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn until_silence(mut messages: Messages, last: &AtomicU64, simulator: &Simulator) {
    while let Ok(Some(Ok(message))) = tokio::time::timeout(SILENCE_MAX, messages.next()).await {
        let sequence = message.delivery.sequence;
        if let Some(seen) = seen(&message.delivery) {
            simulator.ledger().observe(seen);
        }
        last.store(sequence, Ordering::Relaxed);
    }
}

fn seen(delivery: &Delivery) -> Option<Observed> {
    let payload = delivery.payload.clone();
    match delivery.address()? {
        Subject::Event(EventKind::Report, ..) => {
            Some(Observed::Report(Box::new(ReportEvent::decode(payload).ok()?)))
        }
        Subject::Event(EventKind::Message, ..) => {
            Some(Observed::Message(Box::new(InboundMessage::decode(payload).ok()?)))
        }
        Subject::Event(EventKind::Account, ..) => {
            Some(Observed::Account(Box::new(AccountEvent::decode(payload).ok()?)))
        }
        Subject::Event(EventKind::Customer, ..) => {
            Some(Observed::Customer(Box::new(CustomerEvent::decode(payload).ok()?)))
        }
        address @ Subject::DeadLetter(..) => {
            Some(Observed::DeadLetter { channel: address.channel_token().to_owned(), payload })
        }
        Subject::Event(EventKind::SendResult | EventKind::Media, ..)
        | Subject::ResultWithoutBsp(..)
        | Subject::Webhook(..)
        | Subject::Command(..) => None,
    }
}
