//! Reads and drops the rest of a rejected request, so that its sender receives the response instead of a
//! broken pipe.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::EXPECT;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::timeout;

/// Most bytes of a rejected body that are read.
const DISCARDED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest time for which a rejected body is read.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);

/// Whether the body of a rejected request was read before it was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyState {
    /// Nothing of it was read.
    Unread,
    /// Reading had begun, so its sender has permission to send.
    Begun,
}

/// Reads the rest of a rejected body and drops it. Returns whether the connection can be reused: not if more
/// of the body is still to arrive.
///
/// A sender that waits for permission to send (`Expect: 100-continue`) gets it when its body is first read.
/// If the body was not read before, reading it here would invite the sender to send it.
pub async fn drain_body(headers: &HeaderMap, mut body: Body, state: BodyState) -> bool {
    let expects =
        headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if expects && state == BodyState::Unread {
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
