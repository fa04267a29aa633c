//! Finds a stream on the server.

use async_nats::jetstream;

use crate::client::connect::Bus;
use crate::provision::error::{ProvisionError, stream_error};
use crate::schema::stream_id::StreamId;

/// Returns a stream with its state; `None` if it does not exist.
pub(crate) async fn find_stream(
    bus: &Bus,
    id: StreamId,
) -> Result<Option<jetstream::stream::Stream>, ProvisionError> {
    use jetstream::ErrorCode;
    use jetstream::context::GetStreamErrorKind::JetStream;
    match bus.jetstream.get_stream(id.name()).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            JetStream(inner) if inner.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            _ => Err(stream_error(id.name(), error)),
        },
    }
}
