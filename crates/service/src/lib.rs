//! The common parts of every process of imchannel: settings that report every error, log lines, metrics and
//! traces, the admin port, an HTTP server that resists slow clients, and a graceful stop.
//!
//! It reads how to connect to the bus. It leaves BSPs, streams, messages and Redis to other crates.

pub mod settings;
pub mod words;
pub mod example_secrets;
pub mod terminal;
pub mod log;
pub mod logging;
pub mod trace;
pub mod histogram;
pub mod readiness;
mod exposition;
mod process_metrics;
pub mod admin;
pub mod health;
mod files;
pub mod memory;
pub mod priority;
pub mod http;
pub mod tls;
pub mod units;
pub mod known;
pub mod nats;
pub mod secrets;
pub mod process_settings;
pub mod context;
pub mod process;

pub use context::{ProcessContext, ServiceContext};
pub use histogram::Histogram;
pub use http::{Addresses, Caller, addresses, caller, drain_body, failures, limits, timeouts};
pub use logging::LogPayloads;
pub use process_settings::ProcessSettings;
pub use readiness::Readiness;
pub use settings::{ConfigErrors, ConfigReader, Setting};
pub use trace::{Span, SpanTracer};
