//! The commands, one file or folder each. `doctor` has a folder beside this one.

pub(crate) mod channel;
pub(crate) mod completions;
pub(crate) mod deadletter;
pub(crate) mod dev;
pub(crate) mod erase;
pub(crate) mod health;
pub(crate) mod lanes;
pub(crate) mod media;
pub(crate) mod replay;
pub(crate) mod secrets;
pub(crate) mod send;
pub(crate) mod setup;
pub(crate) mod streams;
pub(crate) mod tail;
pub(crate) mod top;
pub(crate) mod trace;
