//! State of each stream's sequence in this process, and whether the stream can be trusted.
//!
//! A nats-server whose disk was full may start a stream's sequence at 1 again (seen on 2.10.27: an empty stream, a full
//! disk, a restart). New messages are then below the positions of the stream's durables and are never delivered,
//! although the server acks them. So an ack is accepted only if its sequence is above every one that was acked before
//! the publish began, and nothing is published on a new connection before [`crate::sequences::guard`] has checked the stream.
//!
//! Everything here is atomic, because every publish reads it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::schema::stream_id::StreamId;

/// Labels of a gauge of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StreamLabels {
    stream: &'static str,
}

/// Gauge by stream: 1 while its sequence has gone back.
pub type SequenceRegressedGauge = Family<StreamLabels, Gauge>;

/// Connection number of a stream that was never checked. It is never a real number, because the client's event of its
/// first connection may come late.
const NEVER: u64 = u64::MAX;

/// State of one stream.
#[derive(Debug)]
pub(crate) struct Place {
    /// The highest sequence that was acked or seen.
    highest: AtomicU64,
    /// Set when the sequence has gone back, and as soon as it seems so.
    is_refused: AtomicBool,
    /// Whether a guard checks it. Without one, publishes do not wait for a check.
    is_watched: AtomicBool,
    /// The connection on which it was last checked.
    looked_on: AtomicU64,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            highest: AtomicU64::default(),
            is_refused: AtomicBool::default(),
            is_watched: AtomicBool::default(),
            looked_on: AtomicU64::new(NEVER),
        }
    }
}

impl Place {
    pub(crate) fn highest(&self) -> u64 {
        self.highest.load(Ordering::Acquire)
    }

    pub(crate) fn raise(&self, sequence: u64) {
        self.highest.fetch_max(sequence, Ordering::AcqRel);
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Acquire)
    }

    pub(crate) fn refuse(&self) {
        self.is_refused.store(true, Ordering::Release);
    }

    /// Starts again with the current stream.
    pub(crate) fn reset(&self, sequence: u64) {
        self.highest.store(sequence, Ordering::Release);
        self.is_refused.store(false, Ordering::Release);
    }
}

/// The streams and buckets of one process.
#[derive(Debug)]
pub(crate) struct Sequences {
    /// By stream, in the order of [`StreamId::ALL`].
    places: [Place; StreamId::ALL.len()],
    /// Number of times that the connection was established, by the client's events.
    connection: AtomicU64,
    /// Why streams are refused, for people.
    faults: Mutex<BTreeMap<StreamId, String>>,
    /// Why a stream could not be checked, the last time.
    unseen: Mutex<Option<String>>,
    /// Changes when a stream was checked, or seems wrong.
    changed: watch::Sender<()>,
    gauge: SequenceRegressedGauge,
}

impl Sequences {
    pub(crate) fn new(gauge: SequenceRegressedGauge) -> Self {
        Self {
            places: Default::default(),
            connection: AtomicU64::new(0),
            faults: Mutex::default(),
            unseen: Mutex::default(),
            changed: watch::Sender::new(()),
            gauge,
        }
    }

    /// Returns the state of a stream.
    pub(crate) fn place(&self, stream: StreamId) -> &Place {
        &self.places[stream as usize]
    }

    pub(crate) fn connection(&self) -> u64 {
        self.connection.load(Ordering::Acquire)
    }

    pub(crate) fn connected(&self) {
        self.connection.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// From now on publishes to the stream wait for a check.
    pub(crate) fn watch(&self, stream: StreamId) {
        self.set_watched(stream, true);
    }

    /// Publishes to the stream wait for no check anymore.
    pub(crate) fn unwatch(&self, stream: StreamId) {
        self.set_watched(stream, false);
    }

    fn set_watched(&self, stream: StreamId, is_watched: bool) {
        // So that the gauge exists before anything is wrong.
        let _ = self.gauge.get_or_create(&StreamLabels { stream: stream.name() });
        self.place(stream).is_watched.store(is_watched, Ordering::Release);
        self.changed.send_replace(());
    }

    pub(crate) fn looked(&self, stream: StreamId, connection: u64) {
        self.place(stream).looked_on.store(connection, Ordering::Release);
        self.changed.send_replace(());
    }

    /// Whether a stream was checked on the current connection.
    pub(crate) fn is_looked_at(&self, stream: StreamId) -> bool {
        let place = self.place(stream);
        !place.is_watched.load(Ordering::Acquire)
            || place.looked_on.load(Ordering::Acquire) == self.connection()
    }

    /// Waits for that check; `false` if it does not come by `deadline`.
    pub(crate) async fn looked_at_by(&self, stream: StreamId, deadline: Instant) -> bool {
        if self.is_looked_at(stream) {
            return true;
        }
        let mut changes = self.changes();
        while !self.is_looked_at(stream) {
            if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return false;
            }
        }
        true
    }

    /// Records an ack that is not a duplicate, of a publish that began when `floor` was the highest sequence. Returns
    /// whether it can be trusted.
    pub(crate) fn acknowledged(&self, stream: StreamId, floor: u64, sequence: u64) -> bool {
        let place = self.place(stream);
        if sequence > floor {
            place.raise(sequence);
            return true;
        }
        place.refuse();
        self.changed.send_replace(());
        false
    }

    pub(crate) fn set_fault(&self, stream: StreamId, fault: Option<String>) {
        self.gauge.get_or_create(&StreamLabels { stream: stream.name() }).set(i64::from(fault.is_some()));
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => faults.insert(stream, fault),
            None => faults.remove(&stream),
        };
    }

    pub(crate) fn set_unseen(&self, stream: StreamId, why: String) {
        let text = format!("cannot check {stream}: {why}");
        *self.unseen.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    /// Returns what is wrong, or what was not checked yet.
    pub(crate) fn state(&self) -> Result<(), String> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if !faults.is_empty() {
            return Err(faults.values().cloned().collect::<Vec<_>>().join("; "));
        }
        let never = |place: &Place| {
            place.is_watched.load(Ordering::Acquire) && place.looked_on.load(Ordering::Acquire) == NEVER
        };
        if !self.places.iter().any(never) {
            return Ok(());
        }
        let unseen = self.unseen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Err(unseen.unwrap_or_else(|| "not checked yet".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_may_come_out_of_order_and_never_from_below() {
        let sequences = Sequences::new(SequenceRegressedGauge::default());
        let place = sequences.place(StreamId::Webhooks);
        // Two concurrent publishes whose acks arrive in the other order.
        let floor = place.highest();
        assert!(sequences.acknowledged(StreamId::Webhooks, floor, 12));
        assert!(sequences.acknowledged(StreamId::Webhooks, floor, 11));
        assert_eq!(place.highest(), 12);
        let floor = place.highest();
        assert!(!sequences.acknowledged(StreamId::Webhooks, floor, 1));
        assert!(place.is_refused() && !sequences.place(StreamId::Events).is_refused());
        place.reset(1);
        let floor = place.highest();
        assert!(sequences.acknowledged(StreamId::Webhooks, floor, 2));
    }

    #[tokio::test]
    async fn a_watched_stream_waits_for_a_check_on_every_connection() {
        let sequences = Sequences::new(SequenceRegressedGauge::default());
        let soon = || Instant::now() + std::time::Duration::from_millis(10);
        assert!(sequences.looked_at_by(StreamId::Events, soon()).await, "it is not watched");
        sequences.watch(StreamId::Events);
        assert!(
            !sequences.looked_at_by(StreamId::Events, soon()).await,
            "before the client has said that it is connected"
        );
        sequences.connected();
        assert!(!sequences.looked_at_by(StreamId::Events, soon()).await);
        sequences.looked(StreamId::Events, 1);
        assert!(sequences.looked_at_by(StreamId::Events, soon()).await);
        sequences.connected();
        assert!(!sequences.looked_at_by(StreamId::Events, soon()).await);
    }
}
