//! What the admin ports of the services say of channels: refused webhooks by cause, the passwords that BSPs use, and results of
//! sends. Pure: texts of `/metrics` in, counts out.
//!
//! A counter starts at 0 with its process, and a process disappears with its counters. [`tallies`] makes counts of the last hour
//! of that. Asking the ports is left to [`crate::observe`], what an answer shows to [`crate::http`].

pub mod page;
mod samples;
pub mod tallies;
pub mod urls;

use std::net::SocketAddr;

use jiff::Timestamp;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    /// Webhooks that ingress refused; the label is the cause.
    Refused,
    /// Webhooks by the password that they had; the label is its number in the channels file, from 1.
    Credential,
    /// Results of commands; the label is the outcome, such as `accepted`.
    Result,
}

/// One counter of the processes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterKey {
    /// What is counted.
    pub counter: Counter,
    /// The channel's id; empty for a refused webhook whose URL names no known channel.
    pub channel: String,
    /// The BSP's name; empty for passwords and results.
    pub bsp: String,
    /// What the counter's kind says.
    pub label: String,
}

/// A counter of all processes together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Which one.
    pub key: CounterKey,
    /// How much it rose in the last hour, or since [`AdminView::counted_since`] if that is later.
    pub recent: u64,
    /// Its value: since the processes started that run now.
    pub total: u64,
    /// When it was last seen to rise; `None` if that was before [`AdminView::counted_since`].
    pub last_at: Option<Timestamp>,
}

/// An admin port, or a name without addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortView {
    /// The URL of the setting, such as `http://ingress:9090`.
    pub url: String,
    /// The address that was asked; `None` if the name has no address.
    pub address: Option<SocketAddr>,
    /// The program; empty if it was never read.
    pub program: String,
    /// Its version; empty if it was never read.
    pub version: String,
    /// When it was last read.
    pub read_at: Option<Timestamp>,
    /// Since when it cannot be read; `None` if it can.
    pub failed_since: Option<Timestamp>,
    /// Why it cannot be read; empty if it can.
    pub error: String,
}

/// What the admin ports say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdminView {
    /// Every port, in the order of the setting.
    pub ports: Vec<PortView>,
    /// Since when `recent` counts: at most an hour ago; `None` while no port was read.
    pub counted_since: Option<Timestamp>,
    /// Whether an ingress is among the ports that were read.
    pub has_ingress: bool,
    /// Whether a sender is.
    pub has_sender: bool,
    /// The counters, in their order.
    pub counts: Vec<Counted>,
}

impl AdminView {
    /// Whether some of what the services count is missing: no port is known, or one of them cannot be read.
    pub fn is_partial(&self) -> bool {
        let all_read = self.ports.iter().all(|port| port.failed_since.is_none() && port.read_at.is_some());
        self.ports.is_empty() || !all_read
    }

    /// The counters of one kind of a channel.
    pub fn of<'v>(&'v self, counter: Counter, channel: &'v str) -> impl Iterator<Item = &'v Counted> {
        let first =
            self.counts.partition_point(|of| (of.key.counter, of.key.channel.as_str()) < (counter, channel));
        self.counts[first..]
            .iter()
            .take_while(move |of| of.key.counter == counter && of.key.channel == channel)
    }
}
