//! The routes: uploads by `POST /{tenant}/imchannel/media`, files by `GET` and `HEAD`
//! `/{tenant}/imchannel/get{Image,Document,Audio,Video}Message/{id}`.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, Method};
use axum::response::Response;
use axum::routing::{any, get, post};
use bsp::media::{MediaId, MediaKind};

use crate::download::FileRequest;
use crate::response::{self, Failure};
use crate::state::Media;

/// The routes of the port.
pub(crate) fn routes(media: Media) -> Router {
    Router::new()
        .route("/{tenant}/imchannel/media", post(upload).fallback(|| refuse_method("POST")))
        .route("/{tenant}/imchannel/{route}/{id}", get(download).fallback(|| refuse_method("GET, HEAD")))
        .fallback(any(|| async { response::failure(Failure::NotFound) }))
        .with_state(media)
}

/// Responds 405. `allowed` are the methods of the path.
async fn refuse_method(allowed: &'static str) -> Response {
    let mut response = response::failure(Failure::Method);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

async fn upload(
    State(media): State<Media>,
    tenant: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let Ok(Path(tenant)) = tenant else { return response::failure(Failure::NotFound) };
    let (parts, body) = request.into_parts();
    media.upload(&tenant, parts, body).await
}

/// Handles a request for a file. A malformed request is rejected before Redis is asked.
async fn download(
    State(media): State<Media>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    request: Request<Body>,
) -> Response {
    let Ok(Path((tenant, route, id))) = path else { return response::failure(Failure::NotFound) };
    let (Some(kind), Some(id)) = (MediaKind::of_route(&route), MediaId::parse(&id)) else {
        media.metrics.fetched(None, request.method(), "malformed");
        return response::failure(Failure::NotFound);
    };
    let is_head = request.method() == Method::HEAD;
    let wanted = FileRequest { tenant: &tenant, kind, id, is_head, headers: request.headers() };
    media.download(wanted).await
}
