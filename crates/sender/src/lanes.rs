//! The lanes of this replica: it acquires its share of the unowned lanes, by leases. A replica that owns more than its
//! share releases some of them, so that a new replica gets lanes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bsp::ChannelId;
use bus::lease::{Lease, LeaseError, Leases, RETRY_PERIOD};
use bus::registry::Snapshots;
use channel::{Channel, Channels};
use tokio::sync::watch;
use tokio::task::{self, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account::{Account, AccountName};
use crate::gate::Throttle;
use crate::lane;
use crate::message_log::ReplicaCount;
use crate::open_calls::OpenCalls;
use crate::ownership::{self, LaneLease, LaneState, lane_lease};
use crate::send::{LaneContext, Shared};

/// Interval of the checks of channels and leases.
const RECONCILE_INTERVAL: Duration = Duration::from_millis(500);
/// Time that a new replica has to acquire its share before others release theirs.
const REBALANCE_AFTER: Duration = Duration::from_secs(3);

/// A lane that this replica works.
struct OwnedLane {
    channel: Arc<Channel>,
    gate: Throttle,
    is_paused: watch::Sender<bool>,
    /// Closes the lane.
    closing: CancellationToken,
}

/// Lanes that cannot be read because their consumers are missing, for the readiness of the process. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct FailedLanes(Arc<Mutex<BTreeSet<ChannelId>>>);

impl FailedLanes {
    pub(crate) fn set(&self, channel: &ChannelId, is_faulty: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_faulty {
            all.insert(channel.clone());
        } else {
            all.remove(channel);
        }
    }

    fn keep_only(&self, is_worked: impl Fn(&ChannelId) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|channel| is_worked(channel));
    }

    /// Returns `Ok` if all lanes can be read, or the names of the others.
    pub(crate) fn state(&self) -> Result<(), String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<&str> = all.iter().map(ChannelId::as_str).collect();
        if names.is_empty() { Ok(()) } else { Err(format!("durables are missing: {}", names.join(", "))) }
    }
}

/// The lanes of this replica.
pub(crate) struct LaneAssigner {
    shared: Arc<Shared>,
    leases: Leases,
    snapshots: Snapshots,
    owner: String,
    worked: HashMap<ChannelId, OwnedLane>,
    running: JoinSet<()>,
    tasks: HashMap<task::Id, ChannelId>,
    too_many_since: Option<Instant>,
}

/// Returns a function that counts the replicas that work lanes of an account, from their leases.
pub(crate) fn replicas_of(leases: &Leases) -> ReplicaCount {
    let leases = leases.clone();
    Arc::new(move |name: &AccountName| {
        let mut owners = HashSet::new();
        for (_, seen) in leases.held() {
            if let Some(state) = LaneState::from_bytes(&seen.value)
                && state.account == name.0
            {
                owners.insert(state.owner);
            }
        }
        u32::try_from(owners.len()).unwrap_or(u32::MAX)
    })
}

fn presence_lease(owner: &str) -> String {
    format!("replica.{owner}")
}

impl LaneAssigner {
    pub(crate) fn new(shared: Arc<Shared>, leases: Leases, snapshots: Snapshots, owner: String) -> Self {
        Self {
            shared,
            leases,
            snapshots,
            owner,
            worked: HashMap::new(),
            running: JoinSet::new(),
            tasks: HashMap::new(),
            too_many_since: None,
        }
    }

    /// Runs until `stop`, and then until every lane is closed.
    pub(crate) async fn run(mut self, stop: CancellationToken, grace: Duration) {
        let mut ticks = tokio::time::interval(RECONCILE_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut presence = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                changed = self.snapshots.changed() => if changed.is_err() { break },
                Some(ended) = self.running.join_next_with_id(), if !self.running.is_empty() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    if let Some(channel) = self.tasks.remove(&id) {
                        self.worked.remove(&channel);
                    }
                }
                _ = ticks.tick() => {}
            }
            let channels = self.snapshots.borrow_and_update().clone();
            let can_work = self.leases.is_synced() && self.shared.bus.is_connected();
            let Some(channels) = channels.filter(|_| can_work) else { continue };
            self.announce(&mut presence).await;
            self.reconcile(&channels, &stop).await;
        }
        for worked in self.worked.values() {
            worked.closing.cancel();
        }
        // First, so that the other replicas take the lanes as soon as they are free.
        if let Some(presence) = presence {
            self.leases.release(presence).await;
        }
        let all = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!(
                function = "sender",
                "calls were still in flight at the end of the grace period; their outcomes are looked up by the next owners of the lanes"
            );
        }
    }

    /// Keeps a lease that shows the other replicas that this one is running.
    async fn announce(&self, presence: &mut Option<Lease>) {
        let value = || bytes::Bytes::from_static(b"{}");
        let renewed = match presence {
            None => self.leases.acquire(&presence_lease(&self.owner), value()).await.map(Some),
            Some(lease) if lease.renewed_at().elapsed() < RETRY_PERIOD => return,
            Some(lease) => self.leases.renew(lease, value()).await.map(|()| None),
        };
        match renewed {
            Ok(Some(lease)) => *presence = Some(lease),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(function = "sender", "{error}");
                if presence.as_ref().is_some_and(|lease| !lease.is_held()) {
                    *presence = None;
                }
            }
        }
    }

    /// Releases lanes that this replica must not work any more, and acquires free ones.
    async fn reconcile(&mut self, channels: &Channels, stop: &CancellationToken) {
        for (id, worked) in &self.worked {
            match channels.get(id.as_str()) {
                Some(channel) if is_same(channel, &worked.channel) => {
                    let _ = worked.is_paused.send_if_modified(|paused| {
                        std::mem::replace(paused, channel.is_paused) != channel.is_paused
                    });
                    set_rate(&worked.gate, channel);
                }
                // The next owner acquires it with its new account.
                _ => worked.closing.cancel(),
            }
        }
        self.shared.faults.keep_only(|id| self.worked.contains_key(id));
        let sending: Vec<&Arc<Channel>> =
            channels.iter().filter(|channel| channel.bsp.sending().is_some()).collect();
        let share = self.share(sending.len());
        for channel in sending {
            if self.worked.len() >= share || stop.is_cancelled() {
                break;
            }
            if !self.worked.contains_key(&channel.id) && self.leases.is_free(&lane_lease(channel.id.as_str()))
            {
                // If the bus does not answer, the next round tries again.
                if !self.acquire(channel).await {
                    break;
                }
            }
        }
        self.shared.metrics.lanes.set(self.worked.len() as i64);
        self.release_excess(share);
    }

    /// Returns this replica's share of this number of lanes, rounded up so that every lane has an owner.
    fn share(&self, lanes: usize) -> usize {
        let own = presence_lease(&self.owner);
        let others = self.leases.held();
        let others = others.iter().filter(|(name, _)| name.starts_with("replica.") && *name != own).count();
        lanes.div_ceil(others + 1)
    }

    fn release_excess(&mut self, share: usize) {
        let open: Vec<&OwnedLane> =
            self.worked.values().filter(|worked| !worked.closing.is_cancelled()).collect();
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
            halted: "begins".to_owned(),
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
        let gate = Throttle::new(account.details.sends_per_second, Instant::now());
        let (is_paused, paused) = watch::channel(channel.is_paused);
        let lane = LaneContext {
            shared: Arc::clone(&self.shared),
            account: Arc::new(account),
            gate: gate.clone(),
            ownership: ownership.clone(),
            calls: OpenCalls::default(),
            closing: closing.clone(),
        };
        let (leases, id, left) = (self.leases.clone(), channel.id.clone(), closing.clone());
        let task = self.running.spawn(async move {
            let ended = CancellationToken::new();
            // Also if the lane panics: then another replica acquires it.
            let _ended = ended.clone().drop_guard();
            let keeping = tokio::spawn(ownership::renew_loop(leases, lease, ownership, left, ended.clone()));
            lane::run(lane, paused).await;
            ended.cancel();
            let _ = keeping.await;
            tracing::info!(function = "sender", channel = id.as_str(), "left the lane of channel {id}");
        });
        self.tasks.insert(task.id(), channel.id.clone());
        let channel = Arc::clone(channel);
        self.worked.insert(channel.id.clone(), OwnedLane { channel, gate, is_paused, closing });
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
        (channel.tenant.clone(), channel.bsp.profile().id, settings)
    };
    account(now) == account(before)
}

fn set_rate(gate: &Throttle, channel: &Channel) {
    let account = channel.bsp.sending().and_then(|sending| sending.account(&channel.settings));
    if let Some(account) = account {
        gate.set_rate(account.sends_per_second);
    }
}
