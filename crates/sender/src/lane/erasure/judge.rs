//! What the ledger entry of a command needs whose customer is being erased. Pure: the send protocol and its model call it.

use crate::ledger::record::{NextStep, Record};

/// A command of a customer who is being erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErasedCommand<'a> {
    /// Its sequence in COMMANDS.
    pub sequence: u64,
    /// What the stream holds of it.
    pub content: StoredContent<'a>,
    /// Whether its result is stored in EVENTS.
    pub is_result_stored: bool,
}

/// What the stream holds of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredContent<'a> {
    /// Nothing any more.
    Gone,
    /// A command that is invalid, so that no entry is of it.
    Invalid,
    /// A command with this digest.
    Digest(&'a str),
}

/// What the entry of a command's id needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryNeeds {
    /// Nothing: it has no result, or is of another command that is asked for itself if it is the customer's.
    Nothing,
    /// The command is answered first.
    Answer,
    /// The entry is replaced by one that says "answered", without result and context ([`Record::answered`]).
    Blanking,
}

impl ErasedCommand<'_> {
    /// What an entry under the command's id needs.
    pub fn judge(self, record: &Record) -> EntryNeeds {
        let is_answered = self.is_result_stored;
        // An invalid command is answered by itself.
        let is_invalid = self.content == StoredContent::Invalid;
        let digest = match self.content {
            StoredContent::Digest(digest) => digest,
            StoredContent::Gone | StoredContent::Invalid => &record.digest,
        };
        match record.clone().next(self.sequence, digest) {
            NextStep::AlreadyPublished => EntryNeeds::Nothing,
            NextStep::Duplicate | NextStep::IdConflict if is_answered => EntryNeeds::Nothing,
            NextStep::Duplicate if !is_invalid => EntryNeeds::Nothing,
            NextStep::Publish(_) if is_answered => EntryNeeds::Blanking,
            // The id was used for another message before: this one is answered that it was.
            NextStep::Duplicate | NextStep::IdConflict => EntryNeeds::Answer,
            NextStep::Attempt(_) | NextStep::LookUp(_) | NextStep::Publish(_) => EntryNeeds::Answer,
        }
    }
}
