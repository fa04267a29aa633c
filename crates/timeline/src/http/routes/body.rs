//! Bodies of requests: small, in time, and never quoted, because they may have a number.

use std::time::Duration;

use axum::body::Body;
use serde::de::DeserializeOwned;

use crate::http::refusal::Refusal;

/// Largest body of an id or a number, in bytes.
pub(super) const BYTES_MAX: usize = 4 * 1024;
/// Timeout of a body.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A body of at most `bytes_max` bytes as JSON. `form` says for people what is expected.
pub(super) async fn read<T: DeserializeOwned>(
    body: Body,
    bytes_max: usize,
    form: &str,
) -> Result<T, Refusal> {
    let bytes = tokio::time::timeout(TIMEOUT, axum::body::to_bytes(body, bytes_max)).await;
    let bytes = bytes.map_err(|_| Refusal::TooSlow)?.map_err(|_| Refusal::TooLarge { limit: bytes_max })?;
    // The words of serde's error may quote the body, and with it the number.
    serde_json::from_slice(&bytes).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Refusal::invalid("body", format!("is not what this path takes ({place}); send {form}"))
    })
}
