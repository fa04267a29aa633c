//! A run: webhooks at a constant rate, each posted by a separate task with its retries, and recorded in the ledger.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Client;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bsp_client::Body;
use crate::delivery::{self, Caller, DeliveryResult, Destination};
use crate::oracle::{Oracle, OracleLimits};
use crate::plan::{Plan, RunTag};
use crate::stats::{Dropped, Stats};
use crate::target::Target;
use crate::traffic::{Traffic, Webhook};

/// Most webhooks that are being posted or wait for their retry. They are kept in memory while a gateway is away;
/// further ones are dropped. Every channel has an equal share, so that a BSP that retries for hours takes nothing from
/// the others.
const IN_PROGRESS_MAX: usize = 5_000;
/// Limits of the ledger. With [`IN_PROGRESS_MAX`] a run stays well below 256 MiB (`tests/e2e/simulator/memory.rs`
/// measures it).
const LEDGER_LIMITS: OracleLimits = OracleLimits { open: 20_000, settled: 40_000 };
/// Timeout of a new connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Simulated BSPs in front of a gateway.
#[derive(Debug, Clone)]
pub struct Simulator {
    plan: Plan,
    targets: Arc<[Target]>,
    caller: Caller,
    ledger: Arc<Mutex<Oracle>>,
    tally: Arc<Stats>,
}

impl Simulator {
    /// Creates a simulator. The caller passes the events of the gateway to its ledger.
    ///
    /// # Errors
    /// If the HTTP client cannot be created.
    pub fn new(plan: Plan, targets: Vec<Target>) -> reqwest::Result<Self> {
        let ledger = Oracle::new(plan.run, LEDGER_LIMITS);
        Self::with_ledger(plan, targets, ledger)
    }

    /// Creates a simulator for a gateway whose events are not read.
    ///
    /// # Errors
    /// If the HTTP client cannot be created.
    pub fn unwatched(plan: Plan, targets: Vec<Target>) -> reqwest::Result<Self> {
        let ledger = Oracle::unwatched(plan.run);
        Self::with_ledger(plan, targets, ledger)
    }

    fn with_ledger(plan: Plan, targets: Vec<Target>, ledger: Oracle) -> reqwest::Result<Self> {
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let tally = Arc::new(Stats::new(targets.len()));
        Ok(Self {
            plan,
            targets: targets.into(),
            caller: Caller::new(client),
            ledger: Arc::new(Mutex::new(ledger)),
            tally,
        })
    }

    /// The load of the run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The tag in every id of this run.
    pub fn run_tag(&self) -> RunTag {
        self.plan.run
    }

    /// The ledger.
    pub fn ledger(&self) -> MutexGuard<'_, Oracle> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts of the calls.
    pub fn tally(&self) -> &Stats {
        &self.tally
    }

    /// The channels, in the order of the counts.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Posts until the plan's count is reached and every webhook is accepted or given up, or until `stop`. Webhooks in
    /// progress at a stop are dropped, and no events are expected of them.
    pub async fn run(&self, start: Timestamp, stop: CancellationToken) {
        tokio::select! {
            () = self.post_all(start) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn post_all(&self, start: Timestamp) {
        let mut posting = JoinSet::new();
        let share = (IN_PROGRESS_MAX / self.targets.len().max(1)).max(1);
        let places: Vec<_> = self.targets.iter().map(|_| Arc::new(Semaphore::new(share))).collect();
        self.greet(&mut posting);
        while posting.join_next().await.is_some() {}
        let began = Instant::now();
        let count = usize::try_from(self.plan.count.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let traffic = Traffic::new(self.plan.clone(), self.targets.to_vec(), start);
        for (number, webhook) in traffic.take(count).enumerate() {
            let due = began + Duration::from_secs_f64(number as f64 / self.plan.rate_per_s);
            tokio::time::sleep_until(due).await;
            while posting.try_join_next().is_some() {}
            let Some(place) = self.place_for(&webhook, &places[webhook.target]) else {
                // A rate far above the possible one must not block the thread.
                tokio::task::yield_now().await;
                continue;
            };
            let simulator = self.clone();
            posting.spawn(async move {
                simulator.deliver(webhook).await;
                drop(place);
            });
        }
        while posting.join_next().await.is_some() {}
    }

    /// Reserves room for the webhook, whose items the ledger expects from now on. Without room it is dropped.
    fn place_for(&self, webhook: &Webhook, places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            self.tally.dropped(webhook.target, Dropped::InProgress);
            return None;
        };
        let mut ledger = self.ledger();
        if !ledger.has_room() {
            self.tally.dropped(webhook.target, Dropped::NotOut);
            return None;
        }
        ledger.expect(&webhook.body.expected);
        Some(place)
    }

    /// Posts the BSPs' initial checks.
    fn greet(&self, posting: &mut JoinSet<()>) {
        for (target, of) in self.targets.iter().enumerate() {
            for body in of.client.greetings() {
                let simulator = self.clone();
                posting.spawn(async move { simulator.deliver(Webhook { target, body }).await });
            }
        }
    }

    async fn deliver(&self, webhook: Webhook) {
        self.tally.posted(webhook.target);
        let to = Destination { position: webhook.target, target: &self.targets[webhook.target] };
        let body: &Body = &webhook.body;
        match delivery::post(&self.caller, &self.plan, to, body, &self.tally).await {
            DeliveryResult::Taken => self.ledger().acknowledge(webhook.expected()),
            DeliveryResult::Lost => self.ledger().give_up(webhook.expected()),
        }
    }
}
