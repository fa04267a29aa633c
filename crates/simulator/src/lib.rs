//! The other side: BSPs that post webhooks as the real ones do, with their batches, their patience, their ways to log
//! in and their repeats, and a ledger of everything that was answered 200.
//!
//! What happens is made up first, in no BSP's language ([`traffic`]); a BSP's file puts it into that BSP's words and
//! says which event must come of it (`infobip`, `koomessage`, `gupshup`, `twilio`). None of it uses the gateway's
//! parsers, so that the comparison proves something. [`run`] posts, [`ledger`] compares.
//!
//! The other way round, [`omni`] is what the gateway sends to: Infobip's API, its customers and its moods.
//!
//! Reading the events off the bus is left to the caller: this crate knows HTTP and no NATS.

pub mod plan;
pub mod target;
mod happening;
pub mod traffic;
mod sender;
mod expected;
mod infobip;
mod infobip_notice;
mod koomessage;
mod gupshup;
mod twilio;
mod post;
pub mod tally;
pub mod ledger;
pub mod run;
pub mod omni;

pub use expected::Expected;
pub use ledger::{Ledger, LedgerLimits, Seen, Verdict};
pub use plan::{Mix, Plan, RunTag, TwilioRetries};
pub use run::Simulator;
pub use tally::Tally;
pub use target::Target;
pub use traffic::Traffic;
