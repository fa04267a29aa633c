//! Leases: at most one live owner for each name. The owner renews its lease; if it stops, another process acquires it.
//!
//! A lease keeps two replicas from working the same lane at the same time for long. It cannot guarantee that, because a
//! process may be suspended between checking its lease and acting on it. The ledger prevents duplicates.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::kv::Operation;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::connect::Bus;
use crate::publish::{PublishError, Target};
use crate::schema::headers::{EXPECTED_LAST_SUBJECT_SEQUENCE, Headers, KV_OPERATION, LEASE_TOKEN};
use crate::schema::streams::LANES_BUCKET;

/// Interval of the renewals of a lease.
pub const RETRY_PERIOD: Duration = Duration::from_secs(5);
/// Time after its last renewal for which an owner may act on its lease.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(11);
/// Time after its last renewal from which a lease may be taken over: later than its owner has stopped
/// ([`RENEW_DEADLINE`]), and early enough for a new owner within 15 s of the old one's death.
pub const LEASE_DURATION: Duration = Duration::from_secs(13);
/// Timeout of one lease write.
const WRITE_LIMIT: Duration = Duration::from_secs(2);
/// Timeout of each message while the stored leases are read.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// Delay between two attempts to watch the bucket.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// A lease as it was last read.
#[derive(Debug, Clone)]
pub struct LeaseView {
    /// What its owner wrote.
    pub value: Bytes,
    /// Time of its last renewal, as far as this process knows.
    pub renewed_at: Instant,
    is_released: bool,
    revision: u64,
}

impl LeaseView {
    /// Whether it may be acquired.
    pub fn is_free(&self, now: Instant) -> bool {
        self.is_released || now.saturating_duration_since(self.renewed_at) >= LEASE_DURATION
    }
}

/// All leases as they were last read. Clones share them.
#[derive(Debug, Clone)]
pub struct Leases {
    bus: Bus,
    seen: Arc<Mutex<HashMap<String, LeaseView>>>,
    is_read: tokio::sync::watch::Receiver<bool>,
}

/// A lease that this process holds.
#[derive(Debug)]
pub struct Lease {
    name: String,
    /// Part of every write of this lease, so that a write whose ack was lost is recognized.
    token: String,
    revision: u64,
    renewed_at: Instant,
    renewed_at_ms: i64,
}

/// A lease was not written.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another owner has written it.
    #[error("another process owns the lease {0}")]
    Lost(String),
    /// It is not known whether it was written.
    #[error("cannot write the lease {0}")]
    NotWritten(String, #[source] PublishError),
}

impl Lease {
    /// Whether its owner may still act on it.
    pub fn is_held(&self) -> bool {
        self.renewed_at.elapsed() < RENEW_DEADLINE
    }

    /// Time of its last renewal.
    pub fn renewed_at(&self) -> Instant {
        self.renewed_at
    }

    /// Time of its last renewal by the wall clock, in milliseconds since 1970: the clock of [`Lease::renewed_at`] stops while the
    /// machine is suspended.
    pub fn renewed_at_ms(&self) -> i64 {
        self.renewed_at_ms
    }
}

/// A write of a lease.
#[derive(Debug, Clone)]
struct LeaseWrite<'l> {
    name: &'l str,
    /// Identifies the acquisition.
    token: &'l str,
    /// The revision that the bucket must have; 0 for none.
    expected: u64,
    operation: LeaseOperation,
}

#[derive(Debug, Clone)]
enum LeaseOperation {
    Put(Bytes),
    Release,
}

impl<'l> LeaseWrite<'l> {
    /// The next write of a lease that this process holds.
    fn of(lease: &'l Lease, operation: LeaseOperation) -> Self {
        Self { name: &lease.name, token: &lease.token, expected: lease.revision, operation }
    }
}

impl Leases {
    /// Watches the bucket until `stop`.
    pub fn watch(bus: &Bus, stop: CancellationToken) -> Self {
        let (sender, is_read) = tokio::sync::watch::channel(false);
        let leases = Self { bus: bus.clone(), seen: Arc::default(), is_read };
        let followed = leases.clone();
        tokio::spawn(async move {
            let following = async {
                loop {
                    if let Err(error) = followed.watch_once(&sender).await {
                        tracing::debug!(function = "lease", "cannot read the leases: {error}");
                    }
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = following => {}
            }
        });
        leases
    }

    async fn watch_once(
        &self,
        is_read: &tokio::sync::watch::Sender<bool>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.bus.connected().await;
        let mut connections = self.bus.connections();
        connections.mark_unchanged();
        let opening = async {
            let bucket = self.bus.jetstream.get_key_value(LANES_BUCKET.name).await?;
            let stored = bucket.status().await?.values();
            let entries = bucket.watch_with_history(">").await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((stored, entries))
        };
        let (stored, mut entries) = tokio::select! {
            opened = opening => opened?,
            _ = connections.changed() => return Ok(()),
        };
        let mut is_complete = stored == 0;
        loop {
            if is_complete {
                is_read.send_replace(true);
            }
            let entry = tokio::select! {
                entry = entries.next() => entry,
                _ = connections.changed() => return Ok(()),
                // All counted entries may have expired before they could be read.
                () = tokio::time::sleep(SILENCE_MAX), if !is_complete => {
                    is_complete = true;
                    continue;
                }
            };
            let Some(entry) = entry.transpose()? else { return Ok(()) };
            // Stored entries may be old, by the server's clock. New entries are current, independent of clocks.
            let age = if is_complete { Duration::ZERO } else { age_of(entry.created) };
            is_complete |= entry.delta == 0;
            let now = Instant::now();
            let seen = LeaseView {
                value: entry.value,
                renewed_at: now.checked_sub(age).unwrap_or(now),
                is_released: entry.operation != Operation::Put,
                revision: entry.revision,
            };
            self.record(entry.key, seen);
        }
    }

    fn record(&self, name: String, seen: LeaseView) {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(&name) {
            Some(known) if known.revision > seen.revision => {}
            _ => drop(all.insert(name, seen)),
        }
    }

    /// Whether the bucket was read once. Before that every lease looks free.
    pub fn is_synced(&self) -> bool {
        *self.is_read.borrow()
    }

    /// All leases that have an owner.
    pub fn held(&self) -> Vec<(String, LeaseView)> {
        let now = Instant::now();
        let all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let held = all.iter().filter(|(_, seen)| !seen.is_free(now));
        held.map(|(name, seen)| (name.clone(), seen.clone())).collect()
    }

    /// Whether a lease has no owner. One that was never acquired is free.
    pub fn is_free(&self, name: &str) -> bool {
        let all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(name).is_none_or(|seen| seen.is_free(Instant::now()))
    }

    /// Acquires a free lease.
    ///
    /// # Errors
    /// [`LeaseError`] when another replica was faster or the bus is unavailable.
    pub async fn acquire(&self, name: &str, value: Bytes) -> Result<Lease, LeaseError> {
        let known = {
            let all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(name).map(|seen| seen.revision)
        };
        let (began, began_ms) = (Instant::now(), jiff::Timestamp::now().as_millisecond());
        let token = format!("{}-{}", name, self.bus.client.new_inbox());
        let operation = LeaseOperation::Put(value);
        let write = LeaseWrite { name, token: &token, expected: known.unwrap_or(0), operation };
        let written = match self.write(write.clone()).await {
            // The server has deleted it because of its age.
            Err(LeaseError::Lost(_)) if known.is_some() => {
                self.write(LeaseWrite { expected: 0, ..write }).await
            }
            written => written,
        };
        Ok(Lease {
            name: name.to_owned(),
            revision: written?,
            renewed_at: began,
            renewed_at_ms: began_ms,
            token,
        })
    }

    /// Renews a lease.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] when another replica has acquired it. Any other error can be retried.
    pub async fn renew(&self, lease: &mut Lease, value: Bytes) -> Result<(), LeaseError> {
        let (began, began_ms) = (Instant::now(), jiff::Timestamp::now().as_millisecond());
        let operation = LeaseOperation::Put(value);
        let revision = match self.write(LeaseWrite::of(lease, operation.clone())).await {
            Err(LeaseError::Lost(name)) => {
                // It may be an earlier renewal of this lease that arrived late.
                let Some(found) = self.own_revision(lease).await else { return Err(LeaseError::Lost(name)) };
                self.write(LeaseWrite { expected: found, ..LeaseWrite::of(lease, operation) }).await?
            }
            written => written?,
        };
        lease.revision = revision;
        (lease.renewed_at, lease.renewed_at_ms) = (began, began_ms);
        Ok(())
    }

    /// Releases a lease, so that another replica can acquire it immediately.
    pub async fn release(&self, lease: Lease) {
        let _ = self.write(LeaseWrite::of(&lease, LeaseOperation::Release)).await;
    }

    /// Returns the revision in the bucket, if this lease has written it.
    async fn own_revision(&self, lease: &Lease) -> Option<u64> {
        let stream = self.bus.jetstream.get_stream_no_info(LANES_BUCKET.stream).await.ok()?;
        let subject = format!("$KV.{}.{}", LANES_BUCKET.name, lease.name);
        let found = stream.get_last_raw_message_by_subject(&subject).await.ok()?;
        let is_own = Headers::read(found.headers.clone()).get(LEASE_TOKEN) == Some(&*lease.token);
        is_own.then_some(found.sequence)
    }

    async fn write(&self, write: LeaseWrite<'_>) -> Result<u64, LeaseError> {
        let LeaseWrite { name, token, expected, operation } = write;
        let (value, is_release) = match operation {
            LeaseOperation::Put(value) => (value, false),
            LeaseOperation::Release => (Bytes::new(), true),
        };
        let subject = async_nats::Subject::from(format!("$KV.{}.{name}", LANES_BUCKET.name));
        let headers = || {
            Headers::new()
                .with(EXPECTED_LAST_SUBJECT_SEQUENCE, &expected.to_string())
                .with(LEASE_TOKEN, token)
                .with_optional(KV_OPERATION, is_release.then_some("DEL"))
        };
        let target = Target { stream: LANES_BUCKET.id, subject: &subject };
        let written = self.bus.store_once(target, headers, &value, Instant::now() + WRITE_LIMIT).await;
        match written {
            Ok(stored) => {
                let revision = stored.sequence();
                let seen = LeaseView { value, renewed_at: Instant::now(), is_released: is_release, revision };
                self.record(name.to_owned(), seen);
                Ok(revision)
            }
            Err(PublishError::WrongLastSequence) => Err(LeaseError::Lost(name.to_owned())),
            Err(error) => Err(LeaseError::NotWritten(name.to_owned(), error)),
        }
    }
}

fn age_of(created: time::OffsetDateTime) -> Duration {
    let created = crate::schema::timestamps::to_timestamp(created.unix_timestamp_nanos());
    let age = jiff::Timestamp::now().duration_since(created);
    Duration::try_from(age).unwrap_or_default().min(LANES_BUCKET.max_age)
}
