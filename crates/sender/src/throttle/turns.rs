//! Whose command gets the next permit. Pure.
//!
//! Two kinds of commands want permits: **new** commands, for which the worker of the lane asks, one permit after the
//! other, and **waiting** commands, which were called without effect (or redelivered) and ask for themselves. Neither may
//! starve the other, so they take turns:
//!
//! ```text
//! account works:   permits of the rate    new · waiting · new · waiting …   the worker skips every second turn
//!                                         new · new · new …                 while no command waits
//! account fails:   probes                 new · waiting 1 · new · waiting 2 …
//!                                         waiting 1 · waiting 2 …           while there is no new command
//! ```
//!
//! Of the waiting commands, the one with the oldest last call probes next ([`Place`]). So a command that is refused for a
//! reason that concerns it alone cannot keep the lane paused while there is another one. A recipient has one command in
//! progress, so the waiting commands have different recipients.
//!
//! A turn at the rate is a hint: the worker leaves the permit, and the first waiting command that asks gets it
//! ([`WaitingPlace::jitter`](super::WaitingPlace::jitter) spreads them). A turn at a probe is exact: all others are
//! denied with [`Denied::Probing`](super::Denied::Probing).

use std::collections::BTreeSet;

use tokio::time::Instant;

/// Order of the waiting commands: those without a call come first, then the one with the oldest last call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// When this process made the last call for the command.
    pub(crate) last_call: Option<Instant>,
    /// Its sequence in the stream.
    pub(crate) sequence: u64,
}

/// Who requests a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requester {
    /// The worker of the lane, for a new command.
    NewCommand,
    /// A command that waits by itself.
    Waiting(Place),
}

/// The turns.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: BTreeSet<Place>,
    /// Whether the worker has a new command that did not get a permit.
    new_command_wants: bool,
    /// Whether the last probe was a new command.
    new_command_probed: bool,
    /// Whether the worker had the last turn at the rate.
    was_new_commands_turn: bool,
}

impl Turns {
    /// Adds a waiting command.
    pub(super) fn enter(&mut self, place: Place) {
        self.waiting.insert(place);
    }

    /// Removes a waiting command.
    pub(super) fn leave(&mut self, place: Place) {
        self.waiting.remove(&place);
    }

    /// Number of waiting commands.
    pub(super) fn waiting(&self) -> u32 {
        u32::try_from(self.waiting.len()).unwrap_or(u32::MAX)
    }

    /// Whether the worker may take the next permit of the rate. Every second one is for waiting commands.
    pub(super) fn is_new_commands_turn(&mut self) -> bool {
        self.was_new_commands_turn = self.waiting.is_empty() || !self.was_new_commands_turn;
        self.was_new_commands_turn
    }

    /// Records that the worker takes the next turn, because only probes are made, which have their own order.
    pub(super) fn skip_to_new_commands(&mut self) {
        self.was_new_commands_turn = true;
    }

    /// Records that this one wants to probe.
    pub(super) fn wants_probe(&mut self, who: Requester) {
        self.new_command_wants |= who == Requester::NewCommand;
    }

    /// Records that the worker has no new command that needs a permit now.
    pub(super) fn no_new_command(&mut self) {
        self.new_command_wants = false;
    }

    /// Whether the next probe is for this one.
    pub(super) fn is_next_probe(&self, who: Requester) -> bool {
        match who {
            Requester::NewCommand => self.waiting.is_empty() || !self.new_command_probed,
            Requester::Waiting(place) => {
                self.waiting.first() == Some(&place) && (self.new_command_probed || !self.new_command_wants)
            }
        }
    }

    /// Records that this one probes.
    pub(super) fn probed(&mut self, who: Requester) {
        self.new_command_probed = who == Requester::NewCommand;
    }
}
