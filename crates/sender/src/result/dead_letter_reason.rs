//! Why a command is a dead letter, in the words of the dead letter, the result and the metrics.

/// Why a command is a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterReason {
    /// It cannot be decoded. The text is the error.
    Malformed(String),
    /// It has no valid command id.
    NoCommandId,
    /// Its command id was already used for another message.
    ReusedCommandId,
    /// No lane reads its subject.
    NoSuchSubject,
    /// Its channel is not stored.
    NoChannel,
    /// Its channel has no account to send through.
    NoAccount,
    /// Decoding or processing it panics.
    Panicked,
}

impl DeadLetterReason {
    /// Returns the error code of the dead letter, from a fixed set.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::NoCommandId => "no_command_id",
            Self::ReusedCommandId => "reused_command_id",
            Self::NoSuchSubject => "no_such_subject",
            Self::NoChannel => "no_channel",
            Self::NoAccount => "no_account",
            Self::Panicked => "panicked",
        }
    }

    /// Returns the error code of the result.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::NoCommandId => "INVALID_COMMAND",
            Self::ReusedCommandId => "REUSED_COMMAND_ID",
            Self::NoSuchSubject => "NO_SUCH_SUBJECT",
            Self::NoChannel => "NO_CHANNEL",
            Self::NoAccount => "NO_ACCOUNT",
            Self::Panicked => "INTERNAL_FAULT",
        }
    }

    /// Returns a text for the back end's developers.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Malformed(reason) => reason,
            Self::NoCommandId => "missing or invalid field 'command_id'",
            Self::ReusedCommandId => {
                "'command_id' was already used for another message; publish it under a new id"
            }
            Self::NoSuchSubject => {
                "unknown subject; publish to imchannel.command.send.{channel} or imchannel.command.bulk.{channel}"
            }
            Self::NoChannel => {
                "the channel does not exist; apply it with `imchannel channel apply`, or correct the subject"
            }
            Self::NoAccount => "the channel has no account to send through",
            Self::Panicked => "an internal error of the gateway prevented the send",
        }
    }
}
