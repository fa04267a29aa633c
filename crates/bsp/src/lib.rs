//! Everything imchannel knows about the BSPs (business solution providers), as pure functions.
//!
//! One folder holds one BSP, with the same file names in each: `mod.rs` (its profile and its [`Bsp`]
//! implementation), `credential.rs` (what its webhooks present), `report.rs` and `message.rs` (its bodies, read
//! into `imchannel.v1` events), `notice.rs` or `notification.rs` where it tells more than those; for a BSP that we send through also `send.rs` (requests) and `answer.rs` (what its
//! answers mean). [`command`] says what may be sent at all, [`media`] which files, [`web_url`] which addresses can exist. [`registry`] is the only list that names them. To add a BSP, write its folder
//! and its line there; no service changes.
//!
//! Nothing here does I/O, reads a clock or keeps state: bytes and `now` come in, values go out. Storing,
//! publishing and retrying are the services' work.

pub mod ids;
pub mod contract;
pub mod registry;
pub mod secret_reference;
pub mod parsed;
mod item_ranges;
mod notice;
pub mod event_id;
pub mod text;
pub mod time;
pub mod json;
pub mod form;
pub mod utf8;
pub mod unread;
mod whatsapp;
pub mod mask;
pub mod toml_table;
pub mod web_url;
pub mod media;
pub mod command;
pub mod sending;

mod infobip;
mod koomessage;
mod gupshup;
mod twilio;

pub use contract::{Bsp, CredentialForm, Profile, SettingsContext, SignedRequest};
pub use ids::{BspId, ChannelId, CommandId, InvalidChannelId, NO_BSP, RESERVED_CHANNEL_IDS, UNKNOWN_CHANNEL};
pub use item_ranges::ItemRanges;
pub use parsed::{ITEMS_MAX, Item, Outcome, Parsed, Reject, Unrecognised, Webhook};
