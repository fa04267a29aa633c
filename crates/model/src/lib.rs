//! A model of the send protocol: two replicas of the sender work the same commands, with every fault that the protocol must survive,
//! in every order. [`explore`] visits every state that the [`Bounds`] allow.
//!
//! What a step decides is decided by the sender's own functions ([`sender::protocol`]). The model adds what is around them: the
//! conditional writes of the ledger ([`ledger`]), the lease, the stream, the BSP with its message log, and time. Each [`Action`]
//! names the function that it stands for.
//!
//! A [`Mutant`] is the protocol with one mistake. Each breaks a [`Property`], which shows that the property can be broken.
//! docs/send-protocol.md says what the model covers, what it leaves out, and how long larger runs take.

pub mod action;
pub mod bounds;
mod bsp_side;
mod call_steps;
pub mod command;
mod command_steps;
mod entry;
mod erasing;
mod expiry;
mod job;
mod ledger;
mod look_up_steps;
pub mod mutant;
mod next;
mod outcomes;
pub mod property;
mod replica;
pub mod search;
mod stages;
mod steps;
mod time;
pub mod world;
mod write_steps;

pub use crate::action::Action;
pub use crate::bounds::{Bounds, Faults, MessageLog, Second};
pub use crate::mutant::Mutant;
pub use crate::property::Property;
pub use crate::steps::Protocol;

/// Visits every state that the bounds allow, or the first `states_max`.
pub fn explore(bounds: Bounds, states_max: usize) -> search::Findings<Property, Action> {
    search::explore(&Protocol { bounds }, states_max)
}
