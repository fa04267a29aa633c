//! A command, and what the world outside the sender has seen of it.

/// What a result says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// ACCEPTED.
    Accepted,
    /// REJECTED.
    Rejected,
    /// EXPIRED.
    Expired,
    /// UNKNOWN.
    Unknown,
}

/// A command in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Command {
    /// Whether it was delivered to a lane.
    pub(crate) was_delivered: bool,
    /// Whether it was acknowledged.
    pub(crate) is_acked: bool,
    /// The result that is stored.
    pub(crate) result: Option<Verdict>,
    /// Number of messages that the BSP has accepted for it.
    pub(crate) accepted: u8,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Accepted => "ACCEPTED",
            Self::Rejected => "REJECTED",
            Self::Expired => "EXPIRED",
            Self::Unknown => "UNKNOWN",
        })
    }
}
