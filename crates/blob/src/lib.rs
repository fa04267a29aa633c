//! The files of messages in Redis. Only this crate uses the Redis client library.
//!
//! A file is a plain string under the key `IMChannel:MultimediaMessage:ID`, as in older IMChannels. Its
//! metadata is in a hash beside it with the same expiry ([`meta`]). Files are read and written in windows, so
//! that neither Redis nor a service buffers a whole file ([`store`], [`upload`]). Operations that must read
//! and write in one step are functions inside Redis ([`functions`]). The settings of Redis are here ([`settings`]), so that
//! programs without files do not link its client.

mod options;
pub mod settings;
pub mod meta;
pub mod store;
pub mod upload;
pub mod inspect;
pub mod functions;
mod pending_fetches;

pub use meta::Meta;
pub use options::RedisOptions;
pub use store::{BlobError, BlobStore, Opened};
pub use upload::Upload;
