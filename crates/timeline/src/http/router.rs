//! The paths of the port, who may use them, and the headers of every answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use service::Caller;
use service::failures::ResponseDelay;

use crate::http::access::current::{self, SignedIn};
use crate::http::access::until::Until;
use crate::http::access::{Access, NotKnown};
use crate::http::console;
use crate::http::refusal::Refusal;
use crate::http::routes::{audit, channels, erasures, live, messages, problems, searches, timeline, unmask};
use crate::http::state::{ApiState, Shared};

/// Timeout of an answer, or of the first byte of a live stream.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The paths of the port. [`service::http::serve`] serves them.
pub fn router(state: ApiState) -> Router {
    let shared = Arc::new(Shared::new(state));
    console::routes()
        .route("/v1/timeline", get(timeline::by_query).post(timeline::by_body))
        .route("/v1/timeline/{*id}", get(timeline::by_path))
        .route("/v1/messages", get(messages::list))
        .route("/v1/searches", post(searches::create))
        .route("/v1/searches/{id}", get(searches::list))
        .route("/v1/erasures", get(erasures::list).post(erasures::create))
        .route("/v1/erasures/{id}", get(erasures::show))
        .route("/v1/problems", get(problems::list))
        .route("/v1/channels", get(channels::list))
        .route("/v1/channels/{channel}", get(channels::one))
        .route("/v1/live", get(live::follow))
        .route("/v1/unmask", post(unmask::create))
        .route("/v1/audit", get(audit::list))
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
    let is_asset = request.uri().path().starts_with(console::ASSETS_PATH);
    let asked = console::Asked::of(&request);
    let mut response = match admitted(&shared, request).await {
        Ok(request) => {
            let who = request.extensions().get::<SignedIn>().cloned();
            current::answering(who, answer(request, next, takes_page)).await
        }
        Err(refused) if takes_page => page(&shared, &asked, refused),
        Err(refused) => refused,
    };
    let headers = response.headers_mut();
    // The path of a style or script changes with its content: it may be kept. An answer may not, also where its handler says otherwise.
    if !is_asset || !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY));
    // With `no-referrer`, browsers send the forms of the pages with `Origin: null`, which is refused.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// The answer to a request that may be served.
async fn answer(request: Request, next: Next, takes_page: bool) -> Response {
    let mut response = match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::Unavailable("timed out waiting for the store".to_owned()).into_response(),
    };
    if takes_page && let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        response = console::refused(&refusal, response);
    }
    response
}

/// A refusal for a browser: the form of signing in, if that is what it needs.
fn page(shared: &Shared, asked: &console::Asked, mut refused: Response) -> Response {
    let Some(refusal) = refused.extensions_mut().remove::<Refusal>() else { return refused };
    match (&refusal, &shared.api.access) {
        (Refusal::Unauthorized(_), Access::Tokens(_)) => asked.page(),
        _ => console::refused(&refusal, refused),
    }
}

/// Whether a browser asks for a page, so that an error is one too.
fn takes_page(request: &Request) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    !request.uri().path().starts_with("/v1/") && accept.is_some_and(|accept| accept.contains("text/html"))
}

/// The request with its user, or why it is not served.
async fn admitted(shared: &Shared, mut request: Request) -> Result<Request, Response> {
    if let Err(fault) = shared.api.hosts.check(&request) {
        return Err(Refusal::Forbidden(fault).into_response());
    }
    match shared.api.access.identify(&shared.sessions, &request) {
        Ok(identity) => {
            let has_session = matches!(identity.until, Until::Session { .. });
            let extensions = request.extensions_mut();
            extensions.insert(SignedIn { user: identity.user.clone(), has_session });
            extensions.insert(identity.user);
            extensions.insert(identity.until);
            Ok(request)
        }
        Err(unknown) if unknown != NotKnown::WrongToken && is_for_everyone(shared, &request) => Ok(request),
        Err(unknown) => {
            let mut response = Refusal::Unauthorized(unknown.detail()).into_response();
            let caller = request.extensions().get::<Caller>().cloned();
            if unknown == NotKnown::WrongToken && delayed(shared, caller).await {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Err(response)
        }
    }
}

/// Counts a wrong token. After too many from one address it waits, and the connection is to be closed.
async fn delayed(shared: &Shared, caller: Option<Caller>) -> bool {
    let Some(caller) = caller else { return false };
    let delay = shared.api.failed.count(&caller, console::FAILED_TARGET);
    delay.wait().await;
    delay == ResponseDelay::Delayed
}

/// Whether a path is also for those who have not signed in: the form, and the files of the pages.
fn is_for_everyone(shared: &Shared, request: &Request) -> bool {
    let path = request.uri().path();
    let is_form = path == console::SIGN_IN && matches!(shared.api.access, Access::Tokens(_));
    is_form || (path.starts_with(console::ASSETS_PATH) && request.method() == Method::GET)
}
