//! What follows for a command from what the ledger, the clocks, the lease and the BSP have answered. Pure: the time is an
//! argument. The steps around it do the I/O, and `crates/model` explores every order of them ([`crate::protocol`]).

use std::time::Duration;

use bsp::sending::SendResponse;
use bus::ledger::{Entry, Revision};
use proto::v1::SendResult;
use tokio::time::Instant;

use super::stage::{LedgerView, Stage, UnknownCall};
use crate::context::Completion;
use crate::ledger::command_key::CommandKey;
use crate::ledger::record::{NextStep, Record, State};
use crate::result::outcome::Outcome;

/// Longest time between writing the intent and the call. Later the call is aborted: a process that was suspended in
/// between no longer knows who else has read the intent.
pub const INTENT_AGE_MAX: Duration = Duration::from_secs(2);

/// The ledger entry was written by another version. That version can process it, and this one must not guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadableEntry;

/// Returns the first stage at the `attempt`th delivery. A command that is delivered for the first time has no entry. If it has
/// one, writing the intent finds out.
pub fn at_delivery(attempt: u64) -> Stage {
    if attempt > 1 { Stage::Read } else { Stage::Attempt(LedgerView::NOTHING) }
}

/// Returns the stage that a ledger entry shows.
///
/// # Errors
/// [`UnreadableEntry`].
pub fn after_read(entry: Option<&Entry>, command: CommandKey<'_>) -> Result<Stage, UnreadableEntry> {
    let Some(entry) = entry else { return Ok(Stage::Attempt(LedgerView::NOTHING)) };
    let record = Record::from_bytes(&entry.value).ok_or(UnreadableEntry)?;
    let view = |record| LedgerView { revision: entry.revision, record: Some(record) };
    Ok(match record.next(command.sequence, command.digest) {
        NextStep::Duplicate => Stage::End(Completion::Duplicate),
        NextStep::AlreadyPublished => Stage::End(Completion::Done),
        NextStep::IdConflict => Stage::IdConflict,
        NextStep::Attempt(record) => Stage::Attempt(view(record)),
        NextStep::LookUp(record) => Stage::LookUp { known: view(record), ended_at: None },
        NextStep::Publish(owed) => Stage::Publish(owed.of(command.identity)),
    })
}

/// Whether an attempt may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptCheck {
    /// It may.
    Begin,
    /// The deadline has passed.
    DeadlinePassed,
    /// The lane may be lost.
    NotOwner,
}

/// Returns whether an attempt may begin.
pub fn check_attempt(time_left: Duration, is_owner: bool) -> AttemptCheck {
    if time_left.is_zero() {
        AttemptCheck::DeadlinePassed
    } else if !is_owner {
        AttemptCheck::NotOwner
    } else {
        AttemptCheck::Begin
    }
}

/// Who may write an entry, and so for how long the write is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Writer {
    /// The owner of the lane. A process that was suspended for longer than the ledger keeps entries would begin or decide a command
    /// that another one has sent: its expectation of no entry would be met again.
    Owner,
    /// The process that made the call, also when it has lost the lane: only it has the response of the BSP.
    Caller,
}

impl Writer {
    /// Whether the write may be made.
    pub fn may_write(self, is_owner: bool) -> bool {
        is_owner || self == Self::Caller
    }
}

/// What reading an entry shows about a write whose ack did not come.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadBack {
    /// It is written.
    Written(LedgerView),
    /// It is not written, or not yet.
    Missing,
    /// Another process has written.
    Other,
}

/// Returns what an entry shows about a write of `record` over `expected`. The write is recognized by its token.
pub fn read_back(found: Option<&Entry>, expected: Revision, record: &Record) -> ReadBack {
    let Some(entry) = found else {
        return if expected == Revision::NONE { ReadBack::Missing } else { ReadBack::Other };
    };
    if entry.revision == expected {
        return ReadBack::Missing;
    }
    let found = Record::from_bytes(&entry.value);
    if found.as_ref() == Some(record) {
        ReadBack::Written(LedgerView { revision: entry.revision, record: found })
    } else {
        ReadBack::Other
    }
}

/// Whether an intent of this age must be read back before its call. Its ack came late, but not too late.
pub fn must_read_back(age: Option<Duration>, send_timeout: Duration) -> bool {
    let is_younger = |limit| age.is_some_and(|age| age < limit);
    !is_younger(INTENT_AGE_MAX) && is_younger(send_timeout / 2)
}

/// Whether the call may be made: this long ago it was certain that the intent is in the ledger.
pub fn may_call(certain_for: Option<Duration>, is_owner: bool) -> bool {
    certain_for.is_some_and(|age| age < INTENT_AGE_MAX) && is_owner
}

impl LedgerView {
    /// Returns the entry with the intent of the next call. An existing intent belongs to a call with an unknown outcome. This
    /// call repeats it.
    #[must_use]
    pub fn intent(&self, command: CommandKey<'_>, at_ms: i64, token: String) -> Record {
        let UnknownCall { since_ms, is_resent } = match self.unknown() {
            Some(call) => UnknownCall { is_resent: true, ..call },
            None => UnknownCall { since_ms: at_ms, is_resent: false },
        };
        let state = State::Intent { at_ms, unknown_since_ms: since_ms, is_resent };
        let new = Record::new(command.sequence, command.digest.to_owned(), token);
        new.called(self.attempts() + 1, state)
    }

    /// Returns the entry to write after a call that certainly had no effect, so that no look-up is needed. `None` if there
    /// is nothing to write: about a message that may have been sent before, such a call shows nothing.
    #[must_use]
    pub fn unsent(&self) -> Option<Record> {
        let record = self.record.clone()?;
        self.unknown().is_some_and(|call| !call.is_resent).then(|| record.not_sent())
    }

    /// Returns who writes an outcome over this entry. Without a call that it is about, an outcome rests on the ledger being
    /// complete, and the next owner can decide the same.
    #[must_use]
    pub fn outcome_writer(&self) -> Writer {
        if self.unknown().is_some() { Writer::Caller } else { Writer::Owner }
    }

    /// Returns the entry with the result.
    #[must_use]
    pub fn decided(self, command: CommandKey<'_>, token: String, result: &SendResult) -> Record {
        let new = || Record::new(command.sequence, command.digest.to_owned(), token);
        self.record.unwrap_or_else(new).decided(result)
    }

    /// Handles a passed deadline: a command that may have been sent is unknown, any other has expired. `last_error` says why
    /// the last call had no effect.
    #[must_use]
    pub fn deadline_passed(self, last_error: Option<&str>) -> Stage {
        let outcome = match self.unknown() {
            Some(_) => Outcome::Unknown,
            None if self.attempts() > 0 => {
                let last_error = last_error.unwrap_or("the BSP did not accept it").to_owned();
                Outcome::Expired { last_error: Some(last_error) }
            }
            None => Outcome::Expired { last_error: None },
        };
        Stage::Decide(self, outcome.into())
    }

    /// An error before a call ends the command, unless an earlier call may have sent it: then the error shows nothing.
    #[must_use]
    pub fn fail_before_call(self, outcome: Outcome) -> Stage {
        let outcome = if self.unknown().is_some() { Outcome::Unknown } else { outcome };
        Stage::Decide(self, outcome.into())
    }

    /// Returns the stage after a response about the message. `ended_at` is when its call ended.
    #[must_use]
    pub fn after_answer(self, answer: SendResponse, message_id: &str, ended_at: Instant) -> Stage {
        match Outcome::of_answer(answer, message_id, self.attempts()) {
            // A refusal of a message that is sent again shows nothing about the earlier call.
            Some(Outcome::Rejected { .. }) if self.is_resent() => {
                Stage::Decide(self, Outcome::Unknown.into())
            }
            Some(outcome) => Stage::Decide(self, outcome.into()),
            None => Stage::LookUp { known: self, ended_at: Some(ended_at) },
        }
    }
}

#[cfg(test)]
mod tests {
    use bsp::ChannelId;

    use super::*;
    use crate::ledger::compact::CommandIdentity;

    #[test]
    fn an_intent_is_read_back_within_half_of_the_timeout_of_its_call() {
        let seconds = Duration::from_secs;
        for (age, expected) in [(0, false), (1, false), (2, true), (4, true), (5, false), (60, false)] {
            assert_eq!(must_read_back(Some(seconds(age)), seconds(10)), expected, "{age} s");
        }
        assert!(!must_read_back(None, seconds(10)), "the wall clock was set back");
        assert!(may_call(Some(seconds(1)), true));
        assert!(!may_call(Some(seconds(1)), false));
        assert!(!may_call(Some(INTENT_AGE_MAX), true) && !may_call(None, true));
    }

    /// A process that slept for longer than the ledger keeps entries finds none, and would answer a command that was sent.
    #[test]
    fn without_a_call_only_the_owner_of_the_lane_decides() {
        let channel = ChannelId::parse("sales").unwrap();
        let identity = CommandIdentity { channel: &channel, command_id: "c", msg_id: "m" };
        let command = CommandKey { sequence: 7, digest: "d", identity };
        let intent = LedgerView::NOTHING.intent(command, 5, "t".to_owned());
        let called = LedgerView { revision: Revision::of_sequence(3), record: Some(intent) };
        let unsent = LedgerView { record: called.unsent(), ..called.clone() };
        for view in [LedgerView::NOTHING, unsent] {
            assert_eq!(view.outcome_writer(), Writer::Owner, "{view:?}");
        }
        assert_eq!(called.outcome_writer(), Writer::Caller);
        assert!(Writer::Owner.may_write(true) && !Writer::Owner.may_write(false));
        assert!(Writer::Caller.may_write(true) && Writer::Caller.may_write(false));
    }
}
