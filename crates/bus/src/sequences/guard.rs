//! The guard: checks the streams that a process publishes to or reads, at the start, on every new connection and every
//! few seconds, and finds those whose sequence has gone back ([`crate::state::sequence`] explains why that matters).
//!
//! The sequence that a stream had reached is known from the positions of its durables, from what this process has seen,
//! and for buckets from their marks. A stream that has gone back is refused until it is repaired ([`crate::sequences::repair`]):
//! its durables were created again, or, for a bucket, an operator has accepted it. A stream that was created again is a
//! different stream with different durables. Only the ledger must not be replaced without an operator's consent.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::stream::Stream;
use futures_util::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use crate::client::connect::Bus;
use crate::client::jetstream_errors::is_missing;
use crate::provision::find::find_stream;
use crate::schema::stream_id::StreamId;
use crate::schema::streams::{BucketDefinition, StreamDefinition};
use crate::schema::timestamps::nanoseconds;
use crate::sequences::marks::{self, Fault, Mark, StoredMark};

/// Interval of the checks while nothing is wrong. The mark of a bucket is never older than this.
const INTERVAL_GOOD: Duration = Duration::from_secs(5);
/// Interval of the checks while something is wrong or unknown.
const INTERVAL_BAD: Duration = Duration::from_millis(250);
/// Checks in a row (5 s) that must find a stream behind its earlier state before this is an error: the new leader of a
/// cluster may still be applying what it has.
const BEHIND_CHECKS: u32 = 20;
/// While nothing changes, the positions of durable consumers are read at every 12th check: once a minute.
const CONSUMER_CHECK_INTERVAL: u32 = 12;
/// Most durable consumers whose positions are read concurrently.
const DURABLES_AT_ONCE: usize = 16;

/// What a process watches.
#[derive(Debug, Clone, Copy)]
pub enum Watch {
    /// A stream, with its durable consumers.
    Stream(&'static StreamDefinition),
    /// A bucket, with its mark if it has one.
    Bucket(&'static BucketDefinition),
    /// A bucket whose mark this process writes.
    MarkedBucket(&'static BucketDefinition),
}

impl Watch {
    fn stream(self) -> StreamId {
        match self {
            Self::Stream(definition) => definition.id,
            Self::Bucket(definition) | Self::MarkedBucket(definition) => definition.id,
        }
    }
}

/// Whether a bucket has a mark. The contents of the others become obsolete within seconds.
pub(crate) fn has_mark(stream: StreamId) -> bool {
    matches!(stream, StreamId::Channels | StreamId::Sends)
}

/// Starts to check, until `stop`. Nothing is published to a stream before its first check.
pub fn watch(bus: &Bus, watches: &[Watch], stop: CancellationToken) {
    for watch in watches {
        bus.sequences.watch(watch.stream());
    }
    let mut watched: Vec<WatchedStream> = watches.iter().map(|watch| WatchedStream::new(*watch)).collect();
    let bus = bus.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = check_forever(&bus, &mut watched) => {}
        }
        for one in &watched {
            bus.sequences.unwatch(one.stream);
        }
    });
}

async fn check_forever(bus: &Bus, watched: &mut [WatchedStream]) {
    let mut connections = bus.connections();
    let mut changes = bus.sequences.changes();
    loop {
        bus.connected().await;
        connections.mark_unchanged();
        // A response that was lost with the connection would never come.
        let is_good = tokio::select! {
            is_good = check_all(bus, watched) => is_good,
            _ = connections.changed() => continue,
        };
        changes.mark_unchanged();
        let is_good = is_good && !watched.iter().any(|one| bus.sequences.place(one.stream).is_refused());
        let pause = if is_good { INTERVAL_GOOD } else { INTERVAL_BAD };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = connections.changed() => {}
            _ = changes.changed(), if is_good => {}
        }
    }
}

/// Checks every stream once. Returns whether all are good.
async fn check_all(bus: &Bus, watched: &mut [WatchedStream]) -> bool {
    let mut is_good = true;
    for one in watched {
        let connection = bus.sequences.connection();
        match one.check(bus).await {
            Ok(CheckResult::Again) => is_good = false,
            Ok(looked) => {
                bus.sequences.looked(one.stream, connection);
                is_good &= looked == CheckResult::Fine;
            }
            Err(error) => {
                is_good = false;
                let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
                bus.sequences.set_unseen(one.stream, format!("{error}{source}"));
                tracing::debug!(function = "guard", "cannot check {}: {error}", one.stream);
            }
        }
    }
    is_good
}

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CheckResult {
    Fine,
    GoneBack,
    /// It cannot be decided yet.
    Again,
}

/// A stream that is checked.
struct WatchedStream {
    watch: Watch,
    stream: StreamId,
    /// Creation time of the stream, since it was first checked.
    created_ns: Option<i64>,
    /// Number of checks in a row that found it behind.
    behind: u32,
    /// Number of checks since its durables were read, and the connection on which they were read.
    since_durables: u32,
    durables_on: Option<u64>,
    /// State at the last good check.
    known: Option<Before>,
    /// Set while the stream is refused.
    fault: Option<Before>,
}

/// A stream that went back.
struct GoneBack {
    before: Before,
    /// The mark that is stored for it.
    mark: Option<StoredMark>,
    /// What it had reached.
    reached: Mark,
    /// Its last sequence now.
    last: u64,
}

/// State of a stream before it went back.
#[derive(Debug, Default)]
struct Before {
    /// Its durables with their creation times. A durable that was created later has a correct position.
    durables: BTreeMap<String, i64>,
    /// Number of times that an operator has accepted it.
    repairs: u64,
}

/// Position of a durable.
#[derive(Debug, Clone)]
pub(crate) struct DurablePlace {
    pub(crate) name: String,
    pub(crate) delivered: u64,
    pub(crate) created_ns: i64,
}

/// Reads the positions of all durables of a stream.
pub(crate) async fn durables(bus: &Bus, stream: StreamId) -> Result<Vec<DurablePlace>, Fault> {
    let stream = bus.jetstream.get_stream_no_info(stream.name()).await?;
    let names: Vec<String> = stream.consumer_names().try_collect().await?;
    let asked = names.into_iter().map(|name| durable_place(&stream, name));
    let places = futures_util::stream::iter(asked).buffered(DURABLES_AT_ONCE);
    places.try_filter_map(async |place| Ok(place)).try_collect().await
}

/// Returns `None` for a consumer that is not durable or was deleted in between.
async fn durable_place(stream: &Stream<()>, name: String) -> Result<Option<DurablePlace>, Fault> {
    let info = match stream.consumer_info(&name).await {
        Ok(info) => info,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (delivered, created_ns) = (info.delivered.stream_sequence, nanoseconds(info.created));
    Ok(info.config.durable_name.map(|_| DurablePlace { name, delivered, created_ns }))
}

impl WatchedStream {
    fn new(watch: Watch) -> Self {
        let stream = watch.stream();
        let (created_ns, durables_on, known, fault) = (None, None, None, None);
        Self { watch, stream, created_ns, behind: 0, since_durables: 0, durables_on, known, fault }
    }

    async fn check(&mut self, bus: &Bus) -> Result<CheckResult, Fault> {
        let place = bus.sequences.place(self.stream);
        // The mark is read first and the current sequence last, because the stream may grow in between.
        let mark = if has_mark(self.stream) { marks::read(bus, self.stream).await? } else { None };
        let places = self.durables(bus).await?;
        let repairs = mark.as_ref().map_or(0, |stored| stored.mark.repairs);
        let highest = place.highest();
        let Some(found) = find_stream(bus, self.stream).await? else {
            self.begin_again(bus, 0, None);
            return Ok(CheckResult::Fine);
        };
        let info = found.cached_info();
        let (last, created_ns) = (info.state.last_sequence, nanoseconds(info.created));
        let is_ledger = self.stream == StreamId::Sends;
        if !is_ledger && self.created_ns.is_some_and(|known| known != created_ns) {
            // It was created again. Its durables are checked in the next round.
            self.begin_again(bus, last, None);
            return Ok(CheckResult::Again);
        }
        self.created_ns = Some(created_ns);
        if let Some(before) = &self.fault {
            if !before.is_over(self.stream, places.as_deref().unwrap_or_default(), mark.as_ref(), created_ns)
            {
                return Ok(CheckResult::GoneBack);
            }
            tracing::info!(function = "guard", "{} was repaired", self.stream);
            self.begin_again(bus, last, Some(created_ns));
            return Ok(CheckResult::Fine);
        }
        let marked = mark.as_ref().map(|stored| &stored.mark);
        let now_ns = nanoseconds(time::OffsetDateTime::now_utc());
        let is_its = |mark: &Mark| match is_ledger {
            true => marks::is_of_ledger(mark, &marks::FoundLedger::of(info), now_ns),
            false => mark.created_ns == created_ns,
        };
        let is_replaced = is_ledger && marked.is_some_and(|mark| !is_its(mark));
        let by_mark = marked.filter(|mark| is_its(mark)).map_or(0, |mark| mark.sequence);
        let delivered = places.iter().flatten().map(|place| place.delivered).max().unwrap_or(0);
        let reached = highest.max(by_mark).max(delivered);
        if last < reached || is_replaced || place.is_refused() {
            self.behind += 1;
            if !place.is_refused() && !is_replaced && self.behind < BEHIND_CHECKS {
                return Ok(CheckResult::Again);
            }
            let places = places.unwrap_or_default();
            let before = self.before(&places, repairs, last);
            if !before.is_over(self.stream, &places, mark.as_ref(), created_ns) {
                let reached = Mark { created_ns, sequence: reached, repairs: 0 };
                self.report_gone_back(bus, GoneBack { before, mark, reached, last }).await;
                return Ok(CheckResult::GoneBack);
            }
            // The repair was faster, or no reader is affected.
            tracing::warn!(
                function = "guard",
                "{} had reached sequence {reached} and now ends at {last}; no reader is affected",
                self.stream
            );
            self.begin_again(bus, last, Some(created_ns));
            return Ok(CheckResult::Fine);
        }
        self.behind = 0;
        place.raise(last);
        self.know(places, repairs);
        self.write_mark(bus, mark, Mark { created_ns, sequence: last, repairs: 0 }).await;
        Ok(CheckResult::Fine)
    }

    /// Reads the positions of its durables, if something has changed since the last reading or that was long ago.
    async fn durables(&mut self, bus: &Bus) -> Result<Option<Vec<DurablePlace>>, Fault> {
        let Watch::Stream(definition) = self.watch else { return Ok(None) };
        let connection = bus.sequences.connection();
        let is_settled = self.created_ns.is_some()
            && self.durables_on == Some(connection)
            && self.behind == 0
            && !bus.sequences.place(self.stream).is_refused();
        self.since_durables += 1;
        if is_settled && self.since_durables < CONSUMER_CHECK_INTERVAL {
            return Ok(None);
        }
        if find_stream(bus, definition.id).await?.is_none() {
            return Ok(None);
        }
        let places = durables(bus, definition.id).await?;
        (self.durables_on, self.since_durables) = (Some(connection), 0);
        Ok(Some(places))
    }

    /// Stores the state of a good check.
    fn know(&mut self, places: Option<Vec<DurablePlace>>, repairs: u64) {
        let known = self.known.get_or_insert_default();
        known.repairs = repairs;
        if let Some(places) = places {
            known.durables = places.into_iter().map(|place| (place.name, place.created_ns)).collect();
        }
    }

    /// Returns the state before the stream went back: that of the last good check, and those current durables whose
    /// position is beyond the end of the stream. Without a good check only the current positions are known.
    fn before(&mut self, places: &[DurablePlace], repairs: u64, last: u64) -> Before {
        let mut before = self.known.take().unwrap_or(Before { durables: BTreeMap::new(), repairs });
        let is_above = |place: &&DurablePlace| place.delivered > last;
        let above = places.iter().filter(is_above).map(|place| (place.name.clone(), place.created_ns));
        before.durables.extend(above);
        before
    }

    fn begin_again(&mut self, bus: &Bus, last: u64, created_ns: Option<i64>) {
        self.created_ns = created_ns;
        self.behind = 0;
        (self.fault, self.known, self.durables_on) = (None, None, None);
        bus.sequences.place(self.stream).reset(last);
        bus.sequences.set_fault(self.stream, None);
    }

    async fn report_gone_back(&mut self, bus: &Bus, GoneBack { before, mark, reached, last }: GoneBack) {
        bus.sequences.place(self.stream).refuse();
        // If no entries were visibly lost, the creation time shows it.
        let what = if last < reached.sequence {
            format!(
                "had reached sequence {} and now ends at {last}: the server has lost messages or its state",
                reached.sequence
            )
        } else {
            format!("was deleted and created again, and now ends at sequence {last}")
        };
        let text = format!("{} {what}; run `imchannel streams repair`", self.stream);
        tracing::error!(function = "guard", "{text}");
        bus.sequences.set_fault(self.stream, Some(text));
        self.fault = Some(before);
        let is_other = mark.as_ref().is_some_and(|stored| stored.mark.created_ns != reached.created_ns);
        if is_other && self.stream == StreamId::Sends {
            // The mark shows that the ledger was replaced.
            return;
        }
        // So that a process which starts later detects it too.
        self.write_mark(bus, mark, reached).await;
    }

    /// Writes the mark if this process writes marks and has a newer one than the stored one. Another process may be
    /// faster.
    async fn write_mark(&self, bus: &Bus, stored: Option<StoredMark>, mark: Mark) {
        if !matches!(self.watch, Watch::MarkedBucket(_)) || !has_mark(self.stream) {
            return;
        }
        let known = stored.as_ref().map(|stored| &stored.mark);
        // It is the same ledger even if the server has changed its creation time; entries that expire by age show that.
        let is_other = known.is_some_and(|known| known.created_ns != mark.created_ns);
        if known.is_some_and(|known| !is_other && known.sequence >= mark.sequence) {
            return;
        }
        let mark = Mark { repairs: known.map_or(0, |known| known.repairs), ..mark };
        if let Err(error) = marks::write(bus, self.stream, &mark, stored.as_ref()).await {
            tracing::debug!(function = "guard", "cannot write the mark of {}: {error}", self.stream);
        }
    }
}

impl Before {
    /// Whether no durable has a position beyond the end any more: none that existed before, and for a bucket with a
    /// mark, an operator has accepted it. If the stored mark is unreadable, its count begins again.
    fn is_over(
        &self,
        stream: StreamId,
        places: &[DurablePlace],
        mark: Option<&StoredMark>,
        created_ns: i64,
    ) -> bool {
        if has_mark(stream) {
            let is_new = |stored: &StoredMark| {
                stored.mark.created_ns == created_ns && stored.mark.repairs != self.repairs
            };
            return mark.is_some_and(is_new);
        }
        let is_old = |place: &DurablePlace| self.durables.get(&place.name) == Some(&place.created_ns);
        !places.iter().any(is_old)
    }
}
