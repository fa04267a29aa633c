//! The connection to NATS and what belongs to it: the user's key, permission errors, the versions of the servers.

pub(crate) mod away;
pub(crate) mod connect;
mod events;
pub(crate) mod jetstream_errors;
pub(crate) mod nkey;
pub(crate) mod options;
pub(crate) mod permission_errors;
pub(crate) mod publish_contexts;
pub(crate) mod reply_subjects;
pub(crate) mod users;
pub mod versions;
