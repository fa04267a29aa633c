//! What the ledger holds for a command, and what follows from it. Pure.
//!
//! Two writes for a send: the intent before the call, the outcome after it. A third one where a call is known to have done
//! nothing and another will be made.

use bytes::Bytes;
use prost::Message;
use proto::v1::SendResult;
use serde::{Deserialize, Serialize};

/// Version of the ledger record that this build writes.
const VERSION: u32 = 1;

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// Where the command lies in COMMANDS. The same command under another sequence was published twice.
    pub(crate) sequence: u64,
    /// Tells whether a command of the same id is the same command.
    pub(crate) digest: String,
    /// Calls that were begun.
    pub(crate) attempts: u32,
    /// Of the process and the attempt that wrote it, so that a write whose acknowledgement was lost is known again.
    pub(crate) token: String,
    /// How far it is.
    pub(crate) state: State,
}

/// How far a command is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// A call is about to be made, or is under way, or its outcome is not known.
    Intent {
        /// When the call was about to be made.
        at_ms: i64,
        /// When the first of the calls whose outcome is not known was.
        unknown_since_ms: i64,
        /// Whether the message was sent anew after its outcome had stayed unknown.
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

/// What a command with an entry needs.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// It is the repeat of a command that is or will be answered.
    Repeated,
    /// Its id was used for something else.
    Other,
    /// Another attempt may be made.
    Attempt(Record),
    /// Its outcome has to be looked up.
    LookUp(Record),
    /// Its result has to be published again.
    Publish(Box<SendResult>),
    /// Nothing: its result was published.
    Nothing,
}

impl Record {
    pub(crate) fn new(sequence: u64, digest: String, attempts: u32, token: String, state: State) -> Self {
        Self { version: VERSION, sequence, digest, attempts, token, state }
    }

    /// One of which it is known that no call has done anything.
    pub(crate) fn not_sent(self) -> Self {
        Self { state: State::NotSent, ..self }
    }

    /// A decided one.
    pub(crate) fn done(self, result: &SendResult, is_answered: bool) -> Self {
        Self { state: State::Done { result: hex::encode(result.encode_to_vec()), is_answered }, ..self }
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("a record has no map").into()
    }

    /// `None` when it is not of a form that this version reads.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bsp::json::from_slice::<Self>(bytes).ok().filter(|record| record.version == VERSION)
    }

    /// What a command of that sequence and digest needs.
    pub(crate) fn next(self, sequence: u64, digest: &str) -> Next {
        if self.digest != digest {
            return Next::Other;
        }
        if self.sequence != sequence {
            return Next::Repeated;
        }
        match &self.state {
            State::Intent { .. } => Next::LookUp(self),
            State::NotSent => Next::Attempt(self),
            State::Done { is_answered: true, .. } => Next::Nothing,
            State::Done { result, .. } => {
                let decoded = hex::decode(result).ok().and_then(|bytes| SendResult::decode(&*bytes).ok());
                decoded.map_or(Next::Nothing, |result| Next::Publish(Box::new(result)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(state: State) -> Record {
        Record::new(7, "d".to_owned(), 1, "t".to_owned(), state)
    }

    #[test]
    fn what_is_written_is_read() {
        let intent = State::Intent { at_ms: 5, unknown_since_ms: 5, is_resent: false };
        let result = SendResult { command_id: "c".to_owned(), ..SendResult::default() };
        for record in [record(intent), record(State::NotSent), record(State::NotSent).done(&result, true)] {
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

    /// docs/compatibility.md promises this form: what stands here was written by 0.1, and never changes.
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
                record(State::NotSent).done(&result, true).state,
            ),
        ];
        for (written, state) in states {
            let head = r#"{"version":1,"sequence":7,"digest":"d","attempts":1,"token":"t","state":"#;
            let stored = format!("{head}{written}}}");
            assert_eq!(Record::from_bytes(stored.as_bytes()), Some(record(state.clone())), "{stored}");
            assert_eq!(record(state.clone()).to_bytes(), stored.as_bytes());
            // A later version may add a field; a form that must not be read alike has another number.
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
        assert_eq!(intent.clone().next(7, "d"), Next::LookUp(intent.clone()));
        assert_eq!(intent.clone().next(8, "d"), Next::Repeated);
        assert_eq!(intent.next(8, "e"), Next::Other);
        assert_eq!(record(State::NotSent).next(7, "d"), Next::Attempt(record(State::NotSent)));
        assert_eq!(record(State::NotSent).done(&result, true).next(7, "d"), Next::Nothing);
        assert_eq!(record(State::NotSent).done(&result, false).next(7, "d"), Next::Publish(Box::new(result)));
    }
}
