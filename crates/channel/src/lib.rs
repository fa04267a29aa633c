//! A channel: one WhatsApp number of one tenant at one BSP.
//!
//! An operator describes channels in a TOML file ([`file`](mod@file)). The registry stores each channel as a
//! record without secrets ([`record`]). The services keep channels in memory ([`Channel`], [`Channels`]), and may
//! store them as one document for a start without the registry ([`snapshot`]).
//! Crate `bus` stores and watches the registry; crate `bsp` defines the settings of each BSP.

pub mod secret;
pub mod credential;
pub mod file;
pub mod record;
pub mod channels;
pub mod snapshot;

pub use channels::{Channel, Channels, Signature};
pub use credential::{CredentialKey, CredentialKeyTooShort, Credentials};
pub use record::{InvalidRecord, Record};
pub use secret::{Secret, SecretError, Secrets};
