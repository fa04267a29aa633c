//! A run: webhooks at a constant rate, each posted by a task of its own with its repeats, and the ledger kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Client;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use crate::plan::{Plan, RunTag};
use crate::post::{self, Ending};
use crate::sender::Body;
use crate::tally::Tally;
use crate::target::Target;
use crate::traffic::{Traffic, Webhook};

/// Webhooks that are being posted or wait for their repeat at once. More would have to lie in memory while a gateway is
/// away; beyond it the rate is not kept.
const IN_PROGRESS_MAX: usize = 20_000;
/// To connect.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Simulated BSPs in front of a gateway.
#[derive(Debug, Clone)]
pub struct Simulator {
    plan: Plan,
    targets: Arc<[Target]>,
    client: Client,
    ledger: Arc<Mutex<Ledger>>,
    tally: Arc<Tally>,
}

impl Simulator {
    /// Ready to run. `entries_max` bounds the ledger.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(plan: Plan, targets: Vec<Target>, entries_max: usize) -> reqwest::Result<Self> {
        let client = Client::builder()
            .connect_timeout(CONNECT_PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let ledger = Arc::new(Mutex::new(Ledger::new(plan.run, entries_max)));
        let tally = Arc::new(Tally::new(targets.len()));
        Ok(Self { plan, targets: targets.into(), client, ledger, tally })
    }

    /// What it was told.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The tag in every id of this run.
    pub fn run_tag(&self) -> RunTag {
        self.plan.run
    }

    /// The ledger, to tell it what came out and to ask it.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts of the calls.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The channels, in the order of the tally.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Posts until the plan's count is reached and every webhook is taken or given up, or until `stop`. What is under
    /// way at a stop is dropped: it was promised nothing.
    pub async fn run(&self, start: Timestamp, stop: CancellationToken) {
        tokio::select! {
            () = self.post_all(start) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn post_all(&self, start: Timestamp) {
        let mut posting = JoinSet::new();
        let places = Arc::new(Semaphore::new(IN_PROGRESS_MAX));
        self.greet(&mut posting);
        while posting.join_next().await.is_some() {}
        let began = Instant::now();
        let count = usize::try_from(self.plan.count.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let traffic = Traffic::new(self.plan.clone(), self.targets.to_vec(), start);
        for (number, webhook) in traffic.take(count).enumerate() {
            let due = began + Duration::from_secs_f64(number as f64 / self.plan.rate_per_s);
            tokio::time::sleep_until(due).await;
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
            self.ledger().expect(webhook.expected());
            let simulator = self.clone();
            posting.spawn(async move {
                simulator.deliver(webhook).await;
                drop(place);
            });
            while posting.try_join_next().is_some() {}
        }
        while posting.join_next().await.is_some() {}
    }

    /// What the BSPs post before anything else.
    fn greet(&self, posting: &mut JoinSet<()>) {
        for (target, of) in self.targets.iter().enumerate() {
            for body in of.sender.greetings() {
                let simulator = self.clone();
                posting.spawn(async move { simulator.deliver(Webhook { target, body }).await });
            }
        }
    }

    async fn deliver(&self, webhook: Webhook) {
        self.tally.posted(webhook.target);
        let to = (webhook.target, &self.targets[webhook.target]);
        let body: &Body = &webhook.body;
        if post::post(&self.client, &self.plan, to, body, &self.tally).await == Ending::Taken {
            self.ledger().promise(webhook.expected());
        }
    }
}
