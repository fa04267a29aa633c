//! The bus: NATS JetStream as imchannel uses it. The only crate that knows the client library.
//!
//! | subject | stream | who writes, who reads |
//! |---|---|---|
//! | `imchannel.webhook.{bsp}.{channel}` | WEBHOOKS | ingress, then durable `normalizer` |
//! | `imchannel.event.{report,message,send,media,account,customer}.{bsp}.{channel}` | EVENTS | normalizer, sender, media, then durable `aicc` |
//! | `imchannel.event.send.none.{channel or unknown}` | EVENTS | sender, then durable `aicc` |
//! | `imchannel.command.{send,bulk}.{channel}` | COMMANDS | the AICC back end, then durables `send-{channel}`, `bulk-{channel}` |
//! | `imchannel.deadletter.{webhook,command}.{channel or unknown}` | DEADLETTERS | normalizer, sender, then the operator |
//! | bucket `imchannel_channels` | (KV) | the operator, then every service |
//! | bucket `imchannel_sends` | (KV) | sender: the ledger |
//! | bucket `imchannel_lanes` | (KV) | sender: leases of lanes |
//! | bucket `imchannel_marks` | (KV) | sender: last known sequences of ledger and registry |
//!
//! Other crates decide on the contents: this crate takes bytes and typed addresses, reports a message as stored only
//! when JetStream has acknowledged it, and passes messages to a handler that returns a verdict.

pub mod stream_id;
pub mod subject;
pub mod headers;
pub mod nkey;
pub mod users;
pub mod permission_errors;
pub mod connect;
pub mod streams;
pub mod difference;
pub mod provision;
pub mod needs;
pub mod readiness;
pub mod sequence;
pub mod publish;
mod dead_letter_quotas;
pub mod dead_letters;
pub mod adaptive_limit;
mod in_flight;
pub mod rate_limited_log;
mod timestamps;
pub mod delivery;
pub mod worker;
mod marks;
pub mod sequence_guard;
pub mod repair;
pub mod versions;
pub mod purge;
pub mod purger;
pub mod lag;
pub mod registry;
pub mod command_consumers;
pub mod pull;
pub mod orphans;
pub mod ledger;
pub mod ledger_size;
pub mod lease;
pub mod read;
pub mod message_store;
pub mod inspect;

pub use connect::{Bus, BusOptions, ConnectError};
pub use delivery::{Delivery, Disposition};
pub use headers::Headers;
pub use in_flight::InFlightMetrics;
pub use nkey::NkeySeed;
pub use permission_errors::{PermissionError, PermissionErrors};
pub use publish::{PublishError, Stored};
pub use stream_id::StreamId;
pub use subject::{EventKind, Origin, Priority, Subject};
pub use users::User;
