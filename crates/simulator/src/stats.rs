//! Counts of the calls, by channel.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::bsp_client::Failure;

/// Longest time that the histogram records, in microseconds: one minute.
const LONGEST_US: u64 = 60_000_000;

/// Why a webhook was not posted: memory is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dropped {
    /// Too many are being posted or wait for a retry.
    InProgress,
    /// Too many expected events have not arrived.
    NotOut,
}

impl Dropped {
    /// A short name for programs and people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in progress",
            Self::NotOut => "not out",
        }
    }
}

/// Counts of one channel.
#[derive(Debug, Clone)]
pub struct Counts {
    /// Webhooks that were posted, without their retries.
    pub posted: u64,
    /// Answered 200.
    pub taken: u64,
    /// First calls that were answered with a challenge, as expected.
    pub challenged: u64,
    /// Calls that were not answered 200, by kind of response or error.
    pub refused: BTreeMap<String, u64>,
    /// Retries.
    pub repeated: u64,
    /// Webhooks that the BSP has given up.
    pub lost: u64,
    /// Webhooks that were never posted because memory is limited, by reason.
    pub dropped: BTreeMap<Dropped, u64>,
    /// Response time of calls that were answered 200, in microseconds.
    pub latency_us: Histogram<u64>,
}

impl Default for Counts {
    fn default() -> Self {
        let latency_us = Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are in order");
        Self {
            posted: 0,
            taken: 0,
            challenged: 0,
            refused: BTreeMap::new(),
            repeated: 0,
            lost: 0,
            dropped: BTreeMap::new(),
            latency_us,
        }
    }
}

impl Counts {
    /// A quantile of the response time.
    pub fn latency(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.latency_us.value_at_quantile(quantile))
    }

    /// All webhooks that were never posted.
    pub fn dropped(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Adds another channel's counts.
    pub fn add(&mut self, other: &Self) {
        self.posted += other.posted;
        self.taken += other.taken;
        self.challenged += other.challenged;
        self.repeated += other.repeated;
        self.lost += other.lost;
        for (what, count) in &other.refused {
            *self.refused.entry(what.clone()).or_default() += count;
        }
        for (why, count) in &other.dropped {
            *self.dropped.entry(*why).or_default() += count;
        }
        let _ = self.latency_us.add(&other.latency_us);
    }
}

/// Counts of all channels, in the order of the targets.
#[derive(Debug)]
pub struct Stats(Vec<Mutex<Counts>>);

impl Stats {
    pub(crate) fn new(targets: usize) -> Self {
        Self((0..targets).map(|_| Mutex::default()).collect())
    }

    /// Returns the current counts.
    pub fn counts(&self) -> Vec<Counts> {
        (0..self.0.len()).map(|place| self.of(place, |counts| counts.clone())).collect()
    }

    fn of<T>(&self, place: usize, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.0[place].lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn posted(&self, place: usize) {
        self.of(place, |counts| counts.posted += 1);
    }

    pub(crate) fn taken(&self, place: usize, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US);
        self.of(place, |counts| {
            counts.taken += 1;
            counts.latency_us.saturating_record(micros);
        });
    }

    pub(crate) fn challenged(&self, place: usize) {
        self.of(place, |counts| counts.challenged += 1);
    }

    pub(crate) fn refused(&self, place: usize, failure: Failure) {
        let what = match failure {
            Failure::Status(status) => status.to_string(),
            Failure::NotConnected => "not connected".to_owned(),
            Failure::TimedOut => "timed out".to_owned(),
            Failure::Broken => "broken off".to_owned(),
        };
        self.of(place, |counts| *counts.refused.entry(what).or_default() += 1);
    }

    pub(crate) fn repeated(&self, place: usize) {
        self.of(place, |counts| counts.repeated += 1);
    }

    pub(crate) fn dropped(&self, place: usize, why: Dropped) {
        self.of(place, |counts| *counts.dropped.entry(why).or_default() += 1);
    }

    pub(crate) fn lost(&self, place: usize) {
        self.of(place, |counts| counts.lost += 1);
    }
}
