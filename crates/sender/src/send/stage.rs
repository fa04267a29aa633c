//! The stages of a command, and what this process knows of its ledger entry. What follows from the answers of the ledger and the
//! BSP is in [`decisions`](mod@super::decisions). Pure.

use bus::ledger::Revision;
use proto::v1::SendResult;
use tokio::time::Instant;

use crate::context::Completion;
use crate::ledger::record::{Record, State};
use crate::result::outcome::Outcome;

/// The last known ledger entry.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerView {
    /// Its revision.
    pub revision: Revision,
    /// What it says; `None` for no entry.
    pub record: Option<Record>,
}

/// The call of a command whose outcome is unknown.
#[derive(Debug, Clone, Copy)]
pub struct UnknownCall {
    /// When the first call with an unknown outcome was about to be made, in milliseconds since 1970.
    pub since_ms: i64,
    /// Whether the message was sent again since then.
    pub is_resent: bool,
}

/// Stage of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// The ledger must be read.
    Read,
    /// A call may be made.
    Attempt(LedgerView),
    /// A call was or may have been made, and its outcome is unknown.
    LookUp {
        /// The entry with its intent.
        known: LedgerView,
        /// When the call ended, if this process made it. The call of another process may be in flight until its timeout.
        ended_at: Option<Instant>,
    },
    /// It is decided, and the ledger entry does not say so yet.
    Decide(LedgerView, Box<Outcome>),
    /// It is decided in the ledger, and the result must be stored.
    Publish(Box<SendResult>),
    /// Its id was already used for other content.
    IdConflict,
    /// This process has ended its work on the command.
    End(Completion),
}

impl Stage {
    /// The lane was closed.
    pub(crate) const RELEASED: Self = Self::End(Completion::Released);

    /// Whether the command is waiting: no call of it is in flight.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self, Self::Read | Self::Attempt(_) | Self::IdConflict)
    }

    /// Whether the message was rejected.
    pub(super) fn is_rejection(&self) -> bool {
        matches!(self, Self::Decide(_, outcome) if matches!(**outcome, Outcome::Rejected { .. }))
    }
}

impl LedgerView {
    /// No entry.
    pub const NOTHING: Self = Self { revision: Revision::NONE, record: None };

    /// Number of calls that were begun.
    pub fn attempts(&self) -> u32 {
        self.record.as_ref().map_or(0, |record| record.attempts)
    }

    /// Returns the call whose outcome is unknown, if there is one.
    pub fn unknown(&self) -> Option<UnknownCall> {
        match self.record.as_ref()?.state {
            State::Intent { unknown_since_ms, is_resent, .. } => {
                Some(UnknownCall { since_ms: unknown_since_ms, is_resent })
            }
            State::NotSent | State::Done { .. } => None,
        }
    }

    /// Whether the message was sent again after its outcome had stayed unknown. Then a refusal shows nothing.
    pub fn is_resent(&self) -> bool {
        self.unknown().is_some_and(|call| call.is_resent)
    }
}
