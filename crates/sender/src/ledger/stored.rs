//! The stored form of a ledger entry. Pure.
//!
//! Entries are JSON of version 1, as version 0.1 of imchannel wrote them. The entry of a decided command has two forms:
//!
//! - the whole result in hexadecimal digits (`done`), which every version reads;
//! - the compact form: what [`compact`](super::compact) leaves of the result, in base64 (`decided`). A version that does not
//!   have the field reads the rest of the entry: a call of this command, which was sent again once. Such a version
//!   recognizes a repeat and a used id, looks the message up, and never sends it.
//!
//! Senders write the compact form while the bucket allows it ([`bus::Bus::is_ledger_compact`]).

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use bytes::Bytes;
use prost::Message;
use proto::v1::SendResult;
use serde::{Deserialize, Serialize};

use super::compact::CompactResult;
use super::record::{Decision, Record, State};

/// Version of the entries. A sender ignores entries of another one, and does nothing with their commands.
const VERSION: u32 = 1;

/// What a version without compact entries reads in one: the message may have been sent, and must not be sent again.
const FOR_OLDER_VERSIONS: StoredState =
    StoredState::Intent { at_ms: 0, unknown_since_ms: 0, is_resent: true };

impl Record {
    /// Returns the stored form.
    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(&StoredRecord::of(self)).expect("an entry has no map").into()
    }

    /// Returns `None` if this version cannot read the form.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let stored = bsp::json::from_slice::<StoredRecord>(bytes).ok()?;
        if stored.version == VERSION { stored.into_record() } else { None }
    }
}

/// An entry as JSON.
#[derive(Debug, Serialize, Deserialize)]
struct StoredRecord {
    version: u32,
    sequence: u64,
    digest: String,
    attempts: u32,
    token: String,
    state: StoredState,
    /// The compact result, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decided: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredState {
    Intent {
        at_ms: i64,
        unknown_since_ms: i64,
        is_resent: bool,
    },
    NotSent,
    Done {
        /// The result as protobuf, in hexadecimal digits. Versions before compact entries wrote it into answered entries
        /// too.
        result: String,
        is_answered: bool,
    },
}

impl StoredRecord {
    fn of(record: &Record) -> Self {
        let mut decided = None;
        let state = match &record.state {
            &State::Intent { at_ms, unknown_since_ms, is_resent } => {
                StoredState::Intent { at_ms, unknown_since_ms, is_resent }
            }
            State::NotSent => StoredState::NotSent,
            State::Done(Decision::Answered) => StoredState::Done { result: String::new(), is_answered: true },
            State::Done(Decision::Owed(result)) => {
                StoredState::Done { result: hex::encode(result.encode_to_vec()), is_answered: false }
            }
            State::Done(Decision::OwedCompact(rest)) => {
                decided = Some(BASE64.encode(rest.to_protobuf()));
                FOR_OLDER_VERSIONS
            }
        };
        Self {
            version: VERSION,
            sequence: record.sequence,
            digest: record.digest.clone(),
            attempts: record.attempts,
            token: record.token.clone(),
            state,
            decided,
        }
    }

    /// Returns `None` if the result cannot be read.
    fn into_record(self) -> Option<Record> {
        let Self { sequence, digest, attempts, token, state, decided, version: _ } = self;
        let state = match (decided, state) {
            (Some(decided), _) => {
                let rest = CompactResult::of_protobuf(&BASE64.decode(decided).ok()?)?;
                State::Done(Decision::OwedCompact(rest))
            }
            (None, StoredState::Intent { at_ms, unknown_since_ms, is_resent }) => {
                State::Intent { at_ms, unknown_since_ms, is_resent }
            }
            (None, StoredState::NotSent) => State::NotSent,
            (None, StoredState::Done { is_answered: true, .. }) => State::Done(Decision::Answered),
            (None, StoredState::Done { result, is_answered: false }) => {
                let result = SendResult::decode(&*hex::decode(result).ok()?).ok()?;
                State::Done(Decision::Owed(Box::new(result)))
            }
        };
        Some(Record { sequence, digest, attempts, token, state })
    }
}

#[cfg(test)]
mod tests;
