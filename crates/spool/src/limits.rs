//! Limits of the spool.

use std::time::Duration;

/// Largest entry, in bytes: the largest webhook with its headers.
pub const ENTRY_BYTES_MAX: usize = 1024 * 1024 + 128 * 1024;
/// Most bytes of entries that wait for the writing thread.
pub const WAITING_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most bytes of one write and fsync, unless a single entry is larger.
pub const BATCH_BYTES: u64 = 4 * 1024 * 1024;
/// Largest segment, in bytes. What is acknowledged is removed in whole segments.
pub const SEGMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Smallest limit of a segment, in bytes.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// Number of segments that a full folder has at least, so that draining makes room early.
pub(crate) const SEGMENTS_MIN: u64 = 16;
/// Most sub-folders of a folder.
pub const FOLDERS_MAX: u32 = 1024;
/// Bytes of a segment that are read at a time. At least one record fits.
pub(crate) const CHUNK_BYTES: u64 = 2 * 1024 * 1024;
/// Delay between two attempts to use a disk that has failed.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_secs(1);
