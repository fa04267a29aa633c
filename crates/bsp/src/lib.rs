//! All knowledge of imchannel about the BSPs (business solution providers), as pure functions.
//!
//! Each BSP has a folder with the same file names: `mod.rs` (its profile and its [`Bsp`] implementation),
//! `credential.rs` (the credential of its webhooks), `report.rs` and `message.rs` (its bodies, parsed into
//! `imchannel.v1` events), and `notice.rs` or `notification.rs` for its other events. A BSP that can send
//! also has `send.rs` (requests) and `answer.rs` (the meaning of its responses). [`command`] defines which
//! commands may be sent, [`media`] which files, and [`web_url`] which URLs are valid. Only [`registry`] lists
//! the BSPs. To add a BSP, write its folder and its line there; no service changes.
//!
//! This crate does no I/O, reads no clock and has no state: functions take bytes and `now`, and return
//! values. Storing, publishing and retrying are left to the services.

pub mod ids;
pub mod provider;
pub mod registry;
pub mod secret_reference;
pub mod parsed;
mod collector;
mod item_ranges;
mod notice;
pub mod event_id;
pub mod text;
pub mod time;
pub mod json;
pub mod form;
pub mod utf8;
mod repair;
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

pub use ids::{BspId, ChannelId, CommandId, InvalidChannelId, NO_BSP, RESERVED_CHANNEL_IDS, UNKNOWN_CHANNEL};
pub use item_ranges::ItemRanges;
pub use parsed::{ITEMS_MAX, Item, Outcome, Parsed, RejectedItem, Unrecognized, Webhook};
pub use provider::{Bsp, CredentialForm, Profile, SettingsContext, SignedRequest, WebhookRetries};
