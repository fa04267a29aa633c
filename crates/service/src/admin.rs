//! The admin port: `/live` (the process runs), `/ready` (the process accepts work, or why not; with a spool, whether it replaces
//! the bus now), and
//! `/metrics` (OpenMetrics or the classic Prometheus text, as the client requests).

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};

use crate::exposition::Form;
use crate::process_metrics;
use crate::readiness::Readiness;
use crate::settings::Setting;

/// Address and port of probes and metrics.
pub static ADMIN_LISTEN: Setting =
    Setting::new("admin-listen", "0.0.0.0:9090", "Address of /live, /ready and /metrics");

#[derive(Clone)]
struct Admin {
    readiness: Readiness,
    metrics: Arc<Registry>,
    process: Arc<Registry>,
}

/// The routes of the admin port.
pub fn router(readiness: Readiness, metrics: Arc<Registry>) -> Router {
    Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(show_metrics))
        .with_state(Admin { readiness, metrics, process: Arc::new(process_metrics::registry()) })
}

async fn ready(State(admin): State<Admin>) -> Response {
    let report = admin.readiness.report();
    let conditions: Map<String, Value> = report
        .conditions
        .into_iter()
        .map(|(name, state)| {
            (name.to_owned(), state.map_or_else(Value::String, |()| Value::String("ok".to_owned())))
        })
        .collect();
    let status = if report.is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut answer = serde_json::json!({ "ready": report.is_ready, "conditions": conditions });
    if let Some(is_spooling) = report.is_spooling {
        answer["spooling"] = is_spooling.into();
    }
    (status, Json(answer)).into_response()
}

async fn show_metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let form = Form::asked_for(&headers);
    let Ok(text) = form.write([&admin.process, &admin.metrics]) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    ([(header::CONTENT_TYPE, form.content_type()), (header::VARY, "accept")], text).into_response()
}
