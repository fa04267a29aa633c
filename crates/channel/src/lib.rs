//! What a channel is: one WhatsApp number of one tenant behind one BSP.
//!
//! It is described in a TOML file ([`file`](mod@file)), stored in the registry as a record without secrets ([`record`]), and
//! asked in memory by the services ([`Channel`], [`Channels`]). Storing and watching the registry is the bus's
//! work; what a BSP's own settings mean is said in crate `bsp`.

pub mod secret;
pub mod credential;
pub mod file;
pub mod record;
pub mod channels;

pub use channels::{Channel, Channels, Signature};
pub use credential::{CredentialKey, CredentialKeyTooShort, Credentials};
pub use record::{InvalidRecord, Record};
pub use secret::{Secret, SecretError, Secrets};
