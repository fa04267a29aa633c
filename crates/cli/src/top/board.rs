//! What a look found: numbers to draw or to print.

use std::collections::BTreeMap;

use bus::lag::Snapshot;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::lanes::Lane;

/// A channel behind a BSP.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) bsp: String,
    pub(crate) channel: String,
}

/// What passes on a channel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    /// Since `top` began.
    pub(crate) webhooks: u64,
    pub(crate) events: u64,
    pub(crate) dead_letters: u64,
    /// Webhooks that the normalizer has not been given yet.
    pub(crate) waiting: u64,
    pub(crate) webhooks_per_s: f64,
    pub(crate) events_per_s: f64,
    /// By cause; since `top` began.
    pub(crate) refused: BTreeMap<String, u64>,
}

impl Row {
    /// All refusals.
    pub(crate) fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }
}

/// Everything of one look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board {
    pub(crate) place: String,
    pub(crate) connected: bool,
    pub(crate) snapshot: Snapshot,
    pub(crate) rows: BTreeMap<Name, Row>,
    /// Lanes in which commands wait, those that are halted first.
    pub(crate) lanes: Vec<Lane>,
    /// Refusals that belong to no channel, such as an unknown one, by BSP and cause.
    pub(crate) strangers: BTreeMap<(String, String), u64>,
    /// Webhooks a second over the last looks, the newest last.
    pub(crate) history: Vec<u64>,
    /// Admin ports that answer, and those that were asked.
    pub(crate) admins: (usize, usize),
}

impl Board {
    pub(crate) fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|(name, row)| {
            json!({
                "bsp": name.bsp, "channel": name.channel, "webhooks": row.webhooks, "events": row.events,
                "dead_letters": row.dead_letters, "waiting": row.waiting, "webhooks_per_s": row.webhooks_per_s,
                "events_per_s": row.events_per_s, "refused": row.refused,
            })
        });
        let durables = self.snapshot.durables.iter().map(|durable| {
            json!({
                "stream": durable.stream, "durable": durable.name, "pending": durable.pending,
                "unacknowledged": durable.unacknowledged, "oldest_age_s": durable.oldest_age_s,
            })
        });
        let streams = self.snapshot.streams.iter().map(|stream| {
            json!({ "stream": stream.name, "messages": stream.messages, "bytes": stream.bytes, "max_bytes": stream.max_bytes })
        });
        let now = Timestamp::now();
        let lanes: Vec<_> = self.lanes.iter().map(|lane| lane.to_json(now)).collect();
        let strangers = self
            .strangers
            .iter()
            .map(|((bsp, cause), count)| json!({ "bsp": bsp, "cause": cause, "count": count }));
        json!({
            "connected": self.connected, "channels": rows.collect::<Vec<_>>(), "durables": durables.collect::<Vec<_>>(),
            "lanes": lanes, "streams": streams.collect::<Vec<_>>(), "refused_without_channel": strangers.collect::<Vec<_>>(),
            "admin_ports": { "answering": self.admins.0, "asked": self.admins.1 },
        })
    }
}
