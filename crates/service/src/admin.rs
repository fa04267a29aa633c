//! The admin port: `/live` (the process runs), `/ready` (it may be given work, and if not, why), `/metrics`
//! (OpenMetrics text).

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};

use crate::readiness::Readiness;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Admin {
    readiness: Readiness,
    metrics: Arc<Registry>,
}

/// The routes of the admin port.
pub fn router(readiness: Readiness, metrics: Arc<Registry>) -> Router {
    Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(show_metrics))
        .with_state(Admin { readiness, metrics })
}

async fn ready(State(admin): State<Admin>) -> Response {
    let answers = admin.readiness.ask();
    let is_ready = answers.iter().all(|(_, state)| state.is_ok());
    let conditions: Map<String, Value> = answers
        .into_iter()
        .map(|(name, state)| {
            (name.to_owned(), state.map_or_else(Value::String, |()| Value::String("ok".to_owned())))
        })
        .collect();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": is_ready, "conditions": conditions }))).into_response()
}

async fn show_metrics(State(admin): State<Admin>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &admin.metrics) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
