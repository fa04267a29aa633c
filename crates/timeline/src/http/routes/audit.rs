//! The audit log, for those who are in it: users who may see numbers and texts, and operators.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use crate::http::access::require::Unmasker;
use crate::http::answer::{AuditAnswer, AuditEntryAnswer, ReplayedAnswer};
use crate::http::cursor::Cursors;
use crate::http::parameters::Parameters;
use crate::http::refusal::Refusal;
use crate::http::routes::listing::{self, Paging};
use crate::http::state::Shared;
use crate::store::audit::{AuditAction, AuditQuery, Audited, ReplayCounts};

/// `GET /v1/audit`
pub(in crate::http) async fn list(
    _: Unmasker,
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Json<AuditAnswer>, Refusal> {
    let mut parameters = Parameters::of(uri.query());
    let action = parameters.one_of("action", &AuditAction::ALL.map(AuditAction::name));
    let action = action.map(AuditAction::of_name);
    let paging = Paging::read(&mut parameters);
    parameters.finish()?;
    let cursors = Cursors::of(&shared.api.keys, format!("audit {action:?}"));
    let before = paging.cursor.as_ref().map(|cursor| cursors.number(cursor)).transpose();
    let before = before.map_err(|_| listing::forged())?;
    let query = AuditQuery { action, before, limit: paging.limit + 1 };
    let mut entries = shared.api.store.audit(query).await?;
    let has_next = entries.len() > paging.limit;
    entries.truncate(paging.limit);
    let next = entries.last().filter(|_| has_next).map(|last| cursors.at_number(last.number));
    Ok(Json(AuditAnswer { entries: entries.into_iter().map(entry).collect(), next }))
}

fn entry(Audited { number, entry, replayed }: Audited) -> AuditEntryAnswer {
    let counts = |ReplayCounts { events, commands, last_at }| ReplayedAnswer { events, commands, last_at };
    AuditEntryAnswer {
        number,
        at: entry.at,
        user: entry.user,
        role: entry.role,
        address: entry.address,
        action: entry.action.name().to_owned(),
        target: entry.target,
        reason: entry.reason,
        details: entry.details,
        replayed: replayed.map(counts),
    }
}
