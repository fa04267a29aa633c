//! The paths of the port.

mod listing;
mod live;
mod messages;
mod problems;
mod searches;
mod timeline;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use service::Caller;

use crate::http::refusal::Refusal;
use crate::http::state::{ApiState, Shared};

/// Timeout of an answer, or of the first byte of a live stream.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The paths of the port. [`service::http::serve`] serves them.
pub fn router(state: ApiState) -> Router {
    let shared = Arc::new(Shared::new(state));
    Router::new()
        .route("/v1/timeline", get(timeline::by_query))
        .route("/v1/timeline/{*id}", get(timeline::by_path))
        .route("/v1/messages", get(messages::list))
        .route("/v1/searches", post(searches::create))
        .route("/v1/searches/{id}", get(searches::list))
        .route("/v1/problems", get(problems::list))
        .route("/v1/live", get(live::follow))
        .fallback(|| async { Refusal::NoPath })
        .method_not_allowed_fallback(|| async { Refusal::Method })
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), guard))
        .with_state(shared)
}

/// Serves only who may read, in time, and lets no one keep the answer.
async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let mut response = match admitted(&shared, request) {
        Ok(request) => match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Refusal::Unavailable("timed out waiting for the store".to_owned()).into_response(),
        },
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The request with its user.
fn admitted(shared: &Shared, mut request: Request) -> Result<Request, Refusal> {
    shared.api.hosts.check(&request).map_err(Refusal::Forbidden)?;
    let peer = request.extensions().get::<Caller>().map(Caller::peer);
    let user = shared.api.access.user(request.headers(), peer);
    let user = user.map_err(|unknown| Refusal::Unauthorized(unknown.0))?;
    request.extensions_mut().insert(user);
    Ok(request)
}
