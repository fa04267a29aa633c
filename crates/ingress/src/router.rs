//! Every route of ingress.

use std::sync::Arc;

use axum::Router;
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

type Segments = Path<(String, String)>;

async fn report(
    State(ingress): State<Arc<Ingress>>,
    Path((bsp, channel)): Segments,
    request: Request,
) -> Response {
    ingress.receive(Address { bsp, channel, route: "report" }, request).await
}

async fn message(
    State(ingress): State<Arc<Ingress>>,
    Path((bsp, channel)): Segments,
    request: Request,
) -> Response {
    ingress.receive(Address { bsp, channel, route: "message" }, request).await
}

async fn method_not_allowed(State(ingress): State<Arc<Ingress>>, request: Request) -> Response {
    ingress.refuse(None, Refusal::MethodNotAllowed, request.into_parts()).await
}

async fn not_found(State(ingress): State<Arc<Ingress>>, request: Request) -> Response {
    ingress.refuse(None, Refusal::NotFound, request.into_parts()).await
}
