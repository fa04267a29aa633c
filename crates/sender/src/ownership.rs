//! Who works a lane, and until when it may believe so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bus::lease::{Lease, LeaseError, Leases, OWNER_TRUSTS_FOR, RENEW_EVERY};
use bus::seldom::Seldom;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

static LANE_LEFT: Seldom = Seldom::new();

/// What the owner of a lane writes into its lease, for other replicas and for people.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LaneState {
    /// The replica.
    pub owner: String,
    /// The account, so that replicas know with whom they share its limits.
    pub account: String,
    /// Why nothing is sent, in words; empty while it is.
    #[serde(default)]
    pub halted: String,
    /// Seconds until a call is tried again, where that is known.
    #[serde(default)]
    pub next_try_s: Option<u64>,
    /// Commands that are in a call, or whose call has an outcome that is looked up.
    #[serde(default)]
    pub in_progress: usize,
    /// Of these, campaigns' commands. Senders of before this field leave it out.
    #[serde(default)]
    pub campaigns_in_progress: usize,
    /// What waits to be sent. Senders of before this field leave it out.
    #[serde(default)]
    pub waits: Waits,
    /// What waits behind earlier commands to the same recipients. Senders of before this field leave it out.
    #[serde(default)]
    pub crowded: Crowded,
}

/// Commands of a lane that are in no call, in the stream or in the sender's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Waits {
    /// The commands.
    pub commands: u64,
    /// When the oldest of them was stored, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
}

/// Commands of a lane that wait behind earlier ones to the same recipients. No recipient is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Crowded {
    /// The commands.
    pub behind: usize,
    /// Their recipients.
    pub recipients: usize,
    /// Recipients with as many waiting commands as they may have: further ones are refused.
    pub full_recipients: usize,
    /// Whether the lane holds as many commands as it may and takes no more.
    pub is_lane_full: bool,
}

impl LaneState {
    /// Why nothing is sent and when it is tried again, in words; empty while it is.
    pub fn why(&self) -> String {
        match self.next_try_s {
            Some(left_s) if !self.halted.is_empty() => format!("{}; next try in {left_s} s", self.halted),
            _ => self.halted.clone(),
        }
    }

    /// Reads what a lease holds; `None` where that is of another form.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bsp::json::from_slice(bytes).ok()
    }
}

/// The name of a lane's lease.
pub fn lane_lease(channel: &str) -> String {
    format!("lane.{channel}")
}

/// The channel of a lane's lease; `None` for another lease.
pub fn lane_of_lease(name: &str) -> Option<&str> {
    name.strip_prefix("lane.")
}

/// Whether this process still works a lane. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Ownership(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    began: Instant,
    trusted_to_ms: AtomicU64,
    state: Mutex<LaneState>,
}

impl Ownership {
    pub(crate) fn new(lease: &Lease, state: LaneState) -> Self {
        let owned =
            Owned { began: Instant::now(), trusted_to_ms: AtomicU64::new(0), state: Mutex::new(state) };
        let ownership = Self(Arc::new(owned));
        ownership.renewed(lease);
        ownership
    }

    /// Whether a call may still be made.
    pub(crate) fn holds(&self) -> bool {
        let now_ms = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        now_ms < self.0.trusted_to_ms.load(Ordering::Acquire)
    }

    /// What is told of the lane from the next renewal on. Its owner and its account stay.
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
        let trusted_to = lease.renewed_at() + OWNER_TRUSTS_FOR;
        let to_ms = trusted_to.saturating_duration_since(self.0.began).as_millis();
        self.0.trusted_to_ms.store(u64::try_from(to_ms).unwrap_or(0), Ordering::Release);
    }
}

/// Renews a lease until `ended`, and gives it up then. A lease that is lost cancels `closing`.
pub(crate) async fn keep(
    leases: Leases,
    mut lease: Lease,
    ownership: Ownership,
    closing: CancellationToken,
    ended: CancellationToken,
) {
    let mut ticks = tokio::time::interval(RENEW_EVERY);
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
            Err(LeaseError::NotWritten(..)) if lease.is_held() => ticks.reset_after(RENEW_EVERY / 5),
            // Others may have it, or soon will: what is under way is ended, and nothing new begun.
            Err(error) => {
                if let Some(turn) = LANE_LEFT.turn() {
                    tracing::warn!(function = "sender", "{error}: the lane is left{turn}");
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
