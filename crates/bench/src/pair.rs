//! A baseline program and imchannel, measured in turns.

/// Two measurements that were made one after the other.
#[derive(Debug)]
pub(crate) struct Pair<T> {
    pub(crate) baseline: T,
    pub(crate) ours: T,
}
