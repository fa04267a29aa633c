//! The result of a command and its dead letter: what they say, and how they are published.

pub(crate) mod attempts;
pub(crate) mod dead_letter_reason;
pub(crate) mod outcome;
pub(crate) mod publish;
