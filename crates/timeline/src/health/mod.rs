//! How each channel is at this moment: its record, its lane, its last messages, and what the services count. It gathers, and leaves
//! the judgment to people: [`crate::http`] shows it.
//!
//! | what | comes from |
//! |---|---|
//! | BSP, tenant, paused, number of passwords | the registry |
//! | whether and why the lane is halted, what waits | the lease of the lane |
//! | last webhook, last result of a send | the newest message of their subjects ([`recent`]) |
//! | refusals by cause, passwords in use, results by outcome | the admin ports ([`crate::admin`]) |

pub mod recent;

use std::collections::HashMap;
use std::sync::Arc;

use bus::registry::Snapshots;
use lane_state::LaneState;
use tokio::sync::watch;

use crate::admin::AdminView;
use crate::health::recent::RecentReader;

/// The lanes that have an owner, by channel.
pub type Lanes = Arc<HashMap<String, LaneState>>;

/// Where answers about channels come from. Clones share it.
#[derive(Debug, Clone)]
pub struct Health {
    /// The registry; `None` until it was read once.
    pub channels: Snapshots,
    /// The lanes; `None` until their leases were read once.
    pub lanes: watch::Receiver<Option<Lanes>>,
    /// What the admin ports say.
    pub admin: watch::Receiver<Arc<AdminView>>,
    /// Reads the last messages of channels.
    pub recent: RecentReader,
}
