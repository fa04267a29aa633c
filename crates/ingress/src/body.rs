//! Reading the body of a webhook that is admitted, under limits of size and time.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::answer::Refusal;
use crate::budget::Share;

/// The length that the head announces, if it does.
pub(crate) fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a body of at most `limit` bytes within `patience`. One that arrives in one piece is not copied.
///
/// # Errors
/// [`Refusal::BodyTooLarge`] and [`Refusal::Overloaded`] (the rest is still to be discarded),
/// [`Refusal::BodyTooSlow`] or [`Refusal::BodyBroken`].
pub(crate) async fn read(
    body: &mut Body,
    limit: usize,
    patience: Duration,
    memory: &mut Share<'_>,
) -> Result<Bytes, Refusal> {
    match timeout(patience, read_all(body, limit, memory)).await {
        Ok(read) => read,
        Err(_) => Err(Refusal::BodyTooSlow),
    }
}

async fn read_all(body: &mut Body, limit: usize, memory: &mut Share<'_>) -> Result<Bytes, Refusal> {
    let Some(first) = next_data(body).await? else {
        return Ok(Bytes::new());
    };
    if first.len() > limit {
        return Err(Refusal::BodyTooLarge);
    }
    if !memory.grow_to(first.len()) {
        return Err(Refusal::Overloaded);
    }
    if body.is_end_stream() {
        return Ok(first);
    }
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(0);
    let mut whole = BytesMut::with_capacity((first.len() + announced).min(limit));
    whole.extend_from_slice(&first);
    while let Some(data) = next_data(body).await? {
        if whole.len() + data.len() > limit {
            return Err(Refusal::BodyTooLarge);
        }
        if !memory.grow_to(whole.len() + data.len()) {
            return Err(Refusal::Overloaded);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// The next piece; `None` at the end. Trailers are passed over.
async fn next_data(body: &mut Body) -> Result<Option<Bytes>, Refusal> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::BodyBroken)?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
