//! Reads the streams beside the path of messages, and stores a row for each message. It has no durable consumer and acknowledges
//! nothing: where it goes on is the position in the store, which is written in the same transaction as the rows.
//!
//! What a message says is left to [`crate::extract`], what must follow to [`crate::rules`], where rows are kept to [`crate::store`].

mod admin;
mod ask;
mod batch;
mod begin;
mod floors;
mod keep;
mod lane_states;
mod lanes;
mod lease;
mod reader;
mod rule_settings;
pub(crate) mod thread;

use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use bus::lease::Leases;
use bus::registry::Snapshots;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::admin::urls::AdminUrls;
use crate::extract::Bodies;
use crate::health::Health;
use crate::health::recent::RecentReader;
use crate::metrics::TimelineMetrics;
use crate::observe::rule_settings::Lanes;
use crate::observe::thread::ReadingThread;
use crate::observed::Observed;
use crate::progress::Progress;
use crate::row::{Keys, Row, StreamNumber};
use crate::rules::RuleTimes;
use crate::store::Store;

/// Rows that a slow reader of new rows may be behind before it loses the oldest.
const LIVE_ROWS: usize = 1024;

/// What observing needs.
#[derive(Debug, Clone)]
pub(crate) struct Observer {
    pub(crate) bus: Bus,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Keys,
    pub(crate) bodies: Bodies,
    pub(crate) channels: Snapshots,
    pub(crate) retention: Duration,
    pub(crate) times: RuleTimes,
    pub(crate) admin_urls: AdminUrls,
    pub(crate) metrics: Arc<TimelineMetrics>,
    pub(crate) stop: CancellationToken,
}

/// What the readers of all streams share.
#[derive(Debug, Clone)]
struct Shared {
    progress: Arc<watch::Sender<Progress>>,
    live: broadcast::Sender<Arc<Row>>,
    /// What the readers learn of the lanes.
    lanes: Lanes,
}

/// Where the streams are read.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) thread: ReadingThread,
    /// The connection over which they are.
    pub(crate) bus: Bus,
}

/// Starts to read every stream. The tasks end with the observer's stop.
pub(crate) async fn start(observer: &Observer, reading: &Reading) -> Observed {
    let (progress, progress_seen) = watch::channel(Progress::default());
    let (live, _) = broadcast::channel(LIVE_ROWS);
    let lanes = Lanes::learned(&*observer.store).await;
    let rules = rule_settings::follow(
        observer.times,
        lanes.clone(),
        observer.channels.clone(),
        observer.stop.clone(),
    );
    let shared = Shared { progress: Arc::new(progress), live: live.clone(), lanes };
    let of_readers = Observer { bus: reading.bus.clone(), ..observer.clone() };
    for stream in StreamNumber::ALL {
        reading.thread.spawn(reader::run(stream, of_readers.clone(), shared.clone()));
    }
    let floors = floors::follow(floors::Follower {
        bus: observer.bus.clone(),
        store: Arc::clone(&observer.store),
        progress: progress_seen.clone(),
        stop: observer.stop.clone(),
    });
    let leases = Leases::watch(&observer.bus, observer.stop.clone());
    let halted_lanes = lanes::follow(leases.clone(), observer.stop.clone());
    let health = Health {
        channels: observer.channels.clone(),
        lanes: lane_states::follow(leases, observer.stop.clone()),
        admin: admin::follow(observer.admin_urls.clone(), observer.stop.clone()),
        recent: RecentReader::of(observer.bus.clone()),
    };
    let observed = Observed { progress: progress_seen, floors, halted_lanes, rules, live, health };
    tokio::spawn(keep::run(observer.clone(), observed.clone()));
    observed
}
