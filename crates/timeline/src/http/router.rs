//! The paths of the port, who may use them, and the headers of every answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use service::Caller;

use crate::http::console;
use crate::http::refusal::Refusal;
use crate::http::routes::{channels, live, messages, problems, searches, timeline};
use crate::http::state::{ApiState, Shared};

/// Timeout of an answer, or of the first byte of a live stream.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The paths of the port. [`service::http::serve`] serves them.
pub fn router(state: ApiState) -> Router {
    let shared = Arc::new(Shared::new(state));
    console::routes()
        .route("/v1/timeline", get(timeline::by_query))
        .route("/v1/timeline/{*id}", get(timeline::by_path))
        .route("/v1/messages", get(messages::list))
        .route("/v1/searches", post(searches::create))
        .route("/v1/searches/{id}", get(searches::list))
        .route("/v1/problems", get(problems::list))
        .route("/v1/channels", get(channels::list))
        .route("/v1/channels/{channel}", get(channels::one))
        .route("/v1/live", get(live::follow))
        .fallback(|| async { Refusal::NoPath })
        .method_not_allowed_fallback(|| async { Refusal::Method })
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), guard))
        .with_state(shared)
}

/// What a page may load: files of this port only, and nothing that is written into the page.
const CONTENT_SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                                form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Serves only who may read, in time, and lets no one keep the answer.
async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let takes_page = takes_page(&request);
    let mut response = match admitted(&shared, request) {
        Ok(request) => match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Refusal::Unavailable("timed out waiting for the store".to_owned()).into_response(),
        },
        Err(refusal) => refusal.into_response(),
    };
    if takes_page && let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        response = console::refused(&refusal, response);
    }
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY));
    // With `no-referrer`, browsers send the forms of the pages with `Origin: null`, which is refused.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// Whether a browser asks for a page, so that an error is one too.
fn takes_page(request: &Request) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    !request.uri().path().starts_with("/v1/") && accept.is_some_and(|accept| accept.contains("text/html"))
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
