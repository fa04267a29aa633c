//! Which replica owns a lane, and until when it may rely on that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bus::lease::{Lease, LeaseError, Leases, RENEW_DEADLINE, RETRY_PERIOD};
use bus::rate_limited_log::RateLimitedLog;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

static LANE_LEFT: RateLimitedLog = RateLimitedLog::new();

/// State of a lane that its owner writes into the lease, for other replicas and for people.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LaneState {
    /// Name of the replica.
    pub owner: String,
    /// Name of the account, so that replicas know with whom they share its limits.
    pub account: String,
    /// Why nothing is sent, as text for people; empty while the lane sends.
    #[serde(default)]
    pub halted: String,
    /// Seconds until the next call, if that is known.
    #[serde(default)]
    pub next_try_s: Option<u64>,
    /// Commands with a call in flight, or whose outcome is being looked up.
    #[serde(default)]
    pub in_progress: usize,
    /// Of these, commands of the bulk queue. Older senders leave it out.
    #[serde(default)]
    pub campaigns_in_progress: usize,
    /// Pending commands. Older senders leave it out.
    #[serde(default)]
    pub waits: LaneBacklog,
    /// Commands that wait behind earlier ones to the same recipients. Older senders leave it out.
    #[serde(default)]
    pub crowded: CrowdedRecipient,
}

/// Pending commands of a lane, in the stream or held by the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LaneBacklog {
    /// Number of commands.
    pub commands: u64,
    /// When the oldest of them was stored, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
}

/// Commands of a lane that wait behind earlier ones to the same recipients. No recipient is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CrowdedRecipient {
    /// Number of commands.
    pub behind: usize,
    /// Number of their recipients.
    pub recipients: usize,
    /// Recipients that have reached the limit of pending commands. Further ones are rejected.
    pub full_recipients: usize,
    /// Whether the lane has reached its limit of pending commands and fetches no more.
    pub is_lane_full: bool,
}

impl LaneState {
    /// Why nothing is sent and when the next call is, as text for people; empty while the lane sends.
    pub fn why(&self) -> String {
        match self.next_try_s {
            Some(left_s) if !self.halted.is_empty() => format!("{}; next try in {left_s} s", self.halted),
            _ => self.halted.clone(),
        }
    }

    /// Parses the value of a lease; `None` if it has another form.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bsp::json::from_slice(bytes).ok()
    }
}

/// Name of a lane's lease.
pub fn lane_lease(channel: &str) -> String {
    format!("lane.{channel}")
}

/// The channel of a lane's lease; `None` for another lease.
pub fn lane_of_lease(name: &str) -> Option<&str> {
    name.strip_prefix("lane.")
}

/// Whether this process still owns a lane. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LaneLease(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    began: Instant,
    trusted_to_ms: AtomicU64,
    state: Mutex<LaneState>,
}

impl LaneLease {
    pub(crate) fn new(lease: &Lease, state: LaneState) -> Self {
        let owned =
            Owned { began: Instant::now(), trusted_to_ms: AtomicU64::new(0), state: Mutex::new(state) };
        let ownership = Self(Arc::new(owned));
        ownership.renewed(lease);
        ownership
    }

    /// Whether a call may still be made.
    pub(crate) fn is_valid(&self) -> bool {
        let now_ms = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        now_ms < self.0.trusted_to_ms.load(Ordering::Acquire)
    }

    /// Sets the state that the next renewals write. Owner and account stay the same.
    pub(crate) fn set_state(&self, now: LaneState) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (owner, account) = (std::mem::take(&mut state.owner), std::mem::take(&mut state.account));
        *state = LaneState { owner, account, ..now };
    }

    fn value(&self) -> Bytes {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_vec(&*state).expect("it has no map").into()
    }

    fn renewed(&self, lease: &Lease) {
        let trusted_to = lease.renewed_at() + RENEW_DEADLINE;
        let to_ms = trusted_to.saturating_duration_since(self.0.began).as_millis();
        self.0.trusted_to_ms.store(u64::try_from(to_ms).unwrap_or(0), Ordering::Release);
    }
}

/// Renews a lease until `ended`, and then releases it. Losing the lease cancels `closing`.
pub(crate) async fn renew_loop(
    leases: Leases,
    mut lease: Lease,
    ownership: LaneLease,
    closing: CancellationToken,
    ended: CancellationToken,
) {
    let mut ticks = tokio::time::interval(RETRY_PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut is_lost = false;
    while !is_lost {
        tokio::select! {
            () = ended.cancelled() => break,
            _ = ticks.tick() => {}
        }
        match leases.renew(&mut lease, ownership.value()).await {
            Ok(()) => ownership.renewed(&lease),
            Err(LeaseError::NotWritten(..)) if lease.is_held() => ticks.reset_after(RETRY_PERIOD / 5),
            // Another replica may own it, or will soon: the lane ends what is in progress and begins nothing new.
            Err(error) => {
                if let Some(turn) = LANE_LEFT.next() {
                    tracing::warn!(function = "sender", "{error}: the lane is released{turn}");
                }
                is_lost = true;
                closing.cancel();
            }
        }
    }
    ended.cancelled().await;
    if !is_lost {
        leases.release(lease).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_holds_an_object() {
        let state = LaneState { owner: "o".to_owned(), account: "a".to_owned(), ..LaneState::default() };
        assert_eq!(LaneState::from_bytes(&serde_json::to_vec(&state).unwrap()), Some(state));
        for other in [r#"["o","a","",0]"#, r#"{"owner":"o","account":"a","crowded":[1,2,3,true]}"#] {
            assert_eq!(LaneState::from_bytes(other.as_bytes()), None, "{other}");
        }
    }
}
