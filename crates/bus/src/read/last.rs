//! Reads the newest message of a subject, for tools and observers.

use async_nats::jetstream::stream::LastRawMessageErrorKind;

use crate::client::connect::Bus;
use crate::consume::delivery::Delivery;
use crate::read::messages::ReadError;
use crate::schema::subject::Subject;

/// The newest message that its stream still holds of a subject; `None` if it holds none.
///
/// The user needs `$JS.API.STREAM.MSG.GET.{stream}`, and no consumer is created.
///
/// # Errors
/// [`ReadError`] when the stream is missing or unavailable.
pub async fn last_of_subject(bus: &Bus, subject: &Subject) -> Result<Option<Delivery>, ReadError> {
    let name = subject.stream().name();
    let stream = bus.jetstream.get_stream_no_info(name).await.map_err(|error| ReadError::new(name, error))?;
    match stream.get_last_raw_message_by_subject(&subject.to_text()).await {
        Ok(message) => Ok(Some(Delivery::stored(message))),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(ReadError::new(name, error)),
    }
}
