//! Every route of ingress.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::post;

use crate::answer::Refusal;
use crate::receive::{Address, Ingress};

/// The routes. Reports and messages have one each, and what a body is, its content decides.
pub(crate) fn router(ingress: Arc<Ingress>) -> Router {
    Router::new()
        .route("/social/on/whatsapp/{bsp}/report/{channel}", post(report))
        .route("/social/on/whatsapp/{bsp}/message/{channel}", post(message))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(ingress)
}

/// BSP and channel, unless they are no text at all once decoded.
type Segments = Result<Path<(String, String)>, PathRejection>;

async fn report(State(ingress): State<Arc<Ingress>>, segments: Segments, request: Request) -> Response {
    receive(&ingress, segments, "report", request).await
}

async fn message(State(ingress): State<Arc<Ingress>>, segments: Segments, request: Request) -> Response {
    receive(&ingress, segments, "message", request).await
}

async fn receive(ingress: &Ingress, segments: Segments, route: &'static str, request: Request) -> Response {
    match segments {
        Ok(Path((bsp, channel))) => ingress.receive(Address { bsp, channel, route }, request).await,
        Err(_) => ingress.refuse(None, Refusal::NotFound, request.into_parts()).await,
    }
}

async fn method_not_allowed(State(ingress): State<Arc<Ingress>>, request: Request) -> Response {
    ingress.refuse(None, Refusal::MethodNotAllowed, request.into_parts()).await
}

async fn not_found(State(ingress): State<Arc<Ingress>>, request: Request) -> Response {
    ingress.refuse(None, Refusal::NotFound, request.into_parts()).await
}
