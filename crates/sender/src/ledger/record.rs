//! The ledger entry of a command, and what the sender does next because of it. Pure.
//!
//! A send takes two writes: the intent before the call, the outcome after it. It takes a third one if a call is known
//! to have had no effect and another call follows. [`stored`](super::stored) has the form of an entry as bytes.

use proto::v1::SendResult;

use super::compact::{CommandIdentity, CompactResult};

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Sequence of the command in COMMANDS. The same command with another sequence was published twice.
    pub sequence: u64,
    /// Hash that shows whether a command of the same id is the same command.
    pub digest: String,
    /// Number of calls that were begun.
    pub attempts: u32,
    /// Token of the process and the attempt that wrote it, so that a write whose ack was lost is recognized. Empty in a
    /// compact entry, which its content identifies.
    pub token: String,
    /// Progress of the command.
    pub state: State,
}

/// Progress of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// A call is about to be made, is in flight, or has an unknown outcome.
    Intent {
        /// When the call was about to be made.
        at_ms: i64,
        /// When the first of the calls with an unknown outcome was about to be made.
        unknown_since_ms: i64,
        /// Whether the message was sent again after its outcome had stayed unknown.
        is_resent: bool,
    },
    /// No call has reached the BSP so far.
    NotSent,
    /// The command is decided.
    Done(Decision),
}

/// What the entry of a decided command holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The result was published before this was written.
    Answered,
    /// The result, which is to be published.
    Owed(Box<SendResult>),
    /// The same, without what the command says itself.
    OwedCompact(CompactResult),
}

/// What the sender does next with a command that has an entry.
#[derive(Debug, PartialEq)]
pub enum NextStep {
    /// It duplicates a command that is or will be answered.
    Duplicate,
    /// Its id was used for another message.
    IdConflict,
    /// Another attempt may be made.
    Attempt(Record),
    /// Its outcome has to be looked up.
    LookUp(Record),
    /// Its result has to be published again.
    Publish(OwedResult),
    /// Nothing: its result was published.
    AlreadyPublished,
}

/// The result of a decided command, as its entry has it.
#[derive(Debug, PartialEq)]
pub struct OwedResult {
    sequence: u64,
    /// Number of calls that were begun.
    pub attempts: u32,
    result: StoredResult,
}

#[derive(Debug, PartialEq)]
enum StoredResult {
    Whole(Box<SendResult>),
    Compact(CompactResult),
}

impl OwedResult {
    /// Returns the result as it was decided. `command` is the command that the entry belongs to.
    pub fn of(self, command: CommandIdentity<'_>) -> Box<SendResult> {
        match self.result {
            StoredResult::Whole(result) => result,
            StoredResult::Compact(rest) => Box::new(rest.restore(command, self.sequence, self.attempts)),
        }
    }
}

impl Record {
    /// Returns the entry of a command without a call.
    pub fn new(sequence: u64, digest: String, token: String) -> Self {
        Self { sequence, digest, attempts: 0, token, state: State::NotSent }
    }

    /// Returns an entry with the intent of the command's latest call.
    pub fn called(self, attempts: u32, intent: State) -> Self {
        Self { attempts, state: intent, ..self }
    }

    /// Returns an entry that says that no call has had an effect.
    pub fn not_sent(self) -> Self {
        Self { state: State::NotSent, ..self }
    }

    /// Returns an entry with the result, which is to be published.
    pub fn decided(self, result: &SendResult) -> Self {
        Self { state: State::Done(Decision::Owed(Box::new(result.clone()))), ..self }
    }

    /// Returns a decided entry without what the command says itself, which takes less than half of the bytes. An entry
    /// whose result could not be restored from it letter by letter stays as it is.
    pub fn compacted(self, command: CommandIdentity<'_>) -> Self {
        let State::Done(Decision::Owed(result)) = &self.state else { return self };
        match CompactResult::of(result, command, self.sequence, self.attempts) {
            Some(rest) => {
                Self { token: String::new(), state: State::Done(Decision::OwedCompact(rest)), ..self }
            }
            None => self,
        }
    }

    /// Returns an entry that says that the result was published.
    pub fn answered(self) -> Self {
        Self { state: State::Done(Decision::Answered), ..self }
    }

    /// Returns what the sender does next with a command of this sequence and digest.
    pub fn next(self, sequence: u64, digest: &str) -> NextStep {
        if self.digest != digest {
            return NextStep::IdConflict;
        }
        if self.sequence != sequence {
            return NextStep::Duplicate;
        }
        let attempts = self.attempts;
        let owed = |result| NextStep::Publish(OwedResult { sequence, attempts, result });
        match self.state {
            State::Intent { .. } => NextStep::LookUp(self),
            State::NotSent => NextStep::Attempt(self),
            State::Done(Decision::Answered) => NextStep::AlreadyPublished,
            State::Done(Decision::Owed(result)) => owed(StoredResult::Whole(result)),
            State::Done(Decision::OwedCompact(rest)) => owed(StoredResult::Compact(rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use bsp::{ChannelId, event_id, registry};

    use super::*;

    fn record(state: State) -> Record {
        Record::new(7, "d".to_owned(), "t".to_owned()).called(1, state)
    }

    #[test]
    fn the_entry_decides_what_a_command_needs() {
        let intent = record(State::Intent { at_ms: 5, unknown_since_ms: 5, is_resent: false });
        assert_eq!(intent.clone().next(7, "d"), NextStep::LookUp(intent.clone()));
        assert_eq!(intent.clone().next(8, "d"), NextStep::Duplicate);
        assert_eq!(intent.next(8, "e"), NextStep::IdConflict);
        assert_eq!(record(State::NotSent).next(7, "d"), NextStep::Attempt(record(State::NotSent)));
        assert_eq!(record(State::NotSent).answered().next(7, "d"), NextStep::AlreadyPublished);
    }

    #[test]
    fn the_entry_of_a_decided_command_gives_its_result_in_both_forms() {
        let channel = ChannelId::parse("sales").unwrap();
        let command = CommandIdentity { channel: &channel, command_id: "c", msg_id: "m" };
        let bsp = registry::find("infobip").unwrap().profile().id;
        let result = SendResult {
            event_id: event_id::of_result(bsp, &channel, "c", "SEND_OUTCOME_UNSPECIFIED", ""),
            bsp: "infobip".to_owned(),
            channel_id: "sales".to_owned(),
            command_id: "c".to_owned(),
            command_sequence: 7,
            command_msg_id: "m".to_owned(),
            message_id: "imc-c".to_owned(),
            attempts: 1,
            ..SendResult::default()
        };
        let whole = record(State::NotSent).decided(&result);
        let compact = whole.clone().compacted(command);
        assert!(matches!(compact.state, State::Done(Decision::OwedCompact(_))));
        for entry in [whole, compact] {
            assert_eq!(entry.clone().next(8, "d"), NextStep::Duplicate);
            assert_eq!(entry.clone().next(7, "e"), NextStep::IdConflict);
            let NextStep::Publish(owed) = entry.next(7, "d") else { panic!("no result") };
            assert_eq!(*owed.of(command), result);
        }
    }
}
