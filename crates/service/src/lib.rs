//! The common parts of every process of imchannel: settings that report every error, log lines, metrics and
//! traces, the admin port, an HTTP server that resists slow clients, and a graceful stop.
//!
//! It reads how to connect to the bus and to Redis. It leaves BSPs, streams and messages to other crates.

pub mod settings;
pub mod words;
pub mod common;
pub mod example_secrets;
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
pub mod drain_body;
pub mod timeouts;
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
pub use process::ServiceContext;
pub use readiness::Readiness;
pub use settings::{ConfigErrors, ConfigReader, Setting};
pub use trace::{Span, SpanTracer};
