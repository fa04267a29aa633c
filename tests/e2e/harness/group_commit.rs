//! Whether the services of a run of the tests store messages in batches: `IMCHANNEL_GROUP_COMMIT=on cargo test …`, otherwise the default.

use bus::{BusOptions, GroupCommit};

/// Setting of the services, and variable of a run of the tests.
pub(super) const VARIABLE: &str = "IMCHANNEL_GROUP_COMMIT";

/// What the run has chosen.
fn of_this_run() -> GroupCommit {
    let Ok(value) = std::env::var(VARIABLE) else { return GroupCommit::DEFAULT };
    GroupCommit::parse(&value).unwrap_or_else(|| panic!("{VARIABLE}={value}: expected auto, on or off"))
}

/// Options of a connection, as a service of this run has them.
pub(crate) fn bus_options(name: &'static str, url: impl Into<String>) -> BusOptions {
    BusOptions { group_commit: of_this_run(), ..BusOptions::new(name, url) }
}
