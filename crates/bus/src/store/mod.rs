//! What is stored by key: the channels, the ledger of sends, the leases of lanes.

pub mod ledger;
pub mod lease;
pub mod registry;
