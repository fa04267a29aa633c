//! Simulated BSPs: they post webhooks like the real ones, with their batches, timeouts, authentication and retries, and
//! an oracle records every webhook that was answered 200.
//!
//! [`traffic`] makes up what happens, independent of the format of a BSP. The file of a BSP encodes it in that BSP's
//! format and defines the expected event (`infobip`, `koomessage`, `gupshup`, `twilio`). They do not use the gateway's
//! parsers, so that the comparison is meaningful. [`run`] posts, [`oracle`] compares.
//!
//! In the other direction, [`infobip_api`] is the API that the gateway sends to: Infobip's API with its customers and
//! configurable faults.
//!
//! The caller reads the events from the bus: this crate uses HTTP and no NATS.

pub mod plan;
mod endpoint;
pub mod target;
mod event;
pub mod traffic;
mod bsp_client;
mod expected;
mod infobip;
mod koomessage;
mod gupshup;
mod twilio;
mod registry;
mod delivery;
pub mod stats;
pub mod oracle;
pub mod run;
pub mod infobip_api;

pub use expected::Expected;
pub use oracle::{Observed, Oracle, OracleLimits, Verdict};
pub use plan::{Mix, Plan, RunTag, TwilioRetries};
pub use run::Simulator;
pub use stats::Stats;
pub use target::Target;
pub use traffic::Traffic;
