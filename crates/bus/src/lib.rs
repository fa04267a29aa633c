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
//!
//! | folder | holds | leaves to others |
//! |---|---|---|
//! | `schema` | names and forms: streams, subjects, headers | the server |
//! | `state` | what this process knows of its streams | the server |
//! | `client` | the connection | what is published and read over it |
//! | `consume` | the worker loop, the pulls of a lane | what a message means |
//! | `read` | reading for people and tools: nothing is acknowledged | who reads |
//! | `publish` | storing messages, and dead letters | what a message means |
//! | `store` | channels, ledger, leases | what an entry means |
//! | `purge` | how full streams are, and removing processed messages | which streams a service purges |
//! | `provision` | definitions on the server: create, compare, what a service needs | sizes, which the operator chooses |
//! | `sequences` | sequences that have gone back: guard and repair | the decision to accept a bucket |
//! | `erasure` | overwriting stored messages, requests to the owner of a lane | which messages, and what the owner does |
//! | `admin` | state and backlog for tools, consumers of lanes | judgment |
//!
//! Each folder uses only those above it.

mod admin;
mod client;
mod consume;
pub mod erasure;
pub mod provision;
pub mod publish;
pub mod purge;
pub mod rate_limited_log;
pub mod read;
mod schema;
mod sequences;
mod state;
mod store;

pub use admin::{command_consumers, inspect, lag, orphans};
pub use client::connect::Bus;
pub use client::nkey::NkeySeed;
pub use client::options::{BusOptions, ConnectError, GroupCommit};
pub use client::permission_errors::{PermissionError, PermissionErrors};
pub use client::users::User;
pub use client::versions;
pub use consume::delivery::{Delivery, Disposition};
pub use consume::{pull, worker};
pub use provision::{difference, needs, readiness};
pub use publish::{PublishError, Stored, dead_letters};
pub use purge::{fill, purger};
pub use read::message_store;
pub use schema::headers::Headers;
pub use schema::stream_id::StreamId;
pub use schema::subject::{EventKind, Origin, Priority, Subject};
pub use schema::{headers, ledger_size, replay, streams, subject};
pub use sequences::{guard as sequence_guard, repair};
pub use state::adaptive_limit;
pub use state::group_commit_metrics::BatchMetrics;
pub use state::in_flight::InFlightMetrics;
pub use state::sequence::SequenceRegressedGauge;
pub use store::{lease, ledger, registry};
