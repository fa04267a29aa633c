//! The stages of a command, and what its processing knows between them. The steps from one stage to the next are in the
//! other files of this folder.

use bus::ledger::Revision;
use proto::v1::SendResult;

use crate::gate::Permit;
use crate::media_url::FileLink;
use crate::open_calls::OpenCall;
use crate::outcome::Outcome;
use crate::record::{Record, State};
use crate::send::trials::Trials;

/// How this process ended its work on a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completion {
    /// The result is stored. The command is acknowledged.
    Done,
    /// The lane was closed. The next owner continues from the ledger.
    Released,
    /// An internal error stopped the work. The command is redelivered, and the work continues from the ledger.
    Failed,
}

/// The last known ledger entry.
pub(super) struct LedgerView {
    pub(super) revision: Revision,
    pub(super) record: Option<Record>,
}

/// State of a command's processing in this process.
#[derive(Default)]
pub(super) struct Progress {
    /// The URL of its file, once it was looked up; `Some(None)` for a command without a file.
    pub(super) link: Option<Option<FileLink>>,
    /// The permit for its next call.
    pub(super) pass: Option<Permit>,
    pub(super) trials: Trials,
    /// Held while its message may be on its way.
    pub(super) in_call: Option<OpenCall>,
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

impl LedgerView {
    pub(super) const NOTHING: Self = Self { revision: Revision::NONE, record: None };

    pub(super) fn attempts(&self) -> u32 {
        self.record.as_ref().map_or(0, |record| record.attempts)
    }

    /// Returns when the first call with an unknown outcome was made, and whether the message was sent again since.
    pub(super) fn unknown(&self) -> Option<(i64, bool)> {
        match self.record.as_ref()?.state {
            State::Intent { unknown_since_ms, is_resent, .. } => Some((unknown_since_ms, is_resent)),
            State::NotSent | State::Done { .. } => None,
        }
    }
}

impl Stage {
    /// Whether the command is waiting: no call of it is in flight.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self, Self::Read | Self::Attempt(_) | Self::IdConflict)
    }
}
