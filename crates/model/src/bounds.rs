//! What a run explores: how many commands, which rules of the channel, and how many faults of each kind.

use crate::mutant::Mutant;
use crate::property::Property;
use crate::time;

/// Bounds of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// A second command with the id of the first one, if there is one.
    pub second: Option<Second>,
    /// Whether the channel has `resend_unknown_after`.
    pub may_resend: bool,
    /// What the BSP's message log shows.
    pub message_log: MessageLog,
    /// Whether the BSP rejects an id that it has accepted before. If not, it sends such a message twice.
    pub rejects_used_ids: bool,
    /// Whether a day may pass while a replica does nothing, in which the ledger drops its entries and the stream its commands.
    pub may_sleep_a_day: bool,
    /// Whether the customer of the commands may be erased.
    pub may_erase: bool,
    /// Time until the deadline of the commands, in steps of 2 s.
    pub deadline: u8,
    /// Most faults of each kind.
    pub faults: Faults,
    /// The mistake in the protocol, if there is one.
    pub mutant: Option<Mutant>,
    /// The only property that is checked; `None` for all.
    pub only: Option<Property>,
}

/// The second command: both have the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Second {
    /// The same command was published twice.
    Same,
    /// It has another content.
    Other,
}

/// How long the BSP's message log may lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum MessageLog {
    /// It shows a message before one that may be sent again is sent again.
    Prompt,
    /// It may show a message at any time, or never.
    Late,
}

/// Most faults of each kind in one trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Acknowledgements of ledger writes, and of commands, that do not arrive; also writes that the server applies late or never.
    pub lost_acks: u8,
    /// Responses of the BSP that do not arrive, and calls that do not arrive there.
    pub lost_answers: u8,
    /// Calls that certainly have no effect, and rejections.
    pub refusals: u8,
    /// Queries of the message log that fail.
    pub failed_queries: u8,
    /// Deliveries of a command while another replica still works on it.
    pub redeliveries: u8,
    /// Processes that are killed.
    pub crashes: u8,
    /// Machines that are suspended: their monotonic clock stops.
    pub suspensions: u8,
    /// Leases that the server loses: the former owner and the new one both own the lane.
    pub lost_leases: u8,
}

impl Faults {
    /// No faults.
    pub const NONE: Self = Self {
        lost_acks: 0,
        lost_answers: 0,
        refusals: 0,
        failed_queries: 0,
        redeliveries: 0,
        crashes: 0,
        suspensions: 0,
        lost_leases: 0,
    };
}

impl Bounds {
    /// One command of a channel that sends nothing again, and no fault.
    pub const PLAIN: Self = Self {
        second: None,
        may_resend: false,
        message_log: MessageLog::Prompt,
        rejects_used_ids: false,
        may_sleep_a_day: false,
        may_erase: false,
        deadline: time::DEADLINE,
        faults: Faults::NONE,
        mutant: None,
        only: None,
    };

    /// Whether the protocol has this mistake.
    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Most messages that the customer may get for one command id: a second one only by `resend_unknown_after`, from a BSP that
    /// accepts used ids and whose log showed the first one too late.
    pub(crate) fn accepted_max(&self) -> u8 {
        let may_be_second = self.may_resend && self.message_log == MessageLog::Late;
        if may_be_second { 2 } else { 1 }
    }
}
