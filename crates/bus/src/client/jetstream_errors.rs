//! What errors of the client library mean.

use async_nats::jetstream;

/// Whether the server responds that there is no such consumer.
pub(crate) fn is_missing(error: &jetstream::context::ConsumerInfoError) -> bool {
    use jetstream::context::ConsumerInfoErrorKind::{JetStream, NotFound};
    match error.kind() {
        NotFound => true,
        JetStream(inner) => inner.error_code() == jetstream::ErrorCode::CONSUMER_NOT_FOUND,
        _ => false,
    }
}
