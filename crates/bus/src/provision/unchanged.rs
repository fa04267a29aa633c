//! Whether a stream or bucket has to be updated at all, and what an operator is told of a bucket.

use async_nats::jetstream::stream::Config;

use super::{Difference, Scope, compare_configs};

/// Whether an update would change nothing. None is made then: after a restart and an update, nats-servers up to 2.10 take the time of
/// that restart for the time at which the stream was made ([`marks`](crate::marks)).
pub(super) fn is_as_wanted(found: &Config, wanted: &Config) -> bool {
    let mut differences = Vec::new();
    compare_configs(String::new(), found, wanted, Scope::Contract, &mut differences);
    compare_bucket("", found, wanted, &mut differences);
    // A bucket's window is the server's own choice: none is wanted.
    let is_window_same =
        wanted.duplicate_window.is_zero() || found.duplicate_window == wanted.duplicate_window;
    differences.is_empty()
        && is_window_same
        && found.num_replicas == wanted.num_replicas
        && found.description == wanted.description
        && found.allow_direct == wanted.allow_direct
}

/// What an operator is told of a bucket. None of it keeps a service from working, so that services of two versions run side
/// by side while buckets are changed.
pub(super) fn compare_bucket(of: &str, found: &Config, wanted: &Config, differences: &mut Vec<Difference>) {
    let mut compare = |setting, found: String, wanted: String| {
        if found != wanted {
            differences.push(Difference { of: of.to_owned(), setting, found, wanted });
        }
    };
    compare("max_bytes", found.max_bytes.to_string(), wanted.max_bytes.to_string());
    compare("deny_delete", found.deny_delete.to_string(), wanted.deny_delete.to_string());
    compare("deny_purge", found.deny_purge.to_string(), wanted.deny_purge.to_string());
}
