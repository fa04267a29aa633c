//! Everything about an id.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use crate::extract::Bodies;
use crate::http::answer::{self, Missed, TimelineAnswer, TimelineRequest};
use crate::http::parameters::{Parameters, VALUE_BYTES_MAX};
use crate::http::refusal::{Known, Refusal};
use crate::http::routes::body;
use crate::http::state::Shared;
use crate::life;
use crate::row::shown;

/// Most ranges of missed messages among which an answer chooses.
const GAPS_MAX: usize = 1000;
/// The path before an id.
const PATH: &str = "/v1/timeline/";

/// `GET /v1/timeline?id=…`
pub(in crate::http) async fn by_query(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Json<TimelineAnswer>, Refusal> {
    let mut parameters = Parameters::of(uri.query());
    let id = parameters.text("id");
    if id.is_none() {
        parameters
            .fault("id", "is missing: give the id of a command, message, event, file or stored message");
    }
    parameters.finish()?;
    answer(&shared, id.as_deref().unwrap_or_default()).await
}

/// `GET /v1/timeline/{id}`: the rest of the path, which may have slashes.
pub(in crate::http) async fn by_path(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Json<TimelineAnswer>, Refusal> {
    Parameters::of(uri.query()).finish()?;
    let rest = uri.path().strip_prefix(PATH).unwrap_or_default();
    let id = percent_decode_str(rest).decode_utf8_lossy();
    if id.len() > VALUE_BYTES_MAX {
        return Err(Refusal::invalid("id", format!("is longer than {VALUE_BYTES_MAX} bytes")));
    }
    answer(&shared, &id).await
}

/// `POST /v1/timeline`: an id of WhatsApp's contains the customer's number, so that it need not be in a URL.
pub(in crate::http) async fn by_body(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    body: Body,
) -> Result<Json<TimelineAnswer>, Refusal> {
    Parameters::of(uri.query()).finish()?;
    let TimelineRequest { id } = body::read(body, body::BYTES_MAX, "{\"id\": \"wamid.…\"}").await?;
    let id = id.trim();
    if id.is_empty() || id.len() > VALUE_BYTES_MAX {
        return Err(Refusal::invalid("id", format!("must have 1 to {VALUE_BYTES_MAX} bytes")));
    }
    answer(&shared, id).await
}

/// Everything about an id.
pub(in crate::http) async fn answer(shared: &Shared, id: &str) -> Result<Json<TimelineAnswer>, Refusal> {
    // Before the rows are read: no rule is judged for a time whose rows may be missing here.
    let view = shared.view();
    let read_until = answer::read_until(&view.progress);
    let (id, store) = (id.trim(), &*shared.api.store);
    let collected = life::collect(store, &shared.api.keys, id).await?;
    let shown = shown::id(id);
    let unreadable = answer::unreadable(store);
    let began = collected.rows.iter().map(|row| row.stored_at).min();
    let gaps = store.gaps(GAPS_MAX).await?;
    let Missed { ranges: missed, left_out: missed_left_out } =
        answer::missed(gaps, began.unwrap_or(Timestamp::MIN));
    if collected.rows.is_empty() {
        let detail = "nothing with this id is stored: it is older than the retention, newer than what was read (read_until), \
                      or misspelled; a number is searched for by POST /v1/searches"
            .to_owned();
        let known = Box::new(Known { read_until, missed, missed_left_out, unreadable });
        return Err(Refusal::NotFound { detail, id: Some(shown), known });
    }
    let cut = collected.is_cut;
    // A thousand rows take longer to order than other tasks may wait.
    let assembling = tokio::task::spawn_blocking(move || collected.lives(&view));
    let lives = assembling.await.map_err(|_| Refusal::Damaged)?;
    let mut lives: Vec<_> = lives.iter().map(answer::life).collect();
    if shared.api.bodies == Bodies::Full {
        // Rows of earlier versions do not say that their bodies are whole.
        lives.iter_mut().flat_map(|life| &mut life.rows).for_each(|row| row.body = None);
    }
    Ok(Json(TimelineAnswer { id: shown, lives, read_until, missed, missed_left_out, unreadable, cut }))
}
