//! Collects what a look shows: what the readers have counted, and what the server, the leases and the admin ports say.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use bus::streams::NORMALIZER;
use bus::{Bus, inspect, lag, registry};
use tokio::time::Instant;

use super::admin::Port;
use super::lanes::{self, Lane, LaneTotals};
use super::model::{Board, Name, Rates, Row, SpoolTotals};
use super::rates::Averages;
use super::readers::{Counts, Readers};
use crate::output;
use crate::refusals::Refused;
use crate::spooled::{self, Folder};

/// Samples that the history holds.
const HISTORY_MAX: usize = 120;
/// Interval of reading the leases: that of their renewal.
const LANES_EVERY: Duration = Duration::from_secs(5);
/// Interval of reading the sub-folders of the spool, which may be large.
const FOLDERS_EVERY: Duration = Duration::from_secs(10);

/// Collects.
#[derive(Debug)]
pub(super) struct Collector {
    bus: Bus,
    client: reqwest::Client,
    ports: Vec<Port>,
    readers: Readers,
    /// What was found last.
    board: Board,
    averages: Averages,
    /// Every lane with an owner, as read last.
    lanes: Vec<Lane>,
    lanes_read_at: Option<Instant>,
    /// Folder of the spool on this machine, and its sub-folders as read last.
    spool_dir: Option<PathBuf>,
    spool_folders: Vec<Folder>,
    folders_read_at: Option<Instant>,
    /// The BSPs of the channels with commands or lanes.
    bsps: BTreeMap<String, String>,
    history: VecDeque<Rates>,
}

impl Collector {
    /// Begins to count.
    pub(super) async fn start(
        bus: Bus,
        admins: Vec<String>,
        spool_dir: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let readers = Readers::start(&bus).await?;
        Ok(Self {
            bus,
            client: reqwest::Client::builder().no_proxy().build()?,
            ports: admins.iter().map(|url| Port::new(url)).collect(),
            readers,
            board: Board::default(),
            averages: Averages::new(Instant::now()),
            lanes: Vec::new(),
            lanes_read_at: None,
            spool_dir,
            spool_folders: Vec::new(),
            folders_read_at: None,
            bsps: BTreeMap::new(),
            history: VecDeque::new(),
        })
    }

    /// How things stand now; without a connection, how they stood last.
    pub(super) async fn collect(&mut self) -> Board {
        let asking = self.ports.iter_mut().map(|port| port.ask(&self.client));
        let answering =
            futures_util::future::join_all(asking).await.into_iter().filter(|answered| *answered).count();
        let admins = (answering, self.ports.len());
        self.read_spool_folders().await;
        let spool = SpoolTotals::of(self.ports.iter().filter_map(Port::spooled), &self.spool_folders);
        if !self.bus.is_connected() {
            // Webhooks are spooled just then.
            return Board { connected: false, spool, admins, ..self.board.clone() };
        }
        let snapshot = inspect::snapshot(&self.bus).await;
        let given = lag::delivered_sequence(&self.bus, &NORMALIZER).await.ok();
        self.read_lanes().await;
        let Counts { mut rows, commands } = self.readers.counts(given);
        let strangers = self.add_refusals(&mut rows);
        self.add_commands(&mut rows, &commands).await;
        let rates = self.averages.update(&mut rows, Instant::now());
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(rates);
        self.board = Board {
            place: format!("nats-server {}", self.bus.server_version()),
            connected: true,
            snapshot,
            rows,
            rates,
            lanes: lanes::to_show(&self.lanes),
            lane_totals: LaneTotals::of(&self.lanes),
            strangers,
            spool,
            history: self.history.iter().copied().collect(),
            admins,
        };
        self.board.clone()
    }

    /// Adds to the rows what is known by channel alone: commands, and what the owners of lanes say.
    async fn add_commands(&mut self, rows: &mut BTreeMap<Name, Row>, commands: &BTreeMap<String, u64>) {
        let waiting = self.lanes.iter().filter(|lane| lane.waiting > 0);
        let waiting: BTreeMap<String, u64> =
            waiting.map(|lane| (lane.channel.clone(), lane.waiting)).collect();
        for channel in commands.keys().chain(waiting.keys()) {
            let bsp = self.bsp_of(channel).await;
            let row = rows.entry(Name { bsp, channel: channel.clone() }).or_default();
            row.commands = commands.get(channel).copied().unwrap_or_default();
            row.pending_commands = waiting.get(channel).copied().unwrap_or_default();
        }
    }

    /// The BSP of a channel, as the registry has it. It never changes; a channel that is not there is asked for again.
    async fn bsp_of(&mut self, channel: &str) -> String {
        if let Some(bsp) = self.bsps.get(channel) {
            return bsp.clone();
        }
        let found = registry::read(&self.bus, channel).await.ok().flatten();
        let Some(record) = found.and_then(|found| found.record.ok()) else {
            return output::UNKNOWN.to_owned();
        };
        self.bsps.insert(channel.to_owned(), record.bsp.clone());
        record.bsp
    }

    /// Reads what waits to be sent, unless that was done a moment ago. Without an answer the last one stands.
    async fn read_lanes(&mut self) {
        if self.lanes_read_at.is_some_and(|at| at.elapsed() < LANES_EVERY) {
            return;
        }
        self.lanes_read_at = Some(Instant::now());
        if let Ok(leases) = inspect::leases(&self.bus).await {
            self.lanes = lanes::all(&leases);
        }
    }

    /// Reads the folder of the spool on this machine, unless that was done a moment ago.
    async fn read_spool_folders(&mut self) {
        let Some(folder) = &self.spool_dir else { return };
        if self.folders_read_at.is_some_and(|at| at.elapsed() < FOLDERS_EVERY) {
            return;
        }
        self.folders_read_at = Some(Instant::now());
        self.spool_folders = spooled::read_folders(folder.clone()).await.unwrap_or_default();
    }

    /// Adds refusals to the rows; gives those that belong to no channel.
    fn add_refusals(&self, rows: &mut BTreeMap<Name, Row>) -> Strangers {
        let mut strangers = Strangers::new();
        for (Refused { bsp, channel, cause }, count) in self.ports.iter().flat_map(Port::refused) {
            if channel.is_empty() {
                *strangers.entry((bsp.clone(), cause.clone())).or_default() += count;
                continue;
            }
            let row = rows.entry(Name { bsp: bsp.clone(), channel: channel.clone() }).or_default();
            *row.refused.entry(cause.clone()).or_default() += count;
        }
        strangers
    }
}

type Strangers = BTreeMap<(String, String), u64>;
