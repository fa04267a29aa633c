//! Mistakes in the protocol, each of which must break a property.

/// The protocol with one mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Mutant {
    /// The ledger is written without the expectation of its last revision.
    NoExpectation,
    /// The intent is written after the call instead of before it.
    CallBeforeIntent,
    /// Neither the last check before a call nor the call's timeout counts the age of the intent.
    NoIntentAge,
    /// The timeout of a call counts by the monotonic clock alone, which a suspended machine stops.
    CallByOneClock,
    /// The last check before a call, and a decision without a call, ask for no lease.
    NoLease,
    /// Only the last check before a call asks for the lease, a decision without a call does not.
    DecisionWithoutLease,
    /// The lease counts by the monotonic clock alone.
    LeaseByOneClock,
    /// The command is acknowledged before its result is stored.
    AckBeforeResult,
    /// The result is stored before the ledger has the outcome.
    ResultBeforeLedger,
    /// A message is sent again as soon as its log does not show it, without waiting for `resend_unknown_after`.
    ResendWithoutTime,
    /// A message that was sent again may be sent again once more.
    ResendTwice,
    /// A message that the log does not show counts as never sent.
    NotFoundIsNotSent,
    /// A call of another process is looked up as if it had ended.
    NoTimeoutOfOthers,
    /// The time at which an own call ended counts for the call of another process that is found later.
    EndOfAnotherCall,
    /// A call whose response was lost counts as one without an effect.
    UnknownIsNotSent,
    /// A read-back takes the write of another process for its own.
    NoToken,
    /// A redelivered command is sent without reading the ledger after a conflict.
    ConflictIsWritten,
    /// A rejection of a message that was sent again counts for the first call too.
    RejectedAfterResend,
    /// A command is answered as expired by its deadline alone, without its ledger entry.
    ExpiryWithoutLedger,
    /// Every command whose id has an entry counts as a duplicate of another one.
    EveryoneIsDuplicate,
    /// Result and context are removed from the entry of an erased customer before the result is stored.
    BlankBeforeResult,
    /// The entry of an erased customer is removed instead of its result and context.
    ErasedEntry,
    /// A message that the log does not show is looked up until it does.
    LookUpWithoutEnd,
}
