//! Reads one stream: opens a consumer at the store's position, gathers what is there into batches, and stores each before it
//! reads on. Any fault leads back to the beginning, where the store says how far it came.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bus::read::follow::{FollowOptions, Followed, follow};
use bus::read::{self, ReadError, ReadMessage};
use bus::streams::StreamDefinition;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::extract::Extractor;
use crate::observe::batch::Gathered;
use crate::observe::begin::{self, Overlap};
use crate::observe::lease::Turn;
use crate::observe::{Observer, Shared};
use crate::row::{IdKind, Row, RowKind, StreamNumber};
use crate::rules::{self, RuleName};
use crate::store::{Appended, Batch, NewRow, Position, StoreError};
use crate::yields::Yields;

/// How long a batch gathers after its first message: it bounds the number of transactions. With 50 ms the median time from a webhook to its
/// event was 1.32 times as long as without a timeline, with 250 ms 1.19 times (3,000 webhooks/s, two cores, `imchannel-bench run --only
/// timeline-beside`, SQLite still with fsync). With one second the slowest webhooks were slower than with 250 ms.
const GATHER: Duration = Duration::from_millis(250);
/// Messages that wait in a stream from which its reader is behind, and does not yield.
const BEHIND: u64 = 500;
/// Interval of asking an idle stream whether it stored something.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// Delay before a reader starts again after a fault.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The same for a fault that passes only when an operator acts.
const OPERATOR_DELAY: Duration = Duration::from_secs(30);

/// Why a reader starts again.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error(transparent)]
    Stream(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the stream was created again, or has gone back to an older state")]
    GoneBack,
    #[error("the connection to the store that has the right to read it has ended")]
    LeaseLost,
}

impl Interrupted {
    fn delay(&self) -> Duration {
        match self {
            Self::Store(error) if !error.is_retryable() => OPERATOR_DELAY,
            Self::Stream(_) | Self::Store(_) | Self::GoneBack | Self::LeaseLost => RETRY_DELAY,
        }
    }
}

/// Reads a stream until the stop.
pub(super) async fn run(stream: StreamNumber, observer: Observer, shared: Shared) {
    let stop = observer.stop.clone();
    let mut turn = Turn::new(stream, observer.clone(), shared.clone());
    let mut reader = Reader { stream, observer, shared, last_fault: String::new() };
    loop {
        let interrupted = tokio::select! {
            () = stop.cancelled() => return,
            interrupted = read_in_turn(&mut turn, &mut reader) => interrupted,
        };
        let delay = interrupted.delay();
        reader.report(interrupted);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(delay) => {}
        }
    }
}

/// Reads when no other process does, until something fails.
async fn read_in_turn(turn: &mut Turn, reader: &mut Reader) -> Interrupted {
    let lease = loop {
        match turn.take().await {
            Ok(Some(lease)) => break lease,
            Ok(None) => reader.last_fault.clear(),
            Err(error) => return error.into(),
        }
    };
    tokio::select! {
        () = turn.keep(&lease) => Interrupted::LeaseLost,
        interrupted = reader.read() => interrupted,
    }
}

struct Reader {
    stream: StreamNumber,
    observer: Observer,
    shared: Shared,
    /// The fault that was logged last: the same one is logged once.
    last_fault: String,
}

impl Reader {
    /// Logs why it stopped, once for the same fault.
    fn report(&mut self, interrupted: Interrupted) {
        if let Interrupted::Store(error) = &interrupted {
            self.observer.metrics.store_failed(error.fault());
        }
        let (name, delay) = (self.stream.name(), interrupted.delay());
        let text = service::words::causes(&interrupted.into());
        if text != self.last_fault {
            tracing::warn!(
                function = "timeline",
                "stopped reading {name}: {text}; retrying every {} s from the stored position, nothing that the stream still holds is lost",
                delay.as_secs()
            );
            self.last_fault = text;
        }
    }

    /// Reads until something fails.
    async fn read(&mut self) -> Interrupted {
        match self.read_until_fault().await {
            Ok(never) => match never {},
            Err(interrupted) => interrupted,
        }
    }

    async fn read_until_fault(&mut self) -> Result<std::convert::Infallible, Interrupted> {
        let definition = self.stream.definition();
        let state = read::state(&self.observer.bus, definition).await?;
        let mut position = begin::begin(&self.observer, self.stream, state).await?;
        // From the last message that was read, if the stream still holds it: it shows whether the stream is the same.
        let mut messages = follow(&self.observer.bus, definition, self.options(position.sequence));
        loop {
            position = match tokio::time::timeout(IDLE_CHECK, messages.next()).await {
                Ok(first) => {
                    let first = first?;
                    match Overlap::of(&first, &position) {
                        Overlap::Same => position,
                        Overlap::Other => {
                            let again = begin::read_again(&self.observer, &position, state).await?;
                            messages = follow(&self.observer.bus, definition, self.options(again.sequence));
                            again
                        }
                        Overlap::After => self.store(first, &mut messages, position).await?,
                    }
                }
                Err(_) => self.check_idle(definition, messages.passed(), position).await?,
            };
            self.last_fault.clear();
        }
    }

    /// The stream from a message on; of webhooks only the headers.
    fn options(&self, next_sequence: u64) -> FollowOptions {
        FollowOptions { headers_only: self.stream == StreamNumber::Webhooks, next_sequence }
    }

    /// Gathers what comes within [`GATHER`] and stores it. Returns the position after it.
    async fn store(
        &self,
        first: ReadMessage,
        messages: &mut Followed,
        position: Position,
    ) -> Result<Position, Interrupted> {
        let channels = self.observer.channels.borrow().clone().unwrap_or_default();
        let extractor =
            Extractor { keys: self.observer.keys.clone(), channels, bodies: self.observer.bodies };
        let mut gathered = Gathered::new(position);
        let until = Instant::now() + GATHER;
        let yields = Yields::until(until.into_std());
        let mut read = first;
        let mut pending;
        loop {
            if !gathered.is_next(&read.delivery) {
                return Err(Interrupted::GoneBack);
            }
            pending = read.pending;
            if pending < BEHIND {
                yields.step();
            }
            gathered.add(&read.delivery, rows(self.stream, &extractor, &read));
            if gathered.is_full() {
                break;
            }
            match tokio::time::timeout_at(until, messages.next()).await {
                Ok(next) => read = next?,
                Err(_) => break,
            }
        }
        let position = self.append(gathered.finish()).await?;
        self.shared.progress.send_modify(|progress| {
            let of = progress.of_mut(self.stream);
            // Not later than the last row: messages that wait in this process are no longer pending on the server. An idle stream is
            // read up to now.
            of.read_until = of.read_until.max(Some(position.stored_at));
            of.sequence = position.sequence;
            of.behind = pending;
        });
        Ok(position)
    }

    /// Stores a batch, and tells the metrics and the readers of new rows. Returns the position after it.
    async fn append(&self, batch: Batch) -> Result<Position, Interrupted> {
        let position = batch.position;
        let rows: Vec<_> = batch.rows.iter().map(|new| Arc::clone(&new.row)).collect();
        let missed: u64 = batch.gaps.iter().map(|gap| gap.last + 1 - gap.first).sum();
        let appended = self.observer.store.append(batch).await?;
        self.observer.metrics.missed(self.stream, missed);
        self.count(&appended, &rows);
        if self.shared.live.receiver_count() > 0 {
            for row in rows {
                // If the last reader of new rows has left since, there is nothing to do.
                let _ = self.shared.live.send(row);
            }
        }
        Ok(position)
    }

    fn count(&self, appended: &Appended, rows: &[Arc<Row>]) {
        let metrics = &self.observer.metrics;
        for row in rows {
            metrics.stored(row.kind);
        }
        self.shared.lanes.observe(&appended.met, rows.iter().map(Arc::as_ref));
        let by_command: HashMap<_, _> = rows
            .iter()
            .filter(|row| row.kind == RowKind::Report)
            .filter_map(|row| Some((row.key(IdKind::Command)?, row)))
            .collect();
        for met in appended.met.iter().filter(|met| met.rule == RuleName::Delivery) {
            let after = by_command.get(&met.key).and_then(|row| rules::delivered_after(met, row));
            if let Some(after) = after {
                metrics.delivered(&met.channel, after);
            }
        }
    }

    /// Notes that an idle stream has nothing more to read, or that it was created again. `passed` is what [`Followed::passed`] says.
    /// Returns the position after what the stream lost before it was read.
    async fn check_idle(
        &self,
        definition: &'static StreamDefinition,
        passed: u64,
        position: Position,
    ) -> Result<Position, Interrupted> {
        let asked_at = Timestamp::now();
        let state = read::state(&self.observer.bus, definition).await?;
        if state.created_at != position.created_at || state.last_sequence < position.sequence {
            return Err(Interrupted::GoneBack);
        }
        let mut position = position;
        // The stream expired, was purged, or its last messages were deleted: no message comes that would show it.
        if passed >= state.last_sequence && state.last_sequence > position.sequence {
            let mut gathered = Gathered::new(position);
            gathered.pass(state.last_sequence, asked_at);
            position = self.append(gathered.finish()).await?;
        }
        self.shared.progress.send_modify(|progress| {
            let of = progress.of_mut(self.stream);
            of.sequence = position.sequence;
            of.behind = state.last_sequence - position.sequence;
            if of.behind == 0 {
                of.read_until = of.read_until.max(Some(asked_at));
            }
        });
        Ok(position)
    }
}

/// The rows of a message, with what follows from each.
fn rows(stream: StreamNumber, extractor: &Extractor, read: &ReadMessage) -> Vec<NewRow> {
    let mut replayed = read.delivery.headers.replayed().map(Box::new);
    let followed = |row: Row| {
        let rules::Followed { expected, settled } = rules::follow(&row);
        NewRow { row: Arc::new(row), expected, settled, replayed: replayed.take() }
    };
    extractor.rows(stream, &read.delivery).into_iter().map(followed).collect()
}
