//! The body of a form.

use std::time::Duration;

use axum::body::Body;

use crate::http::console::query::Query;
use crate::http::refusal::Refusal;

/// Largest body, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Timeout of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The fields of a form that was posted.
pub(super) async fn read(body: Body) -> Result<Query, Refusal> {
    let bytes = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_BYTES_MAX)).await;
    let bytes =
        bytes.map_err(|_| Refusal::TooSlow)?.map_err(|_| Refusal::TooLarge { limit: BODY_BYTES_MAX })?;
    Ok(Query::of(std::str::from_utf8(&bytes).ok()))
}
