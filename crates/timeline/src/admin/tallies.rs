//! Counts of the last hour, made of counters that start at 0 with each process. Pure: `now` is an argument.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use jiff::{SignedDuration, Timestamp};

use crate::admin::page::Page;
use crate::admin::{Counted, CounterKey};

/// The time that `recent` counts.
pub const WINDOW: SignedDuration = SignedDuration::from_hours(1);
/// Seconds that are counted together. With [`WINDOW`] this bounds the memory of a counter.
const STEP_S: i64 = 60;

/// What a process said last.
#[derive(Debug)]
struct Process {
    started_at: Option<Timestamp>,
    values: HashMap<CounterKey, u64>,
    /// Since when its counters were followed without a break.
    counted_from: Timestamp,
}

/// How a counter rose.
#[derive(Debug, Default)]
struct Rises {
    /// By step of [`STEP_S`], the oldest first.
    steps: VecDeque<Step>,
    last_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Step {
    number: i64,
    rose: u64,
}

/// The counters of all processes.
#[derive(Debug)]
pub struct Tallies {
    /// Processes that started later are followed from their start.
    watching_since: Timestamp,
    processes: HashMap<SocketAddr, Process>,
    rises: HashMap<CounterKey, Rises>,
}

impl Tallies {
    /// Nothing is known yet.
    pub fn new(now: Timestamp) -> Self {
        Self { watching_since: now, processes: HashMap::new(), rises: HashMap::new() }
    }

    /// Takes what the process at an address says.
    ///
    /// The first time, its counters may have risen at any time since its start, so they count from now on only. If it started later
    /// than this began, or in place of another process, all that it has counted is new.
    pub fn take(&mut self, address: SocketAddr, page: Page, now: Timestamp) {
        let before = self.processes.remove(&address);
        let is_new_here = before.is_none() && page.started_at.is_none_or(|at| at < self.watching_since);
        let is_same = before.as_ref().is_some_and(|before| before.started_at == page.started_at);
        let counted_from = match &before {
            Some(before) => before.counted_from,
            None if is_new_here => now,
            None => self.watching_since,
        };
        let last = before.filter(|_| is_same).map(|before| before.values).unwrap_or_default();
        let mut values = HashMap::with_capacity(page.counts.len());
        for (key, value) in page.counts {
            let known = last.get(&key).copied().unwrap_or_default();
            // A counter falls only if its process was restarted. One of our counts is a difference, and may fall for a moment.
            let is_restarted = value < known && page.started_at.is_none();
            let rose = match (is_new_here, is_restarted) {
                (true, _) => 0,
                (false, true) => value,
                (false, false) => value.saturating_sub(known),
            };
            if rose > 0 {
                self.rises.entry(key.clone()).or_default().add(rose, now);
            }
            values.insert(key, if is_restarted { value } else { value.max(known) });
        }
        self.processes.insert(address, Process { started_at: page.started_at, values, counted_from });
    }

    /// Drops the processes at other addresses: their name no longer leads to them.
    pub fn keep(&mut self, is_kept: impl Fn(&SocketAddr) -> bool) {
        self.processes.retain(|address, _| is_kept(address));
    }

    /// Since when counters were followed without a break: at most an hour ago; `None` while there is no process.
    pub fn counted_since(&self, now: Timestamp) -> Option<Timestamp> {
        let from = self.processes.values().map(|process| process.counted_from).max()?;
        Some(from.max(window_start(now)))
    }

    /// Every counter, in the order of keys. What is older than the window is dropped.
    pub fn counted(&mut self, now: Timestamp) -> Vec<Counted> {
        let mut totals: HashMap<&CounterKey, u64> = HashMap::new();
        for (key, value) in self.processes.values().flat_map(|process| &process.values) {
            *totals.entry(key).or_default() += value;
        }
        let oldest = window_start(now).as_second().div_euclid(STEP_S);
        self.rises.retain(|key, rises| {
            rises.steps.retain(|step| step.number > oldest);
            !rises.steps.is_empty() || totals.contains_key(key)
        });
        let past = self.rises.keys().filter(|key| !totals.contains_key(*key));
        let keys: Vec<&CounterKey> = totals.keys().copied().chain(past).collect();
        let counted = keys.into_iter().map(|key| {
            let rises = self.rises.get(key);
            Counted {
                key: key.clone(),
                recent: rises.map_or(0, |rises| rises.steps.iter().map(|step| step.rose).sum()),
                total: totals.get(key).copied().unwrap_or_default(),
                last_at: rises.and_then(|rises| rises.last_at),
            }
        });
        let mut counted: Vec<_> = counted.collect();
        counted.sort_by(|one, other| one.key.cmp(&other.key));
        counted
    }
}

impl Rises {
    fn add(&mut self, rose: u64, now: Timestamp) {
        let number = now.as_second().div_euclid(STEP_S);
        self.last_at = Some(now);
        match self.steps.back_mut() {
            Some(step) if step.number == number => step.rose += rose,
            _ => self.steps.push_back(Step { number, rose }),
        }
    }
}

fn window_start(now: Timestamp) -> Timestamp {
    now.checked_sub(WINDOW).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Counter;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_796_000_000 + seconds).unwrap()
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn key() -> CounterKey {
        CounterKey {
            counter: Counter::Refused,
            channel: "sales".to_owned(),
            bsp: "infobip".to_owned(),
            label: "wrong_credential".to_owned(),
        }
    }

    /// A page of a process that started at a time and counted this.
    fn page(started: i64, value: u64) -> Page {
        Page { started_at: Some(at(started)), counts: [(key(), value)].into(), ..Page::default() }
    }

    /// Rises in the window and the sum of the values.
    fn counted(tallies: &mut Tallies, now: i64) -> (u64, u64) {
        let all = tallies.counted(at(now));
        all.first().map_or((0, 0), |of| (of.recent, of.total))
    }

    #[test]
    fn only_what_was_seen_to_rise_is_recent() {
        let mut tallies = Tallies::new(at(0));
        assert_eq!(tallies.counted_since(at(1)), None);
        tallies.take(address(1), page(-5000, 40), at(10));
        assert_eq!(counted(&mut tallies, 10), (0, 40));
        assert_eq!(tallies.counted_since(at(20)), Some(at(10)));
        tallies.take(address(1), page(-5000, 43), at(20));
        assert_eq!(counted(&mut tallies, 20), (3, 43));
        assert_eq!(tallies.counted(at(20))[0].last_at, Some(at(20)));
        // An hour later it is over, and the time of the last one stays.
        assert_eq!(counted(&mut tallies, 20 + 3700), (0, 43));
        assert_eq!(tallies.counted(at(3720))[0].last_at, Some(at(20)));
        assert_eq!(tallies.counted_since(at(3720)), Some(at(120)));
    }

    #[test]
    fn a_process_that_was_restarted_counts_from_zero() {
        let mut tallies = Tallies::new(at(0));
        tallies.take(address(1), page(-5000, 40), at(10));
        // More than before, so that only its start says that it is another one.
        tallies.take(address(1), page(15, 41), at(20));
        assert_eq!(counted(&mut tallies, 20), (41, 41));
        tallies.take(address(1), page(15, 42), at(30));
        assert_eq!(counted(&mut tallies, 30), (42, 42));
        assert_eq!(tallies.counted_since(at(30)), Some(at(10)));
    }

    #[test]
    fn a_new_replica_counts_whole_and_one_that_is_gone_leaves_its_rises() {
        let mut tallies = Tallies::new(at(0));
        tallies.take(address(1), page(-10, 7), at(10));
        tallies.take(address(2), page(5, 4), at(20));
        assert_eq!(counted(&mut tallies, 20), (4, 11));
        assert_eq!(tallies.counted_since(at(20)), Some(at(10)));
        tallies.keep(|of| *of == address(1));
        assert_eq!(counted(&mut tallies, 30), (4, 7));
        tallies.keep(|_| false);
        assert_eq!(counted(&mut tallies, 30), (4, 0));
        assert!(tallies.counted(at(4000)).is_empty());
    }

    #[test]
    fn a_process_without_a_start_is_restarted_when_a_counter_falls() {
        let mut tallies = Tallies::new(at(0));
        let page = |value| Page { started_at: None, ..page(0, value) };
        tallies.take(address(1), page(40), at(10));
        tallies.take(address(1), page(42), at(20));
        tallies.take(address(1), page(5), at(30));
        assert_eq!(counted(&mut tallies, 30), (7, 5));
    }

    #[test]
    fn a_difference_that_falls_for_a_moment_counts_nothing_twice() {
        let mut tallies = Tallies::new(at(0));
        for (seconds, value) in [(10, 40), (20, 41), (30, 40), (40, 42)] {
            tallies.take(address(1), page(-1, value), at(seconds));
        }
        assert_eq!(counted(&mut tallies, 40), (2, 42));
    }

    #[test]
    fn memory_does_not_grow_with_time() {
        let mut tallies = Tallies::new(at(0));
        for minute in 0..500 {
            tallies.take(address(1), page(-1, minute), at(i64::try_from(minute).unwrap() * 60));
            tallies.counted(at(i64::try_from(minute).unwrap() * 60));
        }
        assert!(tallies.rises[&key()].steps.len() <= 61, "{}", tallies.rises[&key()].steps.len());
        assert_eq!(counted(&mut tallies, 499 * 60).0, 60);
    }
}
