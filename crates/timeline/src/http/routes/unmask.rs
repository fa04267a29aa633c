//! Shows the messages behind the rows of an id, with numbers and texts. The audit log says so before anything is shown.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;

use crate::http::access::require::{Actor, Unmasker};
use crate::http::answer::{self, Fault, UnmaskAnswer, UnmaskRequest};
use crate::http::contents::{self, MESSAGES_MAX};
use crate::http::parameters::VALUE_BYTES_MAX;
use crate::http::refusal::{Known, Refusal};
use crate::http::routes::body;
use crate::http::state::Shared;
use crate::life;
use crate::row::shown;
use crate::store::audit::{AuditAction, AuditEntry};

/// Largest body, in bytes.
const BODY_BYTES_MAX: usize = 8 * 1024;
/// What a body has.
const FORM: &str = "{\"id\": \"…\", \"reason\": \"…\"}";
/// Shortest reason, in characters.
const REASON_CHARS_MIN: usize = 3;
/// Longest reason, in characters.
pub(in crate::http) const REASON_CHARS_MAX: usize = 500;

/// `POST /v1/unmask`
pub(in crate::http) async fn create(
    Unmasker(actor): Unmasker,
    State(shared): State<Arc<Shared>>,
    body: Body,
) -> Result<Json<UnmaskAnswer>, Refusal> {
    Ok(Json(show(&shared, &actor, &body::read(body, BODY_BYTES_MAX, FORM).await?).await?))
}

/// Records who is about to see what, and then reads it. Where the entry cannot be stored, nothing is shown.
pub(in crate::http) async fn show(
    shared: &Shared,
    actor: &Actor,
    request: &UnmaskRequest,
) -> Result<UnmaskAnswer, Refusal> {
    check(request)?;
    let (id, store) = (request.id.trim(), &*shared.api.store);
    let collected = life::collect(store, &shared.api.keys, id).await?;
    let shown = shown::id(id);
    if collected.rows.is_empty() {
        let detail = "nothing with this id is stored; nothing was shown or recorded".to_owned();
        let read_until = answer::read_until(&shared.view().progress);
        let known = Box::new(Known::until(read_until));
        return Err(Refusal::NotFound { detail, id: Some(shown), known });
    }
    let mut rows = contents::messages(collected.rows);
    let is_cut = collected.is_cut || rows.len() > MESSAGES_MAX;
    rows.truncate(MESSAGES_MAX);
    let places: Vec<_> = rows.iter().map(answer::pointer).collect();
    let entry = AuditEntry {
        target: shown.clone(),
        reason: request.reason.trim().to_owned(),
        details: places.join(" "),
        ..actor.entry(AuditAction::Unmask, (shared.api.now)())
    };
    let audit = store.record(entry).await?;
    Ok(UnmaskAnswer { id: shown, audit, messages: contents::read(shared, rows).await, cut: is_cut })
}

fn check(request: &UnmaskRequest) -> Result<(), Refusal> {
    let mut faults = Vec::new();
    let mut fault = |name: &str, detail: String| faults.push(Fault { name: name.to_owned(), detail });
    let id = request.id.trim();
    if id.is_empty() || id.len() > VALUE_BYTES_MAX {
        fault("id", format!("must have 1 to {VALUE_BYTES_MAX} bytes"));
    }
    let reason = request.reason.trim().chars().count();
    if !(REASON_CHARS_MIN..=REASON_CHARS_MAX).contains(&reason) {
        fault(
            "reason",
            format!(
                "must have {REASON_CHARS_MIN} to {REASON_CHARS_MAX} characters: it is kept in the audit log"
            ),
        );
    }
    if faults.is_empty() { Ok(()) } else { Err(Refusal::Invalid(faults)) }
}
