//! What a process knows of its streams: how fast they acknowledge, whether their sequences can be trusted, how much room
//! the dead letters of a channel have. [`Bus`](crate::Bus) owns one of each. Nothing here talks to the server.

pub mod adaptive_limit;
pub(crate) mod dead_letter_quotas;
pub(crate) mod gathering;
pub(crate) mod group_commit_metrics;
pub(crate) mod in_flight;
pub(crate) mod least_time;
pub(crate) mod sequence;
pub(crate) mod stream_fill;
