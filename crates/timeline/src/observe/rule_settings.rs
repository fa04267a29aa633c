//! The times of the rules: `report_after` of the channels, and how long each lane usually takes, learned from the rows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::registry::Snapshots;
use channel::Channels;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::row::{IdKind, LookupKey, Row, RowKind, StreamNumber};
use crate::rules::{Expectation, LaneTimes, RuleSettings, RuleTimes};
use crate::store::{End, SequenceQuery, Store, StoreError};

/// Interval of taking over what was learned of the lanes.
const INTERVAL: Duration = Duration::from_secs(5);

/// Rows of EVENTS that are read at the start to learn how long each lane usually takes.
const REREAD_ROWS: usize = 5_000;
/// How old they may be.
const REREAD_AGE: SignedDuration = SignedDuration::from_hours(24);
/// Commands that are looked up at a time.
const REREAD_COMMANDS: usize = 250;
/// Most rows of a look-up of commands.
const REREAD_COMMAND_ROWS: usize = 2_000;

/// What was learned of the lanes. The reader of events adds to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Lanes(Arc<Mutex<LaneTimes>>);

impl Lanes {
    /// What the last results in a store say. Without it, every command of a slow lane would be late after a restart.
    pub(super) async fn learned(store: &dyn Store) -> Self {
        let times = reread(store, Timestamp::now()).await.unwrap_or_else(|error| {
            let text = service::words::causes(&error.into());
            tracing::warn!(
                function = "timeline",
                "cannot read how long the lanes usually take: {text}; it is learned again from new results"
            );
            LaneTimes::default()
        });
        Self(Arc::new(Mutex::new(times)))
    }

    /// Takes results into account that met what was expected after their commands.
    pub(super) fn observe<'r>(&self, met: &[Expectation], rows: impl Iterator<Item = &'r Row>) {
        if !met.iter().any(|met| met.rule.is_about_result()) {
            return;
        }
        let results = rows.filter(|row| row.kind == RowKind::Result);
        let by_command: HashMap<_, _> = results
            .filter_map(|row| Some(((row.key(IdKind::Command)?, row.channel.as_str()), row)))
            .collect();
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for met in met {
            if let Some(result) = by_command.get(&(met.key, met.channel.as_str())) {
                times.observe(met, result);
            }
        }
    }

    /// Takes results into account that another process has stored: at most [`REREAD_COMMANDS`] of them.
    pub(super) async fn observe_stored(&self, store: &dyn Store, rows: &[Row]) -> Result<(), StoreError> {
        let results: Vec<&Row> = rows.iter().filter(|row| is_result(row)).take(REREAD_COMMANDS).collect();
        if results.is_empty() {
            return Ok(());
        }
        let commands = Commands::of(store, &results).await?;
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        commands.observe(&results, &mut times);
        Ok(())
    }

    fn settings(&self, times: RuleTimes, channels: &Channels) -> RuleSettings {
        let result_after = self.0.lock().unwrap_or_else(PoisonError::into_inner).result_after();
        let report_after = channels.iter().filter_map(|channel| {
            let seconds = channel.report_after_s?;
            Some((channel.id.to_string(), Duration::from_secs(seconds.into())))
        });
        RuleSettings { times, report_after: report_after.collect(), result_after }
    }
}

/// How long the commands of the last results waited.
async fn reread(store: &dyn Store, now: Timestamp) -> Result<LaneTimes, StoreError> {
    let since = now.checked_sub(REREAD_AGE).unwrap_or(Timestamp::MIN);
    let stream = StreamNumber::Events;
    let newest = SequenceQuery { stream, after: 0, since, from: End::Newest, limit: REREAD_ROWS };
    let mut results = store.by_sequence(newest).await?;
    results.retain(is_result);
    // In the order in which they came: the last one counts most.
    results.reverse();
    let mut times = LaneTimes::default();
    let results: Vec<&Row> = results.iter().collect();
    for results in results.chunks(REREAD_COMMANDS) {
        Commands::of(store, results).await?.observe(results, &mut times);
    }
    Ok(times)
}

fn is_result(row: &Row) -> bool {
    row.kind == RowKind::Result && !row.is_replayed
}

/// The commands of some results, by key and channel.
struct Commands(HashMap<(LookupKey, String), Row>);

impl Commands {
    async fn of(store: &dyn Store, results: &[&Row]) -> Result<Self, StoreError> {
        let keys = results.iter().filter_map(|row| row.key(IdKind::Command)).collect();
        let found = store.find_brief(keys, REREAD_COMMAND_ROWS).await?;
        let commands = found.rows.into_iter().filter(|row| row.kind == RowKind::Command);
        let by_key = commands.filter_map(|row| Some(((row.key(IdKind::Command)?, row.channel.clone()), row)));
        Ok(Self(by_key.collect()))
    }

    fn observe(&self, results: &[&Row], times: &mut LaneTimes) {
        for result in results {
            let Some(key) = result.key(IdKind::Command) else { continue };
            if let Some(command) = self.0.get(&(key, result.channel.clone())) {
                times.observe_pair(command, result);
            }
        }
    }
}

/// Follows the times until the stop: when the channels change, and at intervals.
pub(super) fn follow(
    times: RuleTimes,
    lanes: Lanes,
    mut channels: Snapshots,
    stop: CancellationToken,
) -> watch::Receiver<Arc<RuleSettings>> {
    let (sender, receiver) = watch::channel(Arc::new(RuleSettings { times, ..RuleSettings::default() }));
    tokio::spawn(async move {
        loop {
            let current = channels.borrow_and_update().clone().unwrap_or_default();
            sender.send_replace(Arc::new(lanes.settings(times, &current)));
            tokio::select! {
                () = stop.cancelled() => return,
                changed = channels.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    });
    receiver
}
