//! The plan of a simulation: load, rate, mix and seed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Load of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Webhooks per second over all channels.
    pub rate_per_s: f64,
    /// Number of webhooks; `None` for no limit.
    pub count: Option<u64>,
    /// Seed of the random choices.
    pub seed: u64,
    /// Tag in every message id of this run.
    pub run: RunTag,
    /// Divisor of the delays of retries: with 60, Infobip's minute lasts a second.
    pub speed: f64,
    /// Composition of the webhooks.
    pub mix: Mix,
    /// Retries in Twilio's callback URLs.
    pub twilio_retries: TwilioRetries,
}

impl Plan {
    /// A delay of the real BSP, divided for this run.
    pub(crate) fn scaled(&self, wait: Duration) -> Duration {
        wait.div_f64(self.speed.max(1.0))
    }
}

/// Composition of the webhooks. Shares are from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// Customers' messages. The rest are reports.
    pub inbound: f64,
    /// Events of the account and of customers, for BSPs that send them.
    pub notices: f64,
    /// Messages that fail.
    pub failed: f64,
    /// Messages that are deleted after they were read.
    pub deleted: f64,
    /// Statuses and types that no version of the gateway knows.
    pub unknown: f64,
    /// Items that cannot be parsed.
    pub broken: f64,
    /// Webhooks that are posted again although they were answered 200.
    pub repeated: f64,
    /// Reports that overtake the one before them.
    pub shuffled: f64,
    /// Most items of one body of Infobip.
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

/// Retries in Twilio's callback URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TwilioRetries {
    /// No fragment: one retry, only of a failed connection.
    Default,
    /// With `#rc=5&rp=all`, as docs/bsp-setup.md asks for.
    All,
}

/// Eight hexadecimal digits in every id of a run, which identify its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunTag(pub u32);

/// The text is not a tag of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid tag of a run (expected eight hexadecimal digits)")]
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
