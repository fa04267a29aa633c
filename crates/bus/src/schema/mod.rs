//! Names and forms of what is stored: streams, buckets, subjects, headers. Nothing here talks to the server.

pub mod headers;
pub mod ledger_size;
pub mod replay;
pub(crate) mod stream_id;
pub mod streams;
pub mod subject;
pub(crate) mod timestamps;
