//! What streams need, or can have, with the versions of the servers.

use std::collections::BTreeSet;

use crate::client::connect::Bus;
use crate::client::versions::ServerVersion;

/// First version of nats-server that knows atomic batches (NATS ADR-50). They are used from a later version on
/// ([`crate::publish`]), so that nothing has to be set up again after an upgrade.
const FIRST_WITH_BATCHES: ServerVersion = ServerVersion::new(2, 12, 0);

/// First version of nats-server that lets a stream without a limit of its own have 1,000 consumers (`default_max_consumers`, pull request
/// 8337). 2.10 and earlier refuse to change the limit of a stream (10052), and keep what 2.15 has set (tried).
const FIRST_WITH_CONSUMER_LIMIT: ServerVersion = ServerVersion::new(2, 15, 0);
/// Most consumers of a stream. A channel has two on COMMANDS, and its sender two on EVENTS.
const CONSUMERS_MAX: i32 = 1_000_000;

/// What follows from the oldest of the servers: one that does not know a setting would refuse it or ignore it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerNeeds {
    /// Whether streams can allow atomic batches.
    pub(super) are_batches_known: bool,
    /// The limit of consumers that a stream needs; `None` where a stream without a limit has room for any number.
    pub(super) consumers_max: Option<i32>,
}

impl ServerNeeds {
    /// Asks the servers.
    pub(super) async fn of(bus: &Bus) -> Self {
        // On the heap, so that the future of an installation stays small.
        let versions = Box::pin(bus.server_versions(&BTreeSet::new())).await;
        let oldest = versions.into_values().min();
        Self {
            are_batches_known: oldest.is_some_and(|version| version >= FIRST_WITH_BATCHES),
            consumers_max: oldest
                .filter(|version| *version >= FIRST_WITH_CONSUMER_LIMIT)
                .map(|_| CONSUMERS_MAX),
        }
    }
}
