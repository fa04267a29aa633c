//! Reading bodies: under limits of size and time for a webhook that is admitted, and into the void for one that is
//! refused.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::answer::Refusal;
use crate::budget::Share;

/// How much of a refused body is read, so that its sender gets the answer and no broken pipe.
const DISCARDED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// And for how long.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);

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

/// Reads what is left of a refused body and throws it away, piece by piece. Says whether the connection can be used
/// again: not when some of the body is still to come.
///
/// A sender that waits for permission to send (`Expect: 100-continue`) gets it when its body is first asked for; until
/// then it has not begun, and asking would invite it.
pub(crate) async fn discard(headers: &HeaderMap, mut body: Body, was_asked_for: bool) -> bool {
    let expects =
        headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let waits = expects && !was_asked_for;
    if waits {
        return body.is_end_stream();
    }
    let reading = async {
        let mut discarded = 0;
        while let Ok(Some(data)) = next_data(&mut body).await {
            discarded += data.len();
            if discarded > DISCARDED_BYTES_MAX {
                return false;
            }
        }
        true
    };
    timeout(DISCARD_TIME_MAX, reading).await.unwrap_or(false)
}
