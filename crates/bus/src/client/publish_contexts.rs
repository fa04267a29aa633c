//! The contexts of the client library that publish, each with another timeout of the ack.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;

/// Most publishes of a process that wait for their acks, for each ack timeout.
const ACKS_IN_FLIGHT_MAX: usize = 8192;
/// Time for which an abandoned publish still counts as in flight.
const ABANDONED_ACK_TIMEOUT: Duration = Duration::from_secs(1);

/// Ack timeouts of publishes in milliseconds, longest first: slightly less than half of each deadline, and the shortest
/// attempt.
///
/// The client keeps a timer for each publish, with the timeout of its context. A single context would need a second timer
/// with the publish's own timeout: 28,900 instructions for a webhook of 700 bytes instead of 27,300, 5 % (callgrind, release
/// build without LTO, 16 publishes at a time, the difference of 8,000 and 1,600 publishes).
const ACK_TIMEOUTS_MS: [u64; 5] = [5900, 3900, 2400, 950, ACK_TIMEOUT_MIN_MS];
/// Shortest ack timeout of an attempt, in milliseconds.
pub(crate) const ACK_TIMEOUT_MIN_MS: u64 = 250;

/// Contexts to publish with, by their ack timeout.
#[derive(Clone)]
pub(crate) struct PublishContexts([Context; ACK_TIMEOUTS_MS.len()]);

impl PublishContexts {
    /// Creates the contexts of a connection.
    pub(super) fn new(client: &Client) -> Self {
        Self(ACK_TIMEOUTS_MS.map(|timeout_ms| context(client, Duration::from_millis(timeout_ms))))
    }

    /// Returns the context with the longest timeout within `limit`, or the shortest of all.
    pub(crate) fn within(&self, limit: Duration) -> &Context {
        &self.0[position_within(limit)]
    }

    /// Returns the context with the shortest timeout beyond `limit`, or the longest of all.
    pub(crate) fn beyond(&self, limit: Duration) -> &Context {
        let is_beyond = |timeout_ms: &u64| Duration::from_millis(*timeout_ms) > limit;
        &self.0[ACK_TIMEOUTS_MS.iter().rposition(is_beyond).unwrap_or_default()]
    }
}

/// Returns the index of the longest timeout within `limit`, or of the shortest.
fn position_within(limit: Duration) -> usize {
    let place = ACK_TIMEOUTS_MS.iter().position(|timeout_ms| Duration::from_millis(*timeout_ms) <= limit);
    place.unwrap_or(ACK_TIMEOUTS_MS.len() - 1)
}

pub(super) fn context(client: &Client, timeout: Duration) -> Context {
    ContextBuilder::new()
        .timeout(timeout)
        .ack_timeout(ABANDONED_ACK_TIMEOUT)
        .max_ack_inflight(ACKS_IN_FLIGHT_MAX)
        .backpressure_on_inflight(false)
        .build(client.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_deadline_leaves_time_for_two_attempts() {
        // The time left of a deadline when the first attempt begins is always slightly less than the whole.
        let began = Duration::from_millis(20);
        for bsp in bsp::registry::REGISTRY {
            let half = (bsp.profile().store_deadline - began) / 2;
            let patience = Duration::from_millis(ACK_TIMEOUTS_MS[position_within(half)]);
            assert!(patience <= half && patience * 5 >= half * 4, "{:?}: {patience:?}", bsp.profile().id);
        }
        assert_eq!(ACK_TIMEOUTS_MS[position_within(Duration::ZERO)], ACK_TIMEOUT_MIN_MS);
    }
}
