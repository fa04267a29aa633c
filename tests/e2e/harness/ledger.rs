//! The ledger of sends as it is stored, and the streams in the state that a test needs.

use std::time::Duration;

use bsp::CommandId;
use bus::Priority;
use bus::ledger::LedgerKey;
use serde_json::Value;

use super::eventually;
use super::outbound::{Outbound, channel};

/// The description that the `setup` of a version without compact entries gives the ledger.
pub(crate) const DESCRIBED_BEFORE: &str = "ledger of sends";

/// Age of the entries that [`forget`] lets the ledger drop.
const FORGETS_AFTER: Duration = Duration::from_millis(100);

/// The ledger entry of a command.
pub(crate) struct StoredEntry {
    pub(crate) json: Value,
    /// Bytes of its value.
    pub(crate) length: usize,
}

impl StoredEntry {
    /// Whether it is the compact entry of a decided command.
    pub(crate) fn is_compact(&self) -> bool {
        self.json["decided"].is_string()
    }

    /// Whether it has a whole result that is to be published.
    pub(crate) fn is_whole(&self) -> bool {
        self.json["state"]["done"]["is_answered"] == Value::Bool(false)
    }
}

/// Reads the entry of a command of a channel, if there is one.
pub(crate) async fn entry(outbound: &Outbound, number: usize, id: &str) -> Option<StoredEntry> {
    let key = LedgerKey::new(&channel(number), &CommandId::parse(id).unwrap());
    let entry = outbound.installation.bus.ledger_read(&key).await.unwrap()?;
    let json = serde_json::from_slice(&entry.value).unwrap();
    Some(StoredEntry { json, length: entry.value.len() })
}

/// Waits until a command is decided in the ledger.
pub(crate) async fn decided(outbound: &Outbound, number: usize, id: &str) -> StoredEntry {
    eventually(&format!("{id} is decided"), || async {
        entry(outbound, number, id).await.filter(|entry| entry.is_compact() || entry.is_whole())
    })
    .await
}

/// The value of an entry in words, its result decoded; `None` for anything else.
pub(crate) fn decoded(value: &[u8]) -> Option<String> {
    sender::protocol::Record::from_bytes(value).map(|record| format!("{record:?}"))
}

async fn change(
    outbound: &Outbound,
    stream: &str,
    change: impl FnOnce(&mut async_nats::jetstream::stream::Config),
) {
    let client = async_nats::connect(outbound.installation.nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let mut config = jetstream.get_stream(stream).await.unwrap().cached_info().config.clone();
    change(&mut config);
    jetstream.update_stream(config).await.unwrap();
}

/// Changes the subjects that EVENTS accepts.
pub(crate) async fn change_events(outbound: &Outbound, subjects: &[&str]) {
    let subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
    change(outbound, "EVENTS", |config| config.subjects = subjects).await;
}

/// Describes the ledger as a version without compact entries does.
pub(crate) async fn describe_as_before(outbound: &Outbound) {
    let stream = bus::streams::SENDS_BUCKET.stream;
    change(outbound, stream, |config| config.description = Some(DESCRIBED_BEFORE.to_owned())).await;
}

/// Lets the ledger drop all entries by their age, as it does after 26 hours. It waits for those of these commands.
pub(crate) async fn forget(outbound: &Outbound, number: usize, ids: &[String]) {
    let stream = bus::streams::SENDS_BUCKET.stream;
    let (mut max_age, mut window) = (Duration::ZERO, Duration::ZERO);
    change(outbound, stream, |config| {
        max_age = std::mem::replace(&mut config.max_age, FORGETS_AFTER);
        window = std::mem::replace(&mut config.duplicate_window, FORGETS_AFTER);
    })
    .await;
    for id in ids {
        eventually("the entry is gone", || async {
            entry(outbound, number, id).await.is_none().then_some(())
        })
        .await;
    }
    change(outbound, stream, |config| (config.max_age, config.duplicate_window) = (max_age, window)).await;
}

/// Waits until no command of a channel is unacknowledged.
pub(crate) async fn until_settled(outbound: &Outbound, number: usize) {
    let channel = &channel(number);
    eventually("every command is settled", || async {
        for queue in Priority::ALL {
            let lag = bus::command_consumers::lag(&outbound.installation.bus, queue, channel);
            let lag = lag.await.unwrap()?;
            if lag.num_pending + lag.num_ack_pending > 0 {
                return None;
            }
        }
        Some(())
    })
    .await;
}
