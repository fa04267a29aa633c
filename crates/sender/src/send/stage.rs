//! The stages of a command, and what this process knows of its ledger entry. Pure.

use bus::ledger::Revision;
use proto::v1::SendResult;

use super::trials::Trials;
use crate::context::Completion;
use crate::ledger::record::{Record, State};
use crate::result::outcome::Outcome;

/// The last known ledger entry.
pub(super) struct LedgerView {
    pub(super) revision: Revision,
    pub(super) record: Option<Record>,
}

/// The call of a command whose outcome is unknown.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnknownCall {
    /// When the first call with an unknown outcome was about to be made, in milliseconds since 1970.
    pub(super) since_ms: i64,
    /// Whether the message was sent again since then.
    pub(super) is_resent: bool,
}

/// Stage of a command.
pub(super) enum Stage {
    /// The ledger must be read.
    Read,
    /// A call may be made.
    Attempt(LedgerView),
    /// A call was or may have been made, and its outcome is unknown.
    LookUp(LedgerView),
    /// It is decided, and the ledger entry does not say so yet.
    Decide(LedgerView, Box<Outcome>),
    /// It is decided in the ledger, and the result must be stored.
    Publish(Box<SendResult>),
    /// Its id was already used for other content.
    IdConflict,
    End(Completion),
}

impl Stage {
    /// The lane was closed.
    pub(super) const RELEASED: Self = Self::End(Completion::Released);

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
    pub(super) const NOTHING: Self = Self { revision: Revision::NONE, record: None };

    /// Number of calls that were begun.
    pub(super) fn attempts(&self) -> u32 {
        self.record.as_ref().map_or(0, |record| record.attempts)
    }

    /// Returns the call whose outcome is unknown, if there is one.
    pub(super) fn unknown(&self) -> Option<UnknownCall> {
        match self.record.as_ref()?.state {
            State::Intent { unknown_since_ms, is_resent, .. } => {
                Some(UnknownCall { since_ms: unknown_since_ms, is_resent })
            }
            State::NotSent | State::Done { .. } => None,
        }
    }

    /// Whether the message was sent again after its outcome had stayed unknown. Then a refusal shows nothing.
    pub(super) fn is_resent(&self) -> bool {
        self.unknown().is_some_and(|call| call.is_resent)
    }

    /// Handles a passed deadline: a command that may have been sent is unknown, any other has expired.
    pub(super) fn deadline_passed(self, trials: &Trials) -> Stage {
        let outcome = match self.unknown() {
            Some(_) => Outcome::Unknown,
            None if self.attempts() > 0 => {
                let last_error = trials.why().unwrap_or("the BSP did not accept it").to_owned();
                Outcome::Expired { last_error: Some(last_error) }
            }
            None => Outcome::Expired { last_error: None },
        };
        Stage::Decide(self, outcome.into())
    }

    /// An error before a call ends the command, unless an earlier call may have sent it: then the error shows nothing.
    pub(super) fn fail_before_call(self, outcome: Outcome) -> Stage {
        let outcome = if self.unknown().is_some() { Outcome::Unknown } else { outcome };
        Stage::Decide(self, outcome.into())
    }
}
