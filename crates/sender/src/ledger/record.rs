//! The ledger entry of a command, and what the sender does next because of it. Pure.
//!
//! A send takes two writes: the intent before the call, the outcome after it. It takes a third one if a call is known
//! to have had no effect and another call follows.

use bytes::Bytes;
use prost::Message;
use proto::v1::SendResult;
use serde::{Deserialize, Serialize};

/// Version of the ledger record that this build writes.
const VERSION: u32 = 1;

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// Sequence of the command in COMMANDS. The same command with another sequence was published twice.
    pub sequence: u64,
    /// Hash that shows whether a command of the same id is the same command.
    pub digest: String,
    /// Number of calls that were begun.
    pub attempts: u32,
    /// Token of the process and the attempt that wrote it, so that a write whose ack was lost is recognized.
    pub token: String,
    /// Progress of the command.
    pub state: State,
}

/// Progress of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// Decided: the result as protobuf, in hexadecimal digits.
    Done {
        /// The result.
        result: String,
        /// Whether the result was published before this was written.
        is_answered: bool,
    },
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
    Publish(Box<SendResult>),
    /// Nothing: its result was published.
    AlreadyPublished,
}

impl Record {
    /// Returns the entry of a command without a call.
    pub fn new(sequence: u64, digest: String, token: String) -> Self {
        Self { version: VERSION, sequence, digest, attempts: 0, token, state: State::NotSent }
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
        let result = hex::encode(result.encode_to_vec());
        Self { state: State::Done { result, is_answered: false }, ..self }
    }

    /// Returns an entry with the result, which was published.
    pub fn answered(self, result: &SendResult) -> Self {
        let result = hex::encode(result.encode_to_vec());
        Self { state: State::Done { result, is_answered: true }, ..self }
    }

    /// Returns the stored form.
    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("a record has no map").into()
    }

    /// Returns `None` if this version cannot read the form.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bsp::json::from_slice::<Self>(bytes).ok().filter(|record| record.version == VERSION)
    }

    /// Returns what the sender does next with a command of this sequence and digest.
    pub fn next(self, sequence: u64, digest: &str) -> NextStep {
        if self.digest != digest {
            return NextStep::IdConflict;
        }
        if self.sequence != sequence {
            return NextStep::Duplicate;
        }
        match &self.state {
            State::Intent { .. } => NextStep::LookUp(self),
            State::NotSent => NextStep::Attempt(self),
            State::Done { is_answered: true, .. } => NextStep::AlreadyPublished,
            State::Done { result, .. } => {
                let decoded = hex::decode(result).ok().and_then(|bytes| SendResult::decode(&*bytes).ok());
                decoded.map_or(NextStep::AlreadyPublished, |result| NextStep::Publish(Box::new(result)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(state: State) -> Record {
        Record::new(7, "d".to_owned(), "t".to_owned()).called(1, state)
    }

    #[test]
    fn what_is_written_is_read() {
        let intent = State::Intent { at_ms: 5, unknown_since_ms: 5, is_resent: false };
        let result = SendResult { command_id: "c".to_owned(), ..SendResult::default() };
        for record in [record(intent), record(State::NotSent), record(State::NotSent).answered(&result)] {
            assert_eq!(Record::from_bytes(&record.to_bytes()), Some(record));
        }
        assert_eq!(Record::from_bytes(b"{}"), None);
        for array in [
            r#"[1,7,"d",1,"t","not_sent"]"#,
            r#"{"version":1,"sequence":7,"digest":"d","attempts":1,"token":"t","state":{"intent":[5,5,false]}}"#,
        ] {
            assert_eq!(Record::from_bytes(array.as_bytes()), None, "{array}");
        }
    }

    /// docs/compatibility.md promises this form: version 0.1 wrote these entries, and they never change.
    #[test]
    fn what_an_earlier_version_wrote_is_read_and_written_alike() {
        let result = SendResult { command_id: "c".to_owned(), ..SendResult::default() };
        let states = [
            (
                r#"{"intent":{"at_ms":5,"unknown_since_ms":4,"is_resent":false}}"#,
                State::Intent { at_ms: 5, unknown_since_ms: 4, is_resent: false },
            ),
            (r#""not_sent""#, State::NotSent),
            (
                r#"{"done":{"result":"220163","is_answered":true}}"#,
                record(State::NotSent).answered(&result).state,
            ),
        ];
        for (written, state) in states {
            let head = r#"{"version":1,"sequence":7,"digest":"d","attempts":1,"token":"t","state":"#;
            let stored = format!("{head}{written}}}");
            assert_eq!(Record::from_bytes(stored.as_bytes()), Some(record(state.clone())), "{stored}");
            assert_eq!(record(state.clone()).to_bytes(), stored.as_bytes());
            // A later version may add a field. An incompatible form has another version number.
            let later = format!("{head}{written},\"added_later\":1}}");
            assert_eq!(Record::from_bytes(later.as_bytes()), Some(record(state)), "{later}");
            let other = stored.replace(r#""version":1"#, r#""version":2"#);
            assert_eq!(Record::from_bytes(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn the_entry_decides_what_a_command_needs() {
        let intent = record(State::Intent { at_ms: 5, unknown_since_ms: 5, is_resent: false });
        let result = SendResult { command_id: "c".to_owned(), ..SendResult::default() };
        assert_eq!(intent.clone().next(7, "d"), NextStep::LookUp(intent.clone()));
        assert_eq!(intent.clone().next(8, "d"), NextStep::Duplicate);
        assert_eq!(intent.next(8, "e"), NextStep::IdConflict);
        assert_eq!(record(State::NotSent).next(7, "d"), NextStep::Attempt(record(State::NotSent)));
        assert_eq!(record(State::NotSent).answered(&result).next(7, "d"), NextStep::AlreadyPublished);
        assert_eq!(record(State::NotSent).decided(&result).next(7, "d"), NextStep::Publish(Box::new(result)));
    }
}
