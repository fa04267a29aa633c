//! The conditions of a measurement: how long the disk takes to sync, and how much else the machine does. They are measured
//! before and after each part. A part that was measured in bad conditions is refused.

use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::cpus::Cpus;
use crate::statistics::quantile;

/// Widest spread of a fixed loop's durations: 95th less 5th percentile, as a share of the median.
pub(crate) const LOOP_SPREAD_MAX: f64 = 0.25;
/// Most CPU time that other work may take while the benchmark does nothing, in percent.
pub(crate) const BUSY_MAX_PERCENT: f64 = 10.0;
/// Most CPU time that the hypervisor may give to others during a measurement, in percent.
pub(crate) const STEAL_MAX_PERCENT: f64 = 2.0;
/// Most that the median time of a sync may change, as a factor, for parts that depend on it.
pub(crate) const SYNC_DRIFT_MAX: f64 = 2.0;

/// Bytes of each write to the disk.
const BLOCK_BYTES: usize = 4096;
/// Writes to the disk, and the longest time for them all.
const SYNCS: usize = 500;
const SYNCS_TIME_MAX: Duration = Duration::from_secs(2);
/// Steps of the fixed loop, about a millisecond, and runs of it on each CPU.
const LOOP_STEPS: u64 = 500_000;
const LOOP_RUNS: usize = 150;
/// Time in which other work is counted. The kernel counts in hundredths of a second.
const BUSY_WINDOW: Duration = Duration::from_secs(1);

/// The conditions at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Conditions {
    /// Time of writing 4 KiB and `fdatasync`, median, in milliseconds.
    pub(crate) sync_median_ms: f64,
    /// The same, 99th percentile.
    pub(crate) sync_p99_ms: f64,
    /// Spread of a fixed loop's durations on the worst CPU, as a share of their median.
    pub(crate) loop_spread: f64,
    /// CPU time of other work while the benchmark did nothing, in percent.
    pub(crate) busy_percent: f64,
}

impl Conditions {
    /// Measures them; takes about four seconds. `folder` is on the disk that the servers use.
    pub(crate) async fn measure(folder: &Path, cpus: Cpus) -> anyhow::Result<Self> {
        // What the part before wrote is on the disk first. Otherwise its writing would count as other work.
        let _ = tokio::process::Command::new("sync").status().await;
        let before = CpuTimes::now();
        tokio::time::sleep(BUSY_WINDOW).await;
        let busy_percent = CpuTimes::now().since(before).busy_percent();
        let folder = folder.to_owned();
        let (syncs, loop_spread) =
            tokio::task::spawn_blocking(move || anyhow::Ok((syncs_ms(&folder)?, loop_spread(cpus))))
                .await??;
        let sync = |at| quantile(&syncs, at).context("no write to the disk was measured");
        Ok(Self {
            sync_median_ms: rounded(sync(0.5)?),
            sync_p99_ms: rounded(sync(0.99)?),
            loop_spread: rounded(loop_spread),
            busy_percent: rounded(busy_percent),
        })
    }

    /// Why these alone are too bad to measure in; `None` if they are good.
    pub(crate) fn objection(self) -> Option<String> {
        let percent = |share: f64| share * 100.0;
        if self.busy_percent > BUSY_MAX_PERCENT {
            let busy = self.busy_percent;
            return Some(format!("other work used {busy:.0} % of the CPUs (limit {BUSY_MAX_PERCENT} %)"));
        }
        (self.loop_spread > LOOP_SPREAD_MAX).then(|| {
            format!(
                "a fixed loop's durations differed by {:.0} % (limit {:.0} %)",
                percent(self.loop_spread),
                percent(LOOP_SPREAD_MAX)
            )
        })
    }
}

/// The conditions before, during and after a measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    pub(crate) before: Conditions,
    pub(crate) after: Conditions,
    pub(crate) steal_percent: f64,
    /// Whether the figures depend on the time of a sync.
    pub(crate) syncs: bool,
}

impl Course {
    /// Why the measurement does not count; `None` if it does.
    pub(crate) fn refusal(self) -> Option<String> {
        if let Some(objection) = self.before.objection() {
            return Some(format!("before it {objection}"));
        }
        if let Some(objection) = self.after.objection() {
            return Some(format!("after it {objection}"));
        }
        if self.steal_percent > STEAL_MAX_PERCENT {
            let steal = self.steal_percent;
            return Some(format!(
                "the hypervisor took {steal:.1} % of the CPUs (limit {STEAL_MAX_PERCENT} %)"
            ));
        }
        let (before, after) = (self.before.sync_median_ms, self.after.sync_median_ms);
        let drift = (after / before).max(before / after);
        (self.syncs && drift > SYNC_DRIFT_MAX).then(|| {
            format!("the disk's sync took {before} ms before it and {after} ms after it (limit: factor {SYNC_DRIFT_MAX})")
        })
    }
}

fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// Sorted durations of writes with `fdatasync`, in milliseconds.
fn syncs_ms(folder: &Path) -> anyhow::Result<Vec<f64>> {
    let path = folder.join("sync");
    let mut file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let block = [b'x'; BLOCK_BYTES];
    let began = Instant::now();
    let mut durations = Vec::new();
    while durations.len() < SYNCS && began.elapsed() < SYNCS_TIME_MAX {
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        durations.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    drop(file);
    std::fs::remove_file(&path)?;
    durations.sort_by(f64::total_cmp);
    Ok(durations)
}

/// Runs a fixed loop on each CPU at the same time. Returns the widest spread of its durations.
fn loop_spread(cpus: Cpus) -> f64 {
    let runs = cpus.each().map(|cpu| {
        std::thread::spawn(move || {
            let _pinned = cpu.pin_thread();
            let mut durations: Vec<f64> = (0..LOOP_RUNS).map(|_| loop_seconds()).collect();
            durations.sort_by(f64::total_cmp);
            relative_spread(&durations)
        })
    });
    let runs: Vec<_> = runs.collect();
    runs.into_iter().map(|run| run.join().unwrap_or(f64::INFINITY)).fold(0.0, f64::max)
}

fn loop_seconds() -> f64 {
    let start = Instant::now();
    let mut state = black_box(1_u64);
    for _ in 0..LOOP_STEPS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state);
    start.elapsed().as_secs_f64()
}

/// 95th less 5th percentile of sorted durations, as a share of the median.
fn relative_spread(sorted: &[f64]) -> f64 {
    let at = |at| quantile(sorted, at).unwrap_or_default();
    (at(0.95) - at(0.05)) / at(0.5)
}

/// CPU time since the system started, in the kernel's ticks, over all CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CpuTimes {
    all: u64,
    idle: u64,
    stolen: u64,
}

impl CpuTimes {
    /// The times now; zeros on a system without `/proc/stat`.
    pub(crate) fn now() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    /// The first line of `/proc/stat`: user nice system idle iowait irq softirq steal, proc_stat(5). `guest` is part of
    /// `user`.
    fn parse(text: &str) -> Self {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
        let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|word| word.parse().ok()).collect();
        let at = |place: usize| ticks.get(place).copied().unwrap_or_default();
        Self { all: ticks.iter().sum(), idle: at(3) + at(4), stolen: at(7) }
    }

    /// The times between an earlier moment and this one.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            all: self.all.saturating_sub(earlier.all),
            idle: self.idle.saturating_sub(earlier.idle),
            stolen: self.stolen.saturating_sub(earlier.stolen),
        }
    }

    /// Time in which the hypervisor ran others, in percent.
    pub(crate) fn steal_percent(self) -> f64 {
        rounded(self.percent(self.stolen))
    }

    fn busy_percent(self) -> f64 {
        self.percent(self.all.saturating_sub(self.idle))
    }

    fn percent(self, ticks: u64) -> f64 {
        if self.all == 0 { 0.0 } else { ticks as f64 / self.all as f64 * 100.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Conditions =
        Conditions { sync_median_ms: 0.5, sync_p99_ms: 1.0, loop_spread: 0.02, busy_percent: 1.0 };

    fn course(after: Conditions) -> Course {
        Course { before: GOOD, after, steal_percent: 0.0, syncs: true }
    }

    #[test]
    fn good_conditions_are_accepted() {
        assert_eq!(course(GOOD).refusal(), None);
    }

    #[test]
    fn each_bad_condition_is_named_with_its_limit() {
        let busy = course(Conditions { busy_percent: 40.0, ..GOOD }).refusal();
        assert_eq!(busy.as_deref(), Some("after it other work used 40 % of the CPUs (limit 10 %)"));
        let noisy = Course { before: Conditions { loop_spread: 0.6, ..GOOD }, ..course(GOOD) }.refusal();
        assert_eq!(
            noisy.as_deref(),
            Some("before it a fixed loop's durations differed by 60 % (limit 25 %)")
        );
        let stolen = Course { steal_percent: 3.0, ..course(GOOD) }.refusal();
        assert_eq!(stolen.as_deref(), Some("the hypervisor took 3.0 % of the CPUs (limit 2 %)"));
    }

    #[test]
    fn a_disk_that_changed_refuses_only_what_depends_on_it() {
        for sync_median_ms in [0.2, 1.1] {
            let changed = course(Conditions { sync_median_ms, ..GOOD });
            assert!(changed.refusal().is_some_and(|reason| reason.contains("sync took 0.5 ms")));
            assert_eq!(Course { syncs: false, ..changed }.refusal(), None);
        }
    }

    #[test]
    fn times_are_read_from_the_first_line() {
        let before = CpuTimes::parse("cpu  10 0 10 70 10 0 0 0 5 0\ncpu0 1 1 1 1\n");
        let after = CpuTimes::parse("cpu  30 0 20 130 10 0 0 10 9 0\ncpu0 1 1 1 1\n");
        let between = after.since(before);
        assert_eq!(between, CpuTimes { all: 100, idle: 60, stolen: 10 });
        assert_eq!((between.busy_percent(), between.steal_percent()), (40.0, 10.0));
        assert_eq!(CpuTimes::parse("").since(before).steal_percent(), 0.0);
    }

    #[test]
    fn a_preempted_loop_widens_the_spread() {
        let even = vec![1.0; 100];
        assert_eq!(relative_spread(&even), 0.0);
        let preempted = [vec![1.0; 90], vec![4.0; 10]].concat();
        assert_eq!(relative_spread(&preempted), 3.0);
    }

    #[tokio::test]
    async fn conditions_of_this_machine_can_be_measured() {
        let folder = tempfile::tempdir().expect("a folder");
        let conditions = Conditions::measure(folder.path(), Cpus::available()).await.expect("measured");
        assert!(conditions.sync_median_ms <= conditions.sync_p99_ms, "{conditions:?}");
        assert!((0.0..=100.0).contains(&conditions.busy_percent), "{conditions:?}");
        assert!(conditions.loop_spread.is_finite(), "{conditions:?}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
    }
}
