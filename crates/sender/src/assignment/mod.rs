//! The lanes of this replica: it acquires its share of the unowned lanes, by leases. A replica that owns more than its
//! share releases some of them, so that a new replica gets lanes.

mod lease;
mod presence;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bsp::ChannelId;
use bus::lease::{LeaseError, Leases};
use bus::registry::Snapshots;
use channel::{Channel, Channels};
use tokio::sync::watch;
use tokio::task::{self, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account::Account;
use crate::assignment::lease::LeaseKeeper;
use crate::assignment::presence::Presence;
pub(crate) use crate::assignment::presence::replicas_of;
use crate::context::lane_lease::LaneLease;
use crate::context::open_calls::OpenCalls;
use crate::context::{LaneContext, Shared};
use crate::lane;
use crate::throttle::Throttle;
use lane_state::{HaltReason, LaneState, lane_lease};

/// Interval of the checks of channels and leases.
const RECONCILE_INTERVAL: Duration = Duration::from_millis(500);
/// Time that a new replica has to acquire its share before others release theirs.
const REBALANCE_AFTER: Duration = Duration::from_secs(3);

/// A lane that this replica works.
struct OwnedLane {
    channel: Arc<Channel>,
    throttle: Throttle,
    is_paused: watch::Sender<bool>,
    /// Closes the lane.
    closing: CancellationToken,
}

/// The lanes of this replica.
pub(crate) struct LaneAssigner {
    shared: Arc<Shared>,
    leases: Leases,
    snapshots: Snapshots,
    /// The name of this replica.
    owner: String,
    presence: Presence,
    owned: HashMap<ChannelId, OwnedLane>,
    running: JoinSet<()>,
    tasks: HashMap<task::Id, ChannelId>,
    too_many_since: Option<Instant>,
}

impl LaneAssigner {
    pub(crate) fn new(shared: Arc<Shared>, leases: Leases, snapshots: Snapshots, owner: String) -> Self {
        Self {
            shared,
            presence: Presence::new(leases.clone(), &owner),
            leases,
            snapshots,
            owner,
            owned: HashMap::new(),
            running: JoinSet::new(),
            tasks: HashMap::new(),
            too_many_since: None,
        }
    }

    /// Runs until `stop`, and then until every lane is closed.
    pub(crate) async fn run(mut self, stop: CancellationToken, grace: Duration) {
        let mut ticks = tokio::time::interval(RECONCILE_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                changed = self.snapshots.changed() => if changed.is_err() { break },
                Some(ended) = self.running.join_next_with_id(), if !self.running.is_empty() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    if let Some(channel) = self.tasks.remove(&id) {
                        self.owned.remove(&channel);
                    }
                }
                _ = ticks.tick() => {}
            }
            let channels = self.snapshots.borrow_and_update().clone();
            let can_work = self.leases.is_synced() && self.shared.bus.is_connected();
            let Some(channels) = channels.filter(|_| can_work) else { continue };
            self.presence.announce().await;
            self.reconcile(&channels, &stop).await;
        }
        for worked in self.owned.values() {
            worked.closing.cancel();
        }
        // First, so that the other replicas take the lanes as soon as they are free.
        self.presence.release().await;
        let all = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!(
                function = "sender",
                "calls were still in flight at the end of the grace period; their outcomes are looked up by the next owners of the lanes"
            );
        }
    }

    /// Releases lanes that this replica must not work any more, and acquires free ones.
    async fn reconcile(&mut self, channels: &Channels, stop: &CancellationToken) {
        for (id, worked) in &self.owned {
            match channels.get(id.as_str()) {
                Some(channel) if is_same(channel, &worked.channel) => {
                    let _ = worked.is_paused.send_if_modified(|paused| {
                        std::mem::replace(paused, channel.is_paused) != channel.is_paused
                    });
                    set_rate(&worked.throttle, channel);
                }
                // The next owner acquires it with its new account.
                _ => worked.closing.cancel(),
            }
        }
        self.shared.failed_lanes.keep_only(|id| self.owned.contains_key(id));
        let sending: Vec<&Arc<Channel>> =
            channels.iter().filter(|channel| channel.bsp.sending().is_some()).collect();
        let share = self.presence.share(sending.len());
        for channel in sending {
            if self.owned.len() >= share || stop.is_cancelled() {
                break;
            }
            if !self.owned.contains_key(&channel.id) && self.leases.is_free(&lane_lease(channel.id.as_str()))
            {
                // If the bus does not answer, the next round tries again.
                if !self.acquire(channel).await {
                    break;
                }
            }
        }
        self.shared.metrics.lanes.set(self.owned.len() as i64);
        self.release_excess(share);
    }

    fn release_excess(&mut self, share: usize) {
        let open: Vec<&OwnedLane> =
            self.owned.values().filter(|worked| !worked.closing.is_cancelled()).collect();
        if open.len() <= share {
            self.too_many_since = None;
            return;
        }
        let since = *self.too_many_since.get_or_insert_with(Instant::now);
        if since.elapsed() < REBALANCE_AFTER {
            return;
        }
        for worked in &open[share..] {
            worked.closing.cancel();
        }
    }

    /// Acquires a lane. Returns whether the bus answered.
    async fn acquire(&mut self, channel: &Arc<Channel>) -> bool {
        let Some(account) = Account::of(channel, &self.shared.settings.secrets) else { return true };
        let state = LaneState {
            owner: self.owner.clone(),
            account: account.name().0,
            halted: Some(HaltReason::Starting),
            ..LaneState::default()
        };
        let value = serde_json::to_vec(&state).expect("it has no map").into();
        let lease = match self.leases.acquire(&lane_lease(channel.id.as_str()), value).await {
            Ok(lease) => lease,
            Err(error) => {
                tracing::debug!(function = "sender", "{error}");
                return matches!(error, LeaseError::Lost(_));
            }
        };
        tracing::info!(
            function = "sender",
            channel = channel.id.as_str(),
            "works the lane of channel {}",
            channel.id
        );
        let closing = CancellationToken::new();
        let ownership = LaneLease::new(&lease, state);
        let throttle = Throttle::new(account.details.sends_per_second, Instant::now());
        let (is_paused, paused) = watch::channel(channel.is_paused);
        let lane = LaneContext {
            shared: Arc::clone(&self.shared),
            account: Arc::new(account),
            throttle: throttle.clone(),
            lease: ownership.clone(),
            calls: OpenCalls::default(),
            closing: closing.clone(),
        };
        let (leases, id, lane_closing) = (self.leases.clone(), channel.id.clone(), closing.clone());
        let task = self.running.spawn(async move {
            let ended = CancellationToken::new();
            // Also if the lane panics: then another replica acquires it.
            let _ended = ended.clone().drop_guard();
            let keeper =
                LeaseKeeper { leases, lease, ownership, closing: lane_closing, ended: ended.clone() };
            let keeping = tokio::spawn(keeper.run());
            lane::run(lane, paused).await;
            ended.cancel();
            let _ = keeping.await;
            tracing::info!(function = "sender", channel = id.as_str(), "left the lane of channel {id}");
        });
        self.tasks.insert(task.id(), channel.id.clone());
        let channel = Arc::clone(channel);
        self.owned.insert(channel.id.clone(), OwnedLane { channel, throttle, is_paused, closing });
        true
    }
}

/// Whether a lane can continue with a channel's new settings.
fn is_same(now: &Channel, before: &Channel) -> bool {
    let account = |channel: &Channel| {
        let mut settings = channel.settings.clone();
        // The rate can change while the lane runs.
        if let Some(settings) = settings.as_object_mut() {
            settings.remove("sends_per_second");
        }
        let reconciles = (channel.reconcile, channel.report_after_s.filter(|_| channel.reconcile));
        (channel.tenant.clone(), channel.bsp.profile().id, reconciles, settings)
    };
    account(now) == account(before)
}

fn set_rate(throttle: &Throttle, channel: &Channel) {
    let account = channel.bsp.sending().and_then(|sending| sending.account(&channel.settings));
    if let Some(account) = account {
        throttle.set_rate(account.sends_per_second);
    }
}
