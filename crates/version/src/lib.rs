//! The version of all programs, as `--version` and the first log line show it.
//!
//! Only the programs depend on this crate: its build script runs after each commit, and what depends on it is compiled
//! again then. Metrics have [`NUMBER`] alone, so that two builds of one version are one version to the alerts.

#[cfg(test)]
mod commit;

/// The version number, such as `0.1.0`.
pub const NUMBER: &str = env!("CARGO_PKG_VERSION");

/// The number with the commit and its date, such as `0.1.0 (af3e3f8 2026-11-27)`; `0.1.0 (debug build)` if the program is
/// not optimized, and the number alone if the commit was not known at the build.
pub const FULL: &str = env!("IMCHANNEL_FULL_VERSION");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_version_begins_with_the_number() {
        let rest = FULL.strip_prefix(NUMBER).unwrap();
        assert!(rest.is_empty() || (rest.starts_with(" (") && rest.ends_with(')')), "{FULL}");
    }
}
