//! Reads the body of an authenticated webhook, with limits on size and time.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::body_memory::BodyMemory;
use crate::response::Rejection;

/// The length that the head announces; `None` if it announces none.
pub(crate) fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Fewest bytes that an incomplete body counts for: the size of its connection's buffer and of its first
/// buffer. So a sender that announces bodies and sends nothing can have only as many bodies in progress as
/// fit into its channel's share.
const UNFINISHED_BYTES_MIN: usize = 16 * 1024;

/// Reads a body of at most `limit` bytes within `time_max`. Memory is allocated as bytes arrive, not as they
/// are announced. A body that arrives in one piece is not copied.
///
/// # Errors
/// [`Rejection::BodyTooLarge`], [`Rejection::ChannelOverloaded`] and [`Rejection::Overloaded`] (the caller must
/// still discard the rest of the body), [`Rejection::BodyTooSlow`] or [`Rejection::BodyBroken`].
pub(crate) async fn read(
    body: &mut Body,
    limit: usize,
    time_max: Duration,
    memory: &mut BodyMemory<'_>,
) -> Result<Bytes, Rejection> {
    match timeout(time_max, read_all(body, limit, memory)).await {
        Ok(read) => read,
        Err(_) => Err(Rejection::BodyTooSlow),
    }
}

async fn read_all(body: &mut Body, limit: usize, memory: &mut BodyMemory<'_>) -> Result<Bytes, Rejection> {
    memory.resize(UNFINISHED_BYTES_MIN)?;
    let Some(first) = next_data(body).await? else {
        memory.resize(0)?;
        return Ok(Bytes::new());
    };
    if first.len() > limit {
        return Err(Rejection::BodyTooLarge);
    }
    if body.is_end_stream() {
        memory.resize(first.len())?;
        return Ok(first);
    }
    // Never reserve more than the length that the head announced.
    let most = body.size_hint().exact().and_then(|rest| usize::try_from(rest).ok());
    let most = most.map_or(limit, |rest| first.len().saturating_add(rest).min(limit));
    let mut whole = BytesMut::new();
    let mut next = Some(first);
    while let Some(data) = next {
        let length = whole.len() + data.len();
        if length > limit {
            return Err(Rejection::BodyTooLarge);
        }
        if length > whole.capacity() {
            let capacity = (2 * length).max(UNFINISHED_BYTES_MIN).min(most.max(length));
            memory.resize(capacity.max(UNFINISHED_BYTES_MIN))?;
            let mut larger = BytesMut::with_capacity(capacity);
            larger.extend_from_slice(&whole);
            whole = larger;
        }
        whole.extend_from_slice(&data);
        next = next_data(body).await?;
    }
    memory.resize(whole.capacity())?;
    Ok(whole.freeze())
}

/// The next piece; `None` at the end. Trailers are ignored.
async fn next_data(body: &mut Body) -> Result<Option<Bytes>, Rejection> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Rejection::BodyBroken)?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
