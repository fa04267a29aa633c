//! What a look found: numbers to draw or to print.

use std::collections::BTreeMap;
use std::time::Duration;

use bus::inspect::Snapshot;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::lanes::{Lane, LaneTotals};
use crate::spooled::{Folder, Spooled};

/// Time over which rates are averaged.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// A channel behind a BSP.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) bsp: String,
    pub(crate) channel: String,
}

/// Results of commands by outcome, since `top` began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Results {
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
    pub(crate) expired: u64,
    pub(crate) unknown: u64,
}

impl Results {
    pub(crate) fn all(self) -> u64 {
        self.accepted + self.failed()
    }

    /// Those that were not accepted, or of which it is not known.
    pub(crate) fn failed(self) -> u64 {
        self.rejected + self.expired + self.unknown
    }
}

/// Averages per second over [`WINDOW`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) webhooks: f64,
    pub(crate) events: f64,
    pub(crate) commands: f64,
    pub(crate) results: f64,
}

/// Traffic of a channel. Counts are since `top` began.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    pub(crate) webhooks: u64,
    pub(crate) events: u64,
    pub(crate) dead_letters: u64,
    pub(crate) commands: u64,
    pub(crate) results: Results,
    /// Webhooks that were not delivered to the normalizer yet.
    pub(crate) waiting: u64,
    /// Commands that wait to be sent, as the lane's owner says.
    pub(crate) pending_commands: u64,
    pub(crate) rates: Rates,
    /// By cause.
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
    /// Rates of all channels together.
    pub(crate) rates: Rates,
    /// Lanes with pending commands, the halted ones first, and then the other halted lanes.
    pub(crate) lanes: Vec<Lane>,
    /// All lanes that a sender works.
    pub(crate) lane_totals: LaneTotals,
    /// Refusals that belong to no channel, such as an unknown one, by BSP and cause.
    pub(crate) strangers: BTreeMap<(String, String), u64>,
    /// The spools of all ingress that were asked; `None` if they have none.
    pub(crate) spool: Option<SpoolTotals>,
    /// Average rates at the last looks, the newest last.
    pub(crate) history: Vec<Rates>,
    /// Admin ports that answer, and those that were asked.
    pub(crate) admins: (usize, usize),
}

/// The spools of all ingress that answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SpoolTotals {
    /// Ingress processes with a spool.
    pub(crate) processes: usize,
    /// Those of them whose spool takes no webhooks.
    pub(crate) unusable: usize,
    /// Webhooks that wait for NATS, their bytes, and the age of the oldest in seconds.
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest_age_s: u64,
    /// Sub-folders of the folder on this machine with webhooks and without a process, and those webhooks.
    pub(crate) abandoned_folders: u64,
    pub(crate) abandoned_entries: u64,
}

impl SpoolTotals {
    /// The sum; `None` without a spool.
    pub(crate) fn of(spools: impl Iterator<Item = Spooled>, folders: &[Folder]) -> Option<Self> {
        let mut totals = Self::default();
        for spooled in spools {
            totals.processes += 1;
            totals.unusable += usize::from(!spooled.is_usable);
            totals.entries += spooled.entries;
            totals.bytes += spooled.bytes;
            totals.oldest_age_s = totals.oldest_age_s.max(spooled.oldest_age_s);
        }
        for folder in folders.iter().filter(|folder| folder.is_abandoned()) {
            totals.abandoned_folders += 1;
            totals.abandoned_entries += folder.entries;
            totals.bytes += folder.bytes;
            totals.oldest_age_s = totals.oldest_age_s.max(folder.oldest.unwrap_or_default().as_secs());
        }
        (totals.processes > 0 || !folders.is_empty()).then_some(totals)
    }

    fn to_json(self) -> Value {
        json!({
            "processes": self.processes, "unusable": self.unusable, "entries": self.entries, "bytes": self.bytes,
            "oldest_age_s": self.oldest_age_s, "abandoned_folders": self.abandoned_folders,
            "abandoned_entries": self.abandoned_entries,
        })
    }
}

impl Board {
    pub(crate) fn to_json(&self) -> Value {
        let now = Timestamp::now();
        let rows = self.rows.iter().map(|(name, row)| {
            json!({
                "bsp": name.bsp, "channel": name.channel, "webhooks": row.webhooks, "events": row.events,
                "dead_letters": row.dead_letters, "waiting": row.waiting, "webhooks_per_s": row.rates.webhooks,
                "events_per_s": row.rates.events, "refused": row.refused, "commands": row.commands,
                "commands_per_s": row.rates.commands, "results_per_s": row.rates.results,
                "pending_commands": row.pending_commands, "results": {
                    "accepted": row.results.accepted, "rejected": row.results.rejected,
                    "expired": row.results.expired, "unknown": row.results.unknown,
                },
            })
        });
        let durables = self.snapshot.durables.iter().map(|durable| {
            json!({
                "stream": durable.stream.name(), "durable": durable.name, "pending": durable.pending,
                "unacknowledged": durable.held, "oldest_age_s": durable.oldest_age_s(now),
            })
        });
        let streams = self.snapshot.streams.iter().map(|stream| {
            let max_bytes = stream.max_bytes.unwrap_or(0);
            json!({ "stream": stream.name(), "messages": stream.messages, "bytes": stream.bytes, "max_bytes": max_bytes })
        });
        let lanes: Vec<_> = self.lanes.iter().map(|lane| lane.to_json(now)).collect();
        let strangers = self
            .strangers
            .iter()
            .map(|((bsp, cause), count)| json!({ "bsp": bsp, "cause": cause, "count": count }));
        json!({
            "connected": self.connected, "channels": rows.collect::<Vec<_>>(), "durables": durables.collect::<Vec<_>>(),
            "average_s": WINDOW.as_secs(), "lane_totals": self.lane_totals.to_json(), "lanes": lanes, "streams": streams.collect::<Vec<_>>(), "refused_without_channel": strangers.collect::<Vec<_>>(),
            "spool": self.spool.map(SpoolTotals::to_json),
            "admin_ports": { "answering": self.admins.0, "asked": self.admins.1 },
        })
    }
}
