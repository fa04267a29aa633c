//! Erasing a customer. The number is in the body of a POST, never in a URL, and in no answer.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::erasure::{ErasureAnswer, ErasureRequest, Erasures, NotStarted};
use crate::http::access::require::Operator;
use crate::http::refusal::Refusal;
use crate::http::routes::body;
use crate::http::state::Shared;
use crate::store::audit::AuditAction;

/// What a body has.
const FORM: &str = "{\"number\": \"+49…\", \"dry_run\": true, \"force\": false, \"reason\": \"…\"}";
/// Longest number or id of a customer, in bytes.
const NUMBER_BYTES_MAX: usize = 256;
/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 1000;

/// The body of `POST /v1/erasures`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasureBody {
    /// The customer's number, or another id of theirs.
    pub number: String,
    /// Whether it only counts. It must be said, so that no one erases by a slip.
    pub dry_run: bool,
    /// Whether events are erased that the back end has not acknowledged.
    #[serde(default)]
    pub force: bool,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: String,
}

// The number is personal.
impl std::fmt::Debug for ErasureBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ErasureBody").field("dry_run", &self.dry_run).finish_non_exhaustive()
    }
}

/// The answer of `GET /v1/erasures`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErasuresAnswer {
    /// Those since the start of the service, the newest first.
    pub erasures: Vec<ErasureAnswer>,
}

/// `POST /v1/erasures`
pub(in crate::http) async fn create(
    Operator(actor): Operator,
    State(shared): State<Arc<Shared>>,
    body: Body,
) -> Result<Response, Refusal> {
    let erasures = erasures(&shared)?;
    let ErasureBody { number, dry_run, force, reason } = body::read(body, body::BYTES_MAX, FORM).await?;
    let number = number.trim().to_owned();
    if number.is_empty() || number.len() > NUMBER_BYTES_MAX {
        return Err(Refusal::invalid("number", format!("must have 1 to {NUMBER_BYTES_MAX} bytes")));
    }
    if reason.len() > REASON_BYTES_MAX || (reason.trim().is_empty() && !dry_run) {
        let rule =
            format!("must have 1 to {REASON_BYTES_MAX} bytes: the audit log says why a customer was erased");
        return Err(Refusal::invalid("reason", rule));
    }
    let now = (shared.api.now)();
    let mut entry = actor.entry(AuditAction::Erasure, now);
    // What the operator wrote may repeat the number in words that no mask knows.
    entry.reason = reason.replace(&number, "…");
    let request = ErasureRequest { number, dry_run, force, entry };
    let answer = erasures.start(request, now).await.map_err(|error| match error {
        NotStarted::BusyElsewhere => Refusal::Busy(
            "one erasure runs at a time, and another timeline of the database runs one; the timeline that was asked for it says how \
             far it is. GET /v1/audit?action=erasure has its id once it has begun to erase; one that only counts is not there"
                .to_owned(),
        ),
        NotStarted::Store(error) => error.into(),
        NotStarted::Busy(id) => Refusal::Busy(format!(
            "one erasure runs at a time, and {id} is running; GET /v1/erasures/{id} says how far it is"
        )),
        NotStarted::NotKept(error) => Refusal::Unavailable(format!(
            "the erasure cannot be written to the folder of the timeline, and was not started: {error}"
        )),
        NotStarted::NoRandom => Refusal::Unavailable("the system gives no random bytes".to_owned()),
    })?;
    let location = HeaderValue::from_str(&format!("/v1/erasures/{}", answer.id))
        .expect("hexadecimal digits are valid in a header");
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(answer)).into_response())
}

/// `GET /v1/erasures/{id}`
pub(in crate::http) async fn show(
    Operator(_): Operator,
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Json<ErasureAnswer>, Refusal> {
    let found = erasures(&shared)?.get(&id);
    found.map(Json).ok_or_else(|| Refusal::NotFound {
        detail: "no such erasure since the start of the service; the audit log has those that ended before"
            .to_owned(),
        id: None,
        known: Box::default(),
    })
}

/// `GET /v1/erasures`
pub(in crate::http) async fn list(
    Operator(_): Operator,
    State(shared): State<Arc<Shared>>,
) -> Result<Json<ErasuresAnswer>, Refusal> {
    Ok(Json(ErasuresAnswer { erasures: erasures(&shared)?.list() }))
}

fn erasures(shared: &Shared) -> Result<&Erasures, Refusal> {
    shared.api.erasures.as_ref().ok_or_else(|| {
        Refusal::Forbidden(
            "erasing is switched off: set IMCHANNEL_TIMELINE_ERASURE=on for the timeline, and give it the eraser's NATS seed and \
             Redis password; \"Erasure\" of docs/timeline.md says how for each kind of installation"
                .to_owned(),
        )
    })
}
