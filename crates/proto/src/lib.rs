//! The protobuf messages of imchannel, generated from `proto/imchannel/v1`. This crate holds nothing else.
//!
//! Every message implements [`prost::Message`] for the bus and serde's traits (proto3 JSON) for people and
//! tools. The `.proto` files are the contract and define the meaning of each field.
//!
//! # Examples
//! ```
//! use prost::Message;
//! use proto::v1::{ReportEvent, ReportStatus};
//!
//! let event = ReportEvent {
//!     message_id: "m-1".to_owned(),
//!     status: ReportStatus::Delivered.into(),
//!     ..ReportEvent::default()
//! };
//! let decoded = ReportEvent::decode(event.encode_to_vec().as_slice())?;
//! assert_eq!(decoded.status(), ReportStatus::Delivered);
//! # Ok::<(), prost::DecodeError>(())
//! ```

/// Package `imchannel.v1`.
pub mod v1 {
    #![allow(
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::too_many_lines,
        unreachable_pub,
        elided_lifetimes_in_paths,
        reason = "generated"
    )]
    include!(concat!(env!("OUT_DIR"), "/imchannel.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/imchannel.v1.serde.rs"));
}

/// The well-known type of every time in the messages.
pub use pbjson_types::Timestamp;

/// The compiled files as an encoded `google.protobuf.FileDescriptorSet`, for tools that decode without this
/// crate.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/imchannel.v1.descriptors"));
