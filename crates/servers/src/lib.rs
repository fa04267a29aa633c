//! Starts real servers as child processes, each in a separate folder. `imchannel up` and the tests use them.
//!
//! Dropping a server kills it. A server gets a free port unless a port is requested. It counts as started
//! only when the child process itself responds, not another server on the same port.

pub mod nats;
pub mod postgres;
pub mod redis;
mod program;

pub use nats::{NatsOptions, NatsServer};
pub use postgres::PostgresServer;
pub use program::StartError;
pub use redis::{RedisOptions, RedisServer};
