//! The ledger entry of a command, and the limit of concurrent writes. The bucket itself is in `bus::ledger`.

pub(crate) mod command_key;
pub(crate) mod compact;
pub(crate) mod record;
pub(crate) mod store_limit;
mod stored;

/// Returns a random token that identifies one write.
pub(crate) fn token() -> String {
    format!("{:016x}", fastrand::u64(..))
}
