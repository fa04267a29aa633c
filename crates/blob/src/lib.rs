//! Files of messages, as they lie in Redis. The only crate that knows the client library.
//!
//! A file is a plain string under `IMChannel:MultimediaMessage:ID`, as older IMChannels wrote it; what is known of it lies
//! beside it in a hash with the same expiry ([`meta`]). It is read and written in windows, so that neither the server
//! nor whoever serves a file ever holds a whole one in a buffer ([`store`], [`upload`]). What has to be asked and written in one
//! step is a function inside Redis ([`functions`]).

mod options;
pub mod meta;
pub mod store;
pub mod upload;
pub mod inspect;
pub mod functions;
mod unfetched;

pub use meta::Meta;
pub use options::RedisOptions;
pub use store::{BlobError, BlobStore, Opened};
pub use upload::Upload;
