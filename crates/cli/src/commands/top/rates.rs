//! Rates as averages over the last seconds: single looks jump, an average can be read.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::model::{Name, Rates, Row, WINDOW};

/// Shortest time between two samples that are kept.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(900);
/// Shortest time that a rate is taken over: what came in the first moments is not a rate.
const ELAPSED_MIN: Duration = Duration::from_secs(1);

/// Counts of a channel at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    webhooks: u64,
    events: u64,
    commands: u64,
    results: u64,
}

impl Counts {
    fn of(row: &Row) -> Self {
        Self {
            webhooks: row.webhooks,
            events: row.events,
            commands: row.commands,
            results: row.results.all(),
        }
    }

    fn rates_since(self, before: Self, elapsed: Duration) -> Rates {
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / elapsed.as_secs_f64();
        Rates {
            webhooks: rate(self.webhooks, before.webhooks),
            events: rate(self.events, before.events),
            commands: rate(self.commands, before.commands),
            results: rate(self.results, before.results),
        }
    }
}

#[derive(Debug)]
struct Sample {
    at: Instant,
    counts: BTreeMap<Name, Counts>,
}

/// The counts of the last [`WINDOW`], the oldest first.
#[derive(Debug)]
pub(super) struct Averages {
    samples: VecDeque<Sample>,
}

impl Averages {
    /// Everything is zero at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self { samples: [Sample { at: now, counts: BTreeMap::new() }].into() }
    }

    /// Sets the rates of all rows; gives those of all together.
    pub(super) fn update(&mut self, rows: &mut BTreeMap<Name, Row>, now: Instant) -> Rates {
        // The oldest sample is the newest of those that are at least as old as the window.
        while self.samples.get(1).is_some_and(|sample| now.duration_since(sample.at) >= WINDOW) {
            self.samples.pop_front();
        }
        let mut all = Rates::default();
        if let Some(before) = self.samples.front() {
            let elapsed = now.duration_since(before.at).max(ELAPSED_MIN);
            for (name, row) in rows.iter_mut() {
                let base = before.counts.get(name).copied().unwrap_or_default();
                row.rates = Counts::of(row).rates_since(base, elapsed);
                all.webhooks += row.rates.webhooks;
                all.events += row.rates.events;
                all.commands += row.rates.commands;
                all.results += row.rates.results;
            }
        }
        if self.samples.back().is_none_or(|sample| now.duration_since(sample.at) >= SAMPLE_INTERVAL) {
            let counts = rows.iter().map(|(name, row)| (name.clone(), Counts::of(row))).collect();
            self.samples.push_back(Sample { at: now, counts });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::top::model::Results;

    fn rows(count: u64) -> BTreeMap<Name, Row> {
        let results = Results { accepted: count, ..Results::default() };
        let row = Row { webhooks: 10 * count, events: count, commands: 2 * count, results, ..Row::default() };
        [(Name { bsp: "infobip".to_owned(), channel: "c-1".to_owned() }, row)].into()
    }

    #[test]
    fn a_burst_is_spread_over_the_window_and_then_forgotten() {
        let start = Instant::now();
        let mut averages = Averages::new(start);
        let mut at = |second: u64, count: u64| {
            let mut rows = rows(count);
            let all = averages.update(&mut rows, start + Duration::from_secs(second));
            let row = rows.into_values().next().unwrap();
            assert_eq!(row.rates, all, "the only row is all of them");
            row.rates
        };
        // 50 in the fifth second, and nothing before or after it.
        for second in 1..5 {
            assert_eq!(at(second, 0).webhooks, 0.0);
        }
        let rates = at(5, 50);
        assert_eq!((rates.webhooks, rates.events, rates.commands, rates.results), (100.0, 10.0, 20.0, 10.0));
        for second in 6..10 {
            at(second, 50);
        }
        assert_eq!(at(10, 50).events, 5.0, "over 10 s");
        assert_eq!(at(14, 50).events, 5.0, "the burst is within the window");
        for second in 15..20 {
            at(second, 50);
        }
        assert_eq!(at(20, 50).events, 0.0, "it is older than the window");
    }

    #[test]
    fn quick_looks_keep_few_samples() {
        let start = Instant::now();
        let mut averages = Averages::new(start);
        for tick in 1..=300 {
            averages.update(&mut rows(tick), start + Duration::from_millis(100 * tick));
        }
        assert!(averages.samples.len() <= 13, "{}", averages.samples.len());
        let mut last = rows(301);
        let rates = averages.update(&mut last, start + Duration::from_millis(30_100));
        assert!((rates.events - 10.0).abs() < 0.5, "{rates:?}");
    }
}
