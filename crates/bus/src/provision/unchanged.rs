//! Whether a stream or bucket has to be updated, and the differences of a bucket that the operator sees.

use async_nats::jetstream::stream::Config;

use crate::stream_id::StreamId;

use super::{Differences, Object, Scope, Setting, compare_configs};

/// Whether an update would change nothing. Then none is made: after a restart and an update, nats-servers up to 2.10
/// report the time of that restart as the creation time of the stream ([`marks`](crate::marks)).
pub(super) fn is_as_wanted(id: StreamId, found: &Config, wanted: &Config) -> bool {
    let mut differences = Differences::of(Object::Stream(id));
    compare_configs(found, wanted, Scope::Contract, &mut differences);
    compare_bucket(found, wanted, &mut differences);
    // The server chooses a bucket's window, so none is compared.
    let is_window_same =
        wanted.duplicate_window.is_zero() || found.duplicate_window == wanted.duplicate_window;
    differences.into_vec().is_empty()
        && is_window_same
        && found.num_replicas == wanted.num_replicas
        && found.description == wanted.description
        && found.allow_direct == wanted.allow_direct
}

/// Compares settings of a bucket for the operator. None of them keeps a service from working, so that services of two
/// versions can run at the same time while buckets are changed.
pub(super) fn compare_bucket(found: &Config, wanted: &Config, differences: &mut Differences) {
    let mut compare =
        |setting: Setting, found: String, wanted: String| differences.compare(setting, found, wanted);
    compare(Setting::MaxBytes, found.max_bytes.to_string(), wanted.max_bytes.to_string());
    compare(Setting::DenyDelete, found.deny_delete.to_string(), wanted.deny_delete.to_string());
    compare(Setting::DenyPurge, found.deny_purge.to_string(), wanted.deny_purge.to_string());
}
