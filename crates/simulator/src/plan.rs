//! What a simulation is told: how much, how fast, in which mixture, and from which seed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How much and how fast.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Webhooks a second over all channels.
    pub rate_per_s: f64,
    /// Ends after so many; endless without.
    pub count: Option<u64>,
    /// The same seed makes the same choices.
    pub seed: u64,
    /// Stands in every message id of this run.
    pub run: RunTag,
    /// Divides the waits before repeats: with 60, Infobip's minute lasts a second.
    pub speed: f64,
    /// What is among the webhooks.
    pub mix: Mix,
    /// How Twilio's callback URLs are written.
    pub twilio_retries: TwilioRetries,
}

impl Plan {
    /// A wait of the real BSP, as long as it is in this run.
    pub(crate) fn scaled(&self, wait: Duration) -> Duration {
        wait.div_f64(self.speed.max(1.0))
    }
}

/// Shares between 0 and 1.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// Customers' messages among all that happens; the rest are reports.
    pub inbound: f64,
    /// Events about the account and customers, of BSPs that tell them here.
    pub notices: f64,
    /// Messages that fail.
    pub failed: f64,
    /// Messages that are deleted after they were read.
    pub deleted: f64,
    /// Statuses and types that no version of the gateway knows.
    pub unknown: f64,
    /// Items that cannot be understood.
    pub broken: f64,
    /// Webhooks that come once more although they were answered 200.
    pub repeated: f64,
    /// Reports that overtake the one before them.
    pub shuffled: f64,
    /// Items in one of Infobip's bodies at most.
    pub batch_max: usize,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            inbound: 0.2,
            notices: 0.02,
            failed: 0.06,
            deleted: 0.01,
            unknown: 0.01,
            broken: 0.005,
            repeated: 0.02,
            shuffled: 0.1,
            batch_max: 5,
        }
    }
}

/// How Twilio's callback URLs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TwilioRetries {
    /// Without a fragment: one repeat, and only of a connection that failed.
    Default,
    /// With `#rc=5&rp=all`, as README.md asks for.
    All,
}

/// Eight hexadecimal digits that stand in every id of a run, so that its events are told from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunTag(pub u32);

/// A text that is no run's tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the tag of a run has eight hexadecimal digits")]
pub struct InvalidRunTag;

impl FromStr for RunTag {
    type Err = InvalidRunTag;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 8 {
            return Err(InvalidRunTag);
        }
        u32::from_str_radix(text, 16).map(Self).map_err(|_| InvalidRunTag)
    }
}

impl fmt::Display for RunTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}
