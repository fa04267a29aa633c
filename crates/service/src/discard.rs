//! Reading what is left of a refused request into the void, so that its sender gets the answer and no broken pipe.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::EXPECT;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::timeout;

/// Most bytes of a refused body that are read.
const DISCARDED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest time for which a refused body is read.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);

/// Reads the rest of a refused body and drops it. Returns whether the connection can be reused: not if a part of the
/// body is still to come.
///
/// A sender that waits for permission to send (`Expect: 100-continue`) gets it when its body is first asked for; until
/// then it has not begun, and asking would invite it.
pub async fn discard(headers: &HeaderMap, mut body: Body, was_asked_for: bool) -> bool {
    let expects =
        headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let waits = expects && !was_asked_for;
    if waits {
        return body.is_end_stream();
    }
    let reading = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, bytes::Bytes::len);
            if discarded > DISCARDED_BYTES_MAX {
                return false;
            }
        }
        true
    };
    timeout(DISCARD_TIME_MAX, reading).await.unwrap_or(false)
}
