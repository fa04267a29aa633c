//! Gathers what a look shows: three readers count what is stored, by subject and without the bodies; the rest is asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bsp::{NO_BSP, registry};
use bus::read::{self, From};
use bus::streams::{DEADLETTERS, EVENTS, NORMALIZER, StreamDefinition, WEBHOOKS};
use bus::{Bus, Delivery, Subject, headers, inspect, lag};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::admin::Port;
use super::board::{Board, Name, Row};
use super::lanes::{self, Lane};
use crate::out;
use crate::refusals::Refused;

/// Most pending webhooks that are counted by channel. Older ones are counted only in the sum.
const WAITING_MAX: u64 = 200_000;
/// Samples that the history holds.
const HISTORY_MAX: usize = 120;
/// Interval of reading the leases: that of their renewal.
const LANES_EVERY: Duration = Duration::from_secs(5);
/// Time without a message after which a reader is created again.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Delay after a failed attempt to read.
const PAUSE: Duration = Duration::from_millis(500);

/// Counts since the beginning.
#[derive(Debug, Default)]
struct Counted {
    rows: BTreeMap<Name, Row>,
    /// Webhooks by sequence that the normalizer had not been given at the last look.
    waiting: VecDeque<(u64, Name)>,
}

/// Gathers.
#[derive(Debug)]
pub(super) struct Collector {
    bus: Bus,
    client: reqwest::Client,
    ports: Vec<Port>,
    counted: Arc<Mutex<Counted>>,
    readers: Vec<JoinHandle<()>>,
    /// What was found last.
    board: Board,
    before: BTreeMap<Name, (u64, u64)>,
    looked_at: Instant,
    lanes: Vec<Lane>,
    lanes_read_at: Option<Instant>,
    history: VecDeque<u64>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.readers.iter().for_each(JoinHandle::abort);
    }
}

impl Collector {
    /// Begins to count, webhooks from the first one on that the normalizer has not been given.
    pub(super) async fn start(bus: Bus, admins: Vec<String>, interval: Duration) -> anyhow::Result<Self> {
        let given = lag::delivered_to(&bus, &NORMALIZER).await?;
        let last = read::last_sequence(&bus, &WEBHOOKS).await?;
        let first = (given + 1).max((last + 1).saturating_sub(WAITING_MAX)).max(1);
        let counted = Arc::new(Mutex::new(Counted::default()));
        let mut readers = Vec::new();
        for (stream, filter, from, counts_from) in [
            (&WEBHOOKS, "imchannel.webhook.>", first, last + 1),
            (&EVENTS, "imchannel.event.>", read::last_sequence(&bus, &EVENTS).await? + 1, 0),
            (&DEADLETTERS, "imchannel.deadletter.>", read::last_sequence(&bus, &DEADLETTERS).await? + 1, 0),
        ] {
            let reader =
                Reader { bus: bus.clone(), stream, filter, counts_from, counted: Arc::clone(&counted) };
            readers.push(tokio::spawn(reader.follow(from)));
        }
        Ok(Self {
            bus,
            client: reqwest::Client::builder().no_proxy().build()?,
            ports: admins.iter().map(|url| Port::new(url)).collect(),
            counted,
            readers,
            board: Board::default(),
            before: BTreeMap::new(),
            looked_at: Instant::now() - interval,
            lanes: Vec::new(),
            lanes_read_at: None,
            history: VecDeque::new(),
        })
    }

    /// How things stand now; without a connection, how they stood last.
    pub(super) async fn look(&mut self) -> Board {
        if !self.bus.is_connected() {
            return Board { connected: false, ..self.board.clone() };
        }
        let snapshot = lag::snapshot(&self.bus).await;
        let given = lag::delivered_to(&self.bus, &NORMALIZER).await.ok();
        let asking = self.ports.iter_mut().map(|port| port.ask(&self.client));
        let answering =
            futures_util::future::join_all(asking).await.into_iter().filter(|answered| *answered).count();
        let (mut rows, strangers) = self.counts(given);
        let elapsed = self.looked_at.elapsed().as_secs_f64().max(0.001);
        self.looked_at = Instant::now();
        let mut webhooks = 0;
        for (name, row) in &mut rows {
            let before = self.before.insert(name.clone(), (row.webhooks, row.events)).unwrap_or_default();
            row.webhooks_per_s = (row.webhooks - before.0) as f64 / elapsed;
            row.events_per_s = (row.events - before.1) as f64 / elapsed;
            webhooks += row.webhooks - before.0;
        }
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back((webhooks as f64 / elapsed).round() as u64);
        self.read_lanes().await;
        self.board = Board {
            place: format!("nats-server {}", self.bus.server_version()),
            connected: true,
            snapshot,
            rows,
            lanes: self.lanes.clone(),
            strangers,
            history: self.history.iter().copied().collect(),
            admins: (answering, self.ports.len()),
        };
        self.board.clone()
    }

    /// Reads what waits to be sent, unless that was done a moment ago. Without an answer the last one stands.
    async fn read_lanes(&mut self) {
        if self.lanes_read_at.is_some_and(|at| at.elapsed() < LANES_EVERY) {
            return;
        }
        self.lanes_read_at = Some(Instant::now());
        if let Ok(leases) = inspect::leases(&self.bus).await {
            self.lanes = lanes::of(&leases);
        }
    }

    /// Rows by channel, and refusals that belong to none.
    fn counts(&self, given: Option<u64>) -> (BTreeMap<Name, Row>, Strangers) {
        let mut counted = lock(&self.counted);
        if let Some(given) = given {
            counted.forget_given(given);
        }
        let mut rows = counted.rows.clone();
        drop(counted);
        let mut strangers = Strangers::new();
        for (Refused { bsp, channel, cause }, count) in self.ports.iter().flat_map(Port::refused) {
            if channel.is_empty() {
                *strangers.entry((bsp.clone(), cause.clone())).or_default() += count;
                continue;
            }
            let row = rows.entry(Name { bsp: bsp.clone(), channel: channel.clone() }).or_default();
            *row.refused.entry(cause.clone()).or_default() += count;
        }
        (rows, strangers)
    }
}

type Strangers = BTreeMap<(String, String), u64>;

impl Counted {
    /// A webhook that waits. Beyond the limit the oldest are no longer counted by channel.
    fn add_waiting(&mut self, sequence: u64, name: Name) {
        self.rows.entry(name.clone()).or_default().waiting += 1;
        self.waiting.push_back((sequence, name));
        if self.waiting.len() as u64 > WAITING_MAX {
            self.forget_oldest();
        }
    }

    /// The normalizer was given everything up to here.
    fn forget_given(&mut self, given: u64) {
        while self.waiting.front().is_some_and(|(sequence, _)| *sequence <= given) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, name)) = self.waiting.pop_front() else { return };
        if let Some(row) = self.rows.get_mut(&name) {
            row.waiting -= 1;
        }
    }
}

fn lock(counted: &Mutex<Counted>) -> MutexGuard<'_, Counted> {
    counted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the heads of one stream.
struct Reader {
    bus: Bus,
    stream: &'static StreamDefinition,
    filter: &'static str,
    /// Webhooks before this sequence were stored before `top` began: they wait, and are not counted.
    counts_from: u64,
    counted: Arc<Mutex<Counted>>,
}

impl Reader {
    async fn follow(self, mut next: u64) {
        loop {
            let opened =
                read::follow_heads(&self.bus, self.stream, self.filter.to_owned(), From::Sequence(next))
                    .await;
            let Ok(mut messages) = opened else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            while let Ok(Some(Ok(read))) = tokio::time::timeout(SILENCE_MAX, messages.next()).await {
                next = read.delivery.sequence + 1;
                self.count(&read.delivery);
            }
        }
    }

    fn count(&self, delivery: &Delivery) {
        let Some(subject) = delivery.address() else { return };
        let channel = subject.channel_token().to_owned();
        let mut counted = lock(&self.counted);
        match subject {
            Subject::Webhook(bsp, _) => {
                let name = Name { bsp: bsp.to_string(), channel };
                let row = counted.rows.entry(name.clone()).or_default();
                row.webhooks += u64::from(delivery.sequence >= self.counts_from);
                counted.add_waiting(delivery.sequence, name);
            }
            Subject::Event(_, bsp, _) => {
                counted.rows.entry(Name { bsp: bsp.to_string(), channel }).or_default().events += 1;
            }
            Subject::ResultOfNone(_) => {
                counted.rows.entry(Name { bsp: NO_BSP.to_owned(), channel }).or_default().events += 1;
            }
            // The lanes' owners say how many wait.
            Subject::Command(..) => {}
            Subject::DeadLetter(..) => {
                let bsp = delivery.headers.get(headers::BSP).and_then(registry::find);
                let bsp = bsp.map_or_else(|| out::UNKNOWN.to_owned(), |bsp| bsp.profile().id.to_string());
                counted.rows.entry(Name { bsp, channel }).or_default().dead_letters += 1;
            }
        }
    }
}
