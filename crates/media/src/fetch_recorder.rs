//! The work after a fetch: the file's new expiry, a log line and an event. It runs in the background, after
//! the response. If too much of it is pending, some is dropped and counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use blob::store::Expiry;
use blob::{BlobStore, meta};
use bus::headers::EventIds;
use bus::rate_limited_log::RateLimitedLog;
use bus::{Bus, EventKind, Headers, Subject};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use prost::Message;
use proto::v1::MediaFetched;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fetch::{Fetch, log_function};
use crate::metrics::MediaMetrics;
use crate::settings::Settings;

/// Most pending fetch events.
const WAITING_MAX: usize = 10_000;
/// Most fetch events in progress at once.
const AT_ONCE: usize = 256;
/// Timeout of storing one event.
const STORE_LIMIT: Duration = Duration::from_secs(5);
/// Time for which fetch events are batched.
const GATHER_FOR: Duration = Duration::from_millis(5);

static NO_EXPIRY: RateLimitedLog = RateLimitedLog::new();
static EVENT_DROPPED: RateLimitedLog = RateLimitedLog::new();

#[derive(Debug)]
enum FetchEvent {
    /// A long fetch has started: the file must not expire during it.
    Started(Fetch),
    /// A fetch has ended, completely or not.
    Finished(Fetch),
}

/// Accepts the events of fetches without waiting. Redis and NATS have separate queues, so that an outage of one does not
/// delay the other.
#[derive(Debug, Clone)]
pub(crate) struct FetchRecorder {
    expiries: mpsc::Sender<FetchEvent>,
    events: mpsc::Sender<Fetch>,
    metrics: Arc<MediaMetrics>,
}

impl FetchRecorder {
    pub(crate) fn started(&self, fetch: &Fetch) {
        self.count(self.expiries.try_send(FetchEvent::Started(fetch.clone())).is_ok());
    }

    pub(crate) fn finished(&self, fetch: Fetch) {
        self.metrics.bytes_served.inc_by(fetch.bytes);
        if fetch.channel.is_some() {
            self.count(self.events.try_send(Fetch { ended_at: Timestamp::now(), ..fetch.clone() }).is_ok());
        }
        self.count(self.expiries.try_send(FetchEvent::Finished(fetch)).is_ok());
    }

    fn count(&self, was_taken: bool) {
        if !was_taken {
            self.metrics.notes_dropped.inc();
        }
    }
}

struct Worker {
    bus: Bus,
    blobs: BlobStore,
    metrics: Arc<MediaMetrics>,
    fetched_ttl: Duration,
}

/// Processes the events of fetches until `finished`, and then the remaining ones for a limited time.
pub(crate) fn start(
    settings: &Settings,
    bus: Bus,
    blobs: BlobStore,
    metrics: Arc<MediaMetrics>,
    finished: CancellationToken,
) -> (FetchRecorder, JoinHandle<()>) {
    let (expiries, expiries_taken) = mpsc::channel(WAITING_MAX);
    let (events, events_taken) = mpsc::channel(WAITING_MAX);
    let fetched_ttl = settings.fetched_ttl;
    let worker = Arc::new(Worker { bus, blobs, metrics: Arc::clone(&metrics), fetched_ttl });
    let ending = tokio::spawn(async move {
        let set = worker.expire_all(expiries_taken, finished.clone());
        let publish = worker.publish_all(events_taken, finished.clone());
        tokio::join!(set, publish);
    });
    (FetchRecorder { expiries, events, metrics }, ending)
}

/// Returns the pending fetch events, at least one and at most [`AT_ONCE`], after a short wait for more: batches cost
/// less, and no request waits for them. Returns `false` if the queue is closed and empty.
async fn gather<T>(
    taken: &mut mpsc::Receiver<T>,
    gathered: &mut Vec<T>,
    finished: &CancellationToken,
) -> bool {
    tokio::select! {
        count = taken.recv_many(gathered, AT_ONCE) => if count == 0 { return false },
        () = finished.cancelled(), if taken.is_empty() => return false,
    }
    if gathered.len() < AT_ONCE && !finished.is_cancelled() {
        tokio::time::sleep(GATHER_FOR).await;
    }
    while gathered.len() < AT_ONCE
        && let Ok(more) = taken.try_recv()
    {
        gathered.push(more);
    }
    true
}

impl Worker {
    /// Sets the expiries of all pending fetch events in batches, one round trip each, until `finished` and the queue
    /// is empty.
    async fn expire_all(&self, mut taken: mpsc::Receiver<FetchEvent>, finished: CancellationToken) {
        let mut events = Vec::with_capacity(AT_ONCE);
        while gather(&mut taken, &mut events, &finished).await {
            let done = tokio::time::timeout(STORE_LIMIT, self.expire(&events)).await;
            if done.is_err() {
                self.count_dropped(events.len());
            }
            events.clear();
            if finished.is_cancelled() && done.is_err() {
                // Redis is unavailable, and the process is stopping.
                return self.count_dropped(taken.len());
            }
        }
    }

    /// Publishes the events of all pending fetch events, in the same way.
    async fn publish_all(&self, mut taken: mpsc::Receiver<Fetch>, finished: CancellationToken) {
        let mut fetches = Vec::with_capacity(AT_ONCE);
        while gather(&mut taken, &mut fetches, &finished).await {
            let publishing: FuturesUnordered<_> =
                fetches.drain(..).map(|fetch| self.publish(fetch)).collect();
            let stored = publishing.filter(|is_stored| std::future::ready(*is_stored)).count().await;
            if finished.is_cancelled() && stored == 0 {
                // NATS is unavailable, and the process is stopping.
                return self.count_dropped(taken.len());
            }
        }
    }

    fn count_dropped(&self, count: usize) {
        self.metrics.notes_dropped.inc_by(count as u64);
    }

    async fn expire(&self, events: &[FetchEvent]) {
        let mut expiries: Vec<Expiry> = Vec::new();
        let mut places = HashMap::new();
        let mut fetches = Vec::new();
        for event in events {
            let (FetchEvent::Started(fetch) | FetchEvent::Finished(fetch)) = event;
            let is_end = matches!(event, FetchEvent::Finished(_));
            let Some(after) = ttl_after(fetch, self.fetched_ttl) else { continue };
            // A HEAD, or the beginning of a fetch, may only extend the TTL: the GET, or the rest of it, is
            // still to follow.
            let only_longer = fetch.is_head || !is_end;
            let place = *places.entry((&fetch.id, only_longer)).or_insert_with(|| {
                expiries.push(Expiry { id: fetch.id.clone(), after, only_longer });
                expiries.len() - 1
            });
            if is_end {
                fetches.push((fetch, place));
            }
        }
        if expiries.is_empty() {
            return;
        }
        let set = self.blobs.set_expiries(&expiries).await;
        let gets = fetches.iter().filter(|(fetch, _)| !fetch.is_head).map(|(fetch, _)| &fetch.id);
        // If this fails, the file is later counted as never fetched, which is the smaller error.
        let _ = self.blobs.untrack_fetches(gets).await;
        for (fetch, place) in fetches {
            let (function, id) = (log_function(fetch.kind), &fetch.id);
            match &set {
                Ok(are_there) => tracing::info!(
                    function,
                    media_id = id.as_str(),
                    command_id = fetch.command,
                    "Set expire for key [{}] {}",
                    meta::data_key(id),
                    u8::from(are_there.get(place).copied().unwrap_or_default())
                ),
                // The file keeps its current expiry.
                Err(error) => {
                    if let Some(turn) = NO_EXPIRY.next() {
                        tracing::warn!(
                            function,
                            media_id = id.as_str(),
                            "cannot extend the TTL of file {id}: {error}{turn}"
                        );
                    }
                }
            }
        }
    }

    /// Returns whether the event is stored.
    async fn publish(&self, fetch: Fetch) -> bool {
        let Some((bsp, channel)) = fetch.channel else { return false };
        let Ok(event_id) = random_id() else { return false };
        let event = MediaFetched {
            event_id: event_id.clone(),
            bsp: bsp.as_str().to_owned(),
            channel_id: channel.as_str().to_owned(),
            media_id: fetch.id.to_string(),
            command_id: fetch.command,
            method: if fetch.is_head { "HEAD" } else { "GET" }.to_owned(),
            range: fetch.range,
            bytes: fetch.bytes,
            fetched_at: Some(bsp::time::to_proto(fetch.ended_at)),
        };
        let headers = || {
            Headers::event(EventKind::Media, EventIds::same(&event_id), bsp, &channel, Some(fetch.ended_at))
        };
        let subject = Subject::Event(EventKind::Media, bsp, channel.clone());
        let payload = event.encode_to_vec().into();
        let stored = self.bus.store_once_permitted(&subject, headers, &payload, STORE_LIMIT).await;
        if let Err(error) = &stored {
            self.count_dropped(1);
            if let Some(turn) = EVENT_DROPPED.next() {
                let id = fetch.id;
                tracing::warn!(function = "media", "dropped the event of a fetch of {id}: {error}{turn}");
            }
        }
        stored.is_ok()
    }
}

/// The new TTL of a fetched file; `None` if the file has reached the longest TTL and keeps its current
/// expiry.
fn ttl_after(fetch: &Fetch, fetched_ttl: Duration) -> Option<Duration> {
    let after = fetched_ttl.min(fetch.ttl_left.unwrap_or(fetched_ttl));
    (!after.is_zero()).then_some(after)
}

fn random_id() -> Result<String, getrandom::Error> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)?;
    Ok(hex::encode(bits))
}
