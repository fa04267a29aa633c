//! Real servers as child processes in folders of their own: what `imchannel up` and the tests run against.
//!
//! A server that is dropped is killed. Ports are free ones unless one is asked for, and a server counts as started
//! only when it is the child itself that answers.

pub mod nats;
pub mod redis;
mod program;

pub use nats::{NatsOptions, NatsServer};
pub use program::StartError;
pub use redis::{RedisOptions, RedisServer};
