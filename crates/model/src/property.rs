//! What must hold in every state.

use std::fmt;

/// A property of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Property {
    /// The BSP accepts at most one message for a command id; a second one only as the channel's `resend_unknown_after` allows.
    NeverTwice,
    /// A message is sent again once at most, after its time, and while no earlier call of it can still arrive.
    ResentByTheRule,
    /// A request is written only while the ledger has its intent.
    CallHasIntent,
    /// No process replaces the intent of another one's call before the timeout of that call.
    CallIsLeftAlone,
    /// A command is acknowledged only when its result is stored, or another command with its id and content has or will get one.
    NeverLost,
    /// All results that are stored for a command are the same.
    OneResult,
    /// ACCEPTED means that the BSP has accepted the message, REJECTED and EXPIRED that it has not and will not. A report of the BSP
    /// therefore never contradicts a result.
    TrueResult,
    /// From every state every command can come to its end without another fault.
    CanEnd,
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NeverTwice => "no message is sent twice",
            Self::ResentByTheRule => "a message is sent again by the rule only",
            Self::CallHasIntent => "a call is made only while the ledger has its intent",
            Self::CallIsLeftAlone => "no process decides about a call that another one is making",
            Self::NeverLost => "no command is lost",
            Self::OneResult => "a command has one result",
            Self::TrueResult => "a result is true",
            Self::CanEnd => "every command can end",
        })
    }
}
