//! The ledger of sends: an entry for every command that was or may have been sent.
//!
//! Every write names the revision that it expects. Of two processes that both act as owner of a command, one fails,
//! independent of their clocks and leases. Only this makes sure that a command is sent at most once.

use bsp::{ChannelId, CommandId};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::client::connect::Bus;
use crate::publish::{PublishError, Target};
use crate::schema::headers::{EXPECTED_LAST_SUBJECT_SEQUENCE, Headers, KV_OPERATION};
use crate::schema::streams::SENDS_BUCKET;

/// Key of a command in the ledger. It depends on the channel and the command's id alone, and has the same form in every
/// version: a sender that used another form would not find what the others have sent.
///
/// Two ids of a channel with the same 128 bits would share an entry. The second command would be refused as one whose id was
/// used before, because the entry has a hash of the whole command. Among a billion commands of a channel within 26 hours
/// that happens with a probability of 1.5 × 10⁻²¹.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LedgerKey(String);

impl LedgerKey {
    /// `{channel}.{128-bit hash of command_id}`.
    pub fn new(channel: &ChannelId, command: &CommandId) -> Self {
        let hash = Sha256::digest(command.as_str());
        Self(format!("$KV.{}.{channel}.{}", SENDS_BUCKET.name, hex::encode(&hash[..16])))
    }
}

/// Revision of an entry. Every write creates a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision(u64);

impl Revision {
    /// Revision of a key that was never written.
    pub const NONE: Self = Self(0);

    /// Returns the revision of an entry that is this message of the bucket's stream.
    pub fn of_sequence(sequence: u64) -> Self {
        Self(sequence)
    }

    /// Returns the sequence of the entry in the bucket's stream; zero for no entry.
    pub fn sequence(self) -> u64 {
        self.0
    }
}

/// A ledger entry of one command.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its revision.
    pub revision: Revision,
    /// Its value.
    pub value: Bytes,
}

/// A request to the ledger failed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The entry has another revision than expected.
    #[error("another process has written the entry")]
    Conflict,
    /// The entry was not written, or it is not known whether it was.
    #[error("cannot write to the ledger")]
    Write(#[source] PublishError),
    /// The entry could not be read.
    #[error("cannot read the ledger")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Bus {
    /// Writes an entry if its revision is `expected`.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if it is not; this may be caused by the same write if its ack was lost.
    /// [`LedgerError::Write`] if the result is unknown at `deadline`.
    ///
    /// # Examples
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use bus::Bus;
    /// use bus::ledger::{LedgerKey, Revision};
    /// use tokio::time::Instant;
    ///
    /// # async fn example(bus: &Bus) -> Result<(), Box<dyn std::error::Error>> {
    /// let channel = bsp::ChannelId::parse("sales")?;
    /// let command = bsp::CommandId::parse("c-1").expect("a valid id");
    /// let key = LedgerKey::new(&channel, &command);
    /// let deadline = Instant::now() + Duration::from_secs(3);
    /// // The key must not exist yet.
    /// bus.ledger_write(&key, Revision::NONE, b"intent".as_slice().into(), deadline).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ledger_write(
        &self,
        key: &LedgerKey,
        expected: Revision,
        value: Bytes,
        deadline: Instant,
    ) -> Result<Revision, LedgerError> {
        let subject = async_nats::Subject::from(key.0.as_str());
        let headers = || Headers::new().with(EXPECTED_LAST_SUBJECT_SEQUENCE, &expected.0.to_string());
        let target = Target { stream: SENDS_BUCKET.id, subject: &subject };
        match self.store_once(target, headers, &value, deadline).await {
            Ok(stored) => Ok(Revision(stored.sequence())),
            Err(PublishError::WrongLastSequence) => Err(LedgerError::Conflict),
            Err(error) => Err(LedgerError::Write(error)),
        }
    }

    /// Reads an entry from the leader, so never an older state than an acked one; `None` if the key has no entry.
    ///
    /// # Errors
    /// [`LedgerError::Read`].
    pub async fn ledger_read(&self, key: &LedgerKey) -> Result<Option<Entry>, LedgerError> {
        use async_nats::jetstream::stream::LastRawMessageErrorKind;
        let fail = |error: Box<dyn std::error::Error + Send + Sync>| LedgerError::Read(error);
        let stream = self.jetstream.get_stream_no_info(SENDS_BUCKET.stream).await;
        let stream = stream.map_err(|error| fail(error.into()))?;
        match stream.get_last_raw_message_by_subject(&key.0).await {
            Ok(message) if Headers::read(message.headers.clone()).get(KV_OPERATION).is_some() => Ok(None),
            Ok(message) => Ok(Some(Entry { revision: Revision(message.sequence), value: message.payload })),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(fail(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/compatibility.md promises this form.
    #[test]
    fn a_key_is_the_same_in_every_version() {
        let key = LedgerKey::new(&ChannelId::parse("sales").unwrap(), &CommandId::parse("c-1").unwrap());
        assert_eq!(key.0, "$KV.imchannel_sends.sales.a6f7ef47ee8dc84af9056a3051ddc302");
    }
}
