//! Consuming: the worker loop for a whole stream, pulls for a lane, and the message that both deliver.

pub(crate) mod delivery;
pub mod pull;
pub mod worker;
