//! Publishes the webhooks of one sub-folder: those of a channel one after the other, in the order in which they came, those
//! of different channels at the same time. What waits here is limited, and the rest stays on the disk.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use spool::{Backlog, Item};
use tokio::time::{Instant, MissedTickBehavior};

use super::metrics::{self, SpoolMetrics};
use super::publish::{Outcome, Publisher};

/// Most webhooks of a sub-folder in memory.
const WINDOW: usize = 256;
/// Bytes of webhooks of a sub-folder in memory, above which no more are read.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// Interval of removing what is acknowledged.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);
/// Delay after a disk error of reading.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// The publishing of one sub-folder.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) bus: Bus,
    pub(super) backlog: Arc<Backlog>,
    pub(super) metrics: Arc<SpoolMetrics>,
    /// Webhooks a second.
    pub(super) rate: u32,
    pub(super) kind: Kind,
}

/// Whose sub-folder it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// That of this process, to which webhooks are added.
    Own,
    /// That of an ended process. It is given up when it is drained.
    Adopted,
}

type Publishing = Pin<Box<dyn Future<Output = (Item, Outcome)> + Send>>;

/// What has become of a webhook that was published, or can never be.
enum Settled {
    Published,
    SetAside,
    /// It could not be written aside.
    Again(Outcome),
}

/// The webhooks in memory.
#[derive(Default)]
struct Window {
    /// By subject, in order. The first of each is being published and not in here.
    waiting: HashMap<String, VecDeque<Item>>,
    publishing: FuturesUnordered<Publishing>,
    items: usize,
    bytes: usize,
}

/// When the next webhook may be published.
struct Pace {
    interval: Duration,
    next: Instant,
}

impl Pace {
    fn next(&mut self) -> Instant {
        let turn = self.next.max(Instant::now());
        self.next = turn + self.interval;
        turn
    }
}

impl Drain {
    /// Publishes until an adopted sub-folder is drained; the own one without end.
    pub(super) async fn run(&self) {
        let mut pace = Pace { interval: Duration::from_secs(1) / self.rate, next: Instant::now() };
        let mut window = Window::default();
        let mut tidy = tokio::time::interval(TIDY_INTERVAL);
        tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut published, mut began) = (0_u64, Instant::now());
        let mut all_read = false;
        loop {
            if !all_read && window.has_room() {
                all_read = self.fill(&mut window, &mut pace).await;
            }
            if window.items == 0 && all_read && self.backlog.is_drained() {
                if published > 0 {
                    metrics::log_drained(self.backlog.folder(), published, began.elapsed());
                    published = 0;
                }
                self.tidy().await;
                if self.kind == Kind::Adopted && self.backlog.is_removed() {
                    return;
                }
            }
            tokio::select! {
                Some((item, outcome)) = window.publishing.next() => {
                    if published == 0 {
                        began = Instant::now();
                    }
                    match self.settle(&item, outcome).await {
                        Settled::Published => published += 1,
                        Settled::SetAside => {}
                        Settled::Again(outcome) => {
                            // Only its channel waits.
                            window.publishing.push(Box::pin(async move {
                                tokio::time::sleep(READ_PAUSE).await;
                                (item, outcome)
                            }));
                            continue;
                        }
                    }
                    window.done(&item, &mut pace, self);
                }
                () = self.backlog.written(), if all_read => all_read = false,
                _ = tidy.tick() => self.tidy().await,
            }
        }
    }

    /// Reads until the window is full. Returns whether everything was read.
    async fn fill(&self, window: &mut Window, pace: &mut Pace) -> bool {
        while window.items < WINDOW && window.bytes < WINDOW_BYTES {
            let (backlog, room) = (Arc::clone(&self.backlog), WINDOW - window.items);
            let bytes = WINDOW_BYTES - window.bytes;
            let read = tokio::task::spawn_blocking(move || backlog.read(room, bytes)).await;
            match read {
                Ok(Ok(items)) if items.is_empty() => return true,
                Ok(Ok(items)) => {
                    for item in items {
                        window.add(item, pace, self);
                    }
                }
                Ok(Err(error)) => {
                    self.metrics.read_failed(&error);
                    tokio::time::sleep(READ_PAUSE).await;
                    return false;
                }
                Err(_) => return false,
            }
        }
        false
    }

    /// Acknowledges what is published, and keeps aside what cannot be.
    async fn settle(&self, item: &Item, outcome: Outcome) -> Settled {
        match outcome {
            Outcome::Published => {
                self.backlog.acknowledge(item.sequence);
                self.metrics.drained();
                Settled::Published
            }
            Outcome::Unpublishable(reason) => {
                // Rare, and a small file.
                if let Err(error) = self.backlog.set_aside(item) {
                    self.metrics.read_failed(&error);
                    return Settled::Again(outcome);
                }
                metrics::log_unpublishable(self.backlog.folder(), item.sequence, reason);
                Settled::SetAside
            }
        }
    }

    async fn tidy(&self) {
        let backlog = Arc::clone(&self.backlog);
        let _ = tokio::task::spawn_blocking(move || backlog.tidy()).await;
    }

    fn publish(&self, item: Item, turn: Instant) -> Publishing {
        let publisher = Publisher { bus: self.bus.clone() };
        Box::pin(async move {
            let outcome = publisher.publish(&item.entry, turn).await;
            (item, outcome)
        })
    }
}

fn size(item: &Item) -> usize {
    item.entry.body.len() + item.entry.subject.len()
}

impl Window {
    /// Whether it is worth to read more: a read takes many at once.
    fn has_room(&self) -> bool {
        self.items <= WINDOW / 2 && self.bytes <= WINDOW_BYTES / 2
    }

    fn add(&mut self, item: Item, pace: &mut Pace, drain: &Drain) {
        self.items += 1;
        self.bytes += size(&item);
        if let Some(waiting) = self.waiting.get_mut(&item.entry.subject) {
            waiting.push_back(item);
            return;
        }
        self.waiting.insert(item.entry.subject.clone(), VecDeque::new());
        self.publishing.push(drain.publish(item, pace.next()));
    }

    /// Removes a webhook that is settled. The next of its subject follows.
    fn done(&mut self, item: &Item, pace: &mut Pace, drain: &Drain) {
        self.items -= 1;
        self.bytes -= size(item);
        let Some(waiting) = self.waiting.get_mut(&item.entry.subject) else { return };
        match waiting.pop_front() {
            Some(next) => self.publishing.push(drain.publish(next, pace.next())),
            None => {
                self.waiting.remove(&item.entry.subject);
            }
        }
    }
}
