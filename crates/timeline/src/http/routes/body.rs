//! Bodies of requests: small, in time, and never quoted, because they may have a number.

use std::time::Duration;

use axum::body::Body;
use serde::de::DeserializeOwned;

use crate::http::refusal::Refusal;

/// Largest body, in bytes.
const BYTES_MAX: usize = 4 * 1024;
/// Timeout of a body.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A body as JSON. `form` says for people what is expected.
pub(super) async fn read<T: DeserializeOwned>(body: Body, form: &str) -> Result<T, Refusal> {
    let bytes = tokio::time::timeout(TIMEOUT, axum::body::to_bytes(body, BYTES_MAX)).await;
    let bytes = bytes.map_err(|_| Refusal::TooSlow)?.map_err(|_| Refusal::TooLarge { limit: BYTES_MAX })?;
    // The words of serde's error may quote the body, and with it the number.
    serde_json::from_slice(&bytes).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Refusal::invalid("body", format!("is not what this path takes ({place}); send {form}"))
    })
}
