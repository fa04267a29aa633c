//! What a call shows about its account.

use std::time::Duration;

/// What a call shows about the state of its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    /// The account accepts messages.
    Accepted,
    /// The account responds to messages.
    Answered,
    /// The BSP does not respond, or fails. Several of these in a row pause the lane.
    Failed(&'static str),
    /// The account refuses calls regardless of their content. The lane is paused immediately.
    Refused(AccountRefusal),
    /// Too many calls (429). The lane is paused for the `Retry-After` of the BSP.
    RateLimited {
        /// `Retry-After` of the response, if there is one.
        after: Option<Duration>,
        /// See [`AccountRefusal::is_alone`]. The lane obeys `Retry-After` in either case.
        is_alone: bool,
    },
    /// The call shows nothing about the account.
    Neutral,
}

/// A call that had no effect, for a reason other than its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountRefusal {
    /// The reason, for people.
    pub(crate) why: String,
    /// `Retry-After` of the BSP or of a proxy in front of it, if there is one.
    pub(crate) after: Option<Duration>,
    /// Whether other commands were accepted since this one was refused before. Then the account works, and only this
    /// command waits.
    pub(crate) is_alone: bool,
}
