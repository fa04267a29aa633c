//! Streams whose sequence has gone back: the guard that finds them in a service, the marks by which it recognizes a bucket,
//! and the repair by an operator. [`crate::state::sequence`] holds what the guard has found.

pub mod guard;
mod marks;
pub mod repair;
