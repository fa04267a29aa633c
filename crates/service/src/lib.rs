//! What every process of imchannel needs and none should write twice: settings that report every fault at once,
//! log lines, metrics and traces, the admin port, an HTTP server that slow senders cannot wear out, and a stop that
//! loses nothing.
//!
//! It reads how to reach the bus and Redis, and knows no BSP, no stream and no message.

pub mod settings;
pub mod words;
pub mod common;
pub mod examples;
pub mod terminal;
pub mod log;
pub mod trace;
pub mod histogram;
pub mod readiness;
mod exposition;
mod process_metrics;
pub mod admin;
pub mod health;
pub mod addresses;
pub mod caller;
mod connections;
mod in_flight;
pub mod limits;
pub mod failures;
mod files;
pub mod http;
pub mod tls;
pub mod discard;
pub mod patience;
mod linger;
mod requests;
mod port;
pub mod units;
pub mod known;
pub mod process;

pub use addresses::Addresses;
pub use caller::Caller;
pub use common::{Common, LogPayloads};
pub use histogram::Histogram;
pub use process::Context;
pub use readiness::Readiness;
pub use settings::{Faults, Reader, Setting};
pub use trace::{Span, Tracing};
